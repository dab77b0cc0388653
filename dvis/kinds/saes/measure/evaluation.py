"""How good a sparse autoencoder is: one ordered pass over samples in, a labelled Dataset out."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dvis.analysis.class_statistics import class_statistics
from dvis.kinds.saes.dims import LATENT, quantity
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import Block, ScoreTable, check_scores, encoded
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.measure.sparse import sparse_decode
from dvis.kinds.saes.measure.top_images import TopScores, labelled_top
from dvis.kinds.saes.options import Score
from dvis.kinds.saes.words import DENSE, OFTEN


def evaluate(
    autoencoder: Autoencoder,
    rows: Rows,
    *,
    n_top: int = 16,
    scores: tuple[Score, ...] = ("max",),
    class_token: int | None = None,
    n_shuffles: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Reconstruction, top images and class statistics of one set of samples.

    Parameters
    ----------
    autoencoder : Autoencoder
        What is evaluated.
    rows : Rows
        Samples: one split.
    n_top : int
        Top images of a latent; all, where there are fewer.
    scores : tuple of {"max", "mean", "sum", "cls"}
        How a sample's tokens become the one number that images are sorted by. Class statistics
        are of the first.
    class_token : int, optional
        Place of the class token, for "cls".
    n_shuffles : int
        Of labels, for the null of class statistics.
    seed : int
        Of the shuffles.

    Returns
    -------
    Dataset
        What `reconstruction`, `top_images` and `class_statistics` give.

    Raises
    ------
    ValueError
        When the rows do not fit the autoencoder or are not finite, or an option is out of range.

    Notes
    -----
    The samples are encoded twice, the second time for maps. The first score of every sample and
    latent that is not zero is held in memory: sixteen bytes for each.
    """
    check_scores(scores, class_token, rows.n_tokens)
    sums = Sums(autoencoder, rows)
    top = TopScores(autoencoder, rows, n_top, scores, class_token)
    table = ScoreTable(rows.n_samples, autoencoder.n_latents, scores[0], class_token)
    for block in encoded(autoencoder, rows):
        for part in (sums, top, table):
            part.add(block)
    classes = class_statistics(
        table.table(), rows.labels, rows.classes, n_shuffles=n_shuffles, seed=seed
    )
    parts = (sums.dataset(), labelled_top(top, autoencoder, rows), classes)
    return xr.merge(parts, join="exact", compat="equals", combine_attrs="no_conflicts")


def reconstruction(autoencoder: Autoencoder, rows: Rows) -> xr.Dataset:
    r"""How much of the rows is reconstructed, from how many latents.

    .. math:: \mathrm{EV} = 1 - \frac{\sum |x - \hat x|^2}{\sum |x - \bar x|^2}

    a ratio of sums over all rows and channels, never a mean of ratios of batches. Sums are float64.

    Parameters
    ----------
    autoencoder : Autoencoder
        What is evaluated.
    rows : Rows
        Samples: one split, on which dead and dense are counted.

    Returns
    -------
    Dataset
        Of the whole: ev (NaN where all rows are the same), mse (a channel), l0 and l1 (a row),
        cosine (of a row with its reconstruction, over rows that are not zero), n_dead, n_dense
        (which fire in more than a tenth of the rows), n_often (a hundredth).
        Of each (latent): frequency; mean, over the rows in which it fires, NaN of dead ones; max.

    Raises
    ------
    ValueError
        When the rows do not fit the autoencoder or are not finite.

    Examples
    --------
    >>> from dvis.kinds.saes.measure.rows import ArrayRows
    >>> x, half = np.eye(2, dtype=np.float32), np.full(2, 0.5, np.float32)
    >>> sae = Autoencoder(encoder=x, decoder=x, encoder_bias=half, decoder_bias=0 * half,
    ...                   threshold=half, kind="jumprelu", k=1)
    >>> found = reconstruction(sae, ArrayRows(x))
    >>> found.mse.item(), found.l0.item(), found.frequency.values
    (0.125, 1.0, array([0.5, 0.5]))
    """
    sums = Sums(autoencoder, rows)
    for block in encoded(autoencoder, rows):
        sums.add(block)
    return sums.dataset()


class Sums:
    """Sums of `reconstruction` over blocks, about the first one's mean, so that none cancels."""

    def __init__(self, autoencoder: Autoencoder, rows: Rows) -> None:
        self._decoder = torch.from_numpy(autoencoder.decoder)
        self._bias = torch.from_numpy(autoencoder.decoder_bias)
        self._mean: Tensor | None = None
        self._attrs = {
            "fingerprint": rows.fingerprint,
            "n_samples": rows.n_samples,
            "n_tokens": rows.n_tokens,
        }
        n_latents = autoencoder.n_latents
        self._n_rows = self._n_cosines = 0
        self._error = self._spread = self._cosine = 0.0
        self._shift = torch.zeros(rows.n_channels, dtype=torch.double)
        self._counts = torch.zeros(n_latents, dtype=torch.int64)
        self._sums = torch.zeros(n_latents, dtype=torch.double)
        self._largest = torch.zeros(n_latents)

    def add(self, block: Block) -> None:
        """Take up a block."""
        x, latents = block.rows, block.pattern.latents
        x_hat = sparse_decode(block.values, self._decoder, block.pattern) + self._bias
        self._error += float((x.double() - x_hat.double()).square().sum())
        if self._mean is None:
            self._mean = x.double().mean(0)
        centred = x.double() - self._mean
        self._spread += float(centred.square().sum())
        self._shift += centred.sum(0)
        lengths = x.double().norm(dim=1) * x_hat.double().norm(dim=1)
        cosines = (x.double() * x_hat).sum(1) / lengths.clamp(min=torch.finfo().tiny)
        is_some = x.any(dim=1)
        self._cosine += float(cosines[is_some].sum())
        self._n_cosines += int(is_some.sum())
        self._n_rows += len(x)
        self._counts += block.pattern.counts
        self._sums.index_add_(0, latents, block.values.double())
        self._largest.scatter_reduce_(0, latents, block.values, "amax")

    def dataset(self) -> xr.Dataset:
        """What they come to, as `reconstruction` gives it."""
        assert self._mean is not None, "there is a sample"
        n_channels = len(self._mean)
        total = self._spread - float(self._shift.square().sum()) / self._n_rows
        # What is left of the spread of equal rows is rounding.
        is_spread = total > 1e-12 * max(self._spread, float(self._mean.square().sum()))
        counts, sums = self._counts.numpy(), self._sums.numpy()
        frequency = counts / self._n_rows
        mean = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
        variables = {
            "ev": quantity(
                (), 1 - self._error / total if is_spread else np.nan, "explained variance"
            ),
            "mse": quantity((), self._error / self._n_rows / n_channels, "mean squared error"),
            "l0": quantity((), counts.sum() / self._n_rows, "active latents of a row"),
            "l1": quantity((), sums.sum() / self._n_rows, "sum of a row's codes"),
            "cosine": quantity(
                (),
                self._cosine / self._n_cosines if self._n_cosines else np.nan,
                "cosine of rows with their reconstructions",
            ),
            "n_dead": quantity((), (counts == 0).sum(), "latents that never fire"),
            "n_dense": quantity((), (frequency > DENSE).sum(), f"latents above {DENSE} of rows"),
            "n_often": quantity((), (frequency > OFTEN).sum(), f"latents above {OFTEN} of rows"),
            "frequency": quantity(LATENT, frequency, "share of rows in which it fires"),
            "mean": quantity(LATENT, mean, "mean code where it fires"),
            "max": quantity(LATENT, self._largest.numpy(), "largest code"),
        }
        return xr.Dataset(variables, {LATENT: np.arange(len(counts))}, self._attrs)
