"""What is found of the levels of chains: how they explain their rows, and which classes they tell.

Autoencoders and rows in, numbers of a level and of its latents out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from dvis.analysis.class_statistics import class_statistics
from dvis.kinds.saes.chains.words import OF_CLASSES
from dvis.kinds.saes.dims import SHUFFLE
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.chain_levels import Chain, Level
from dvis.kinds.saes.measure.chain_rows import CodedRows, PermutedRows
from dvis.kinds.saes.measure.codes import Block, ScoreTable, encoded
from dvis.kinds.saes.measure.evaluation import Sums
from dvis.kinds.saes.measure.rows import Floats, Rows

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an autoencoder does to rows.

    Attributes
    ----------
    numbers : mapping of str to float
        ev, l0, l0_sd, nonzero_share, n_dead.
    frequency : array, (latent,)
        Share of rows in which each latent fires.
    scores : csr_array, (sample, latent)
        The largest code of a sample's rows; of rows that are samples, their codes.
    """

    numbers: Mapping[str, float]
    frequency: Numbers
    scores: sparse.csr_array

    @classmethod
    def at(cls, autoencoder: Autoencoder, rows: Rows) -> "Look":
        """What one does to some rows, in one pass."""
        sums, counts = Sums(autoencoder, rows), _Counts()
        table = ScoreTable(rows.n_samples, autoencoder.n_latents, "max", None)
        for block in encoded(autoencoder, rows):
            for part in (sums, counts, table):
                part.add(block)
        found = sums.dataset()
        numbers = {name: float(found[name]) for name in ("ev", "l0", "n_dead")}
        numbers["nonzero_share"] = numbers["l0"] / autoencoder.n_latents
        numbers["l0_sd"] = counts.spread()
        return cls(numbers=numbers, frequency=found["frequency"].values, scores=table.table())


class _Counts:
    """How many latents are active in each row, over blocks."""

    def __init__(self) -> None:
        self._counts: list[NDArray[np.int64]] = []

    def add(self, block: Block) -> None:
        self._counts.append(block.pattern.offsets.diff().numpy())

    def spread(self) -> float:
        """Standard deviation over rows."""
        return float(np.concatenate(self._counts).std())


def scores_through(
    autoencoder: Autoencoder, rows: Rows, shares: Sequence[Floats]
) -> list[sparse.csr_array]:
    r"""Scores of samples for latents that have a share in those of an autoencoder.

    A latent of a level that is made of decoder rows reads no activations. Its code in a row of
    these is put together from its parents',

    .. math:: s_m(x) = \sum_p z_p(x) \, w_{pm}

    with z the codes of the first autoencoder and w the code of the latent on the decoder row of p,
    over several levels the product of their w. A sample's score is the largest of its rows.

    Parameters
    ----------
    autoencoder : Autoencoder
        The first of the chain.
    rows : Rows
        Samples.
    shares : sequence of array, (latent of the first, latent)
        The w of each level.

    Returns
    -------
    list of csr_array, (sample, latent)
        Of each of `shares`.
    """
    parts: list[list[sparse.csr_array]] = [[] for _ in shares]
    places = []
    for block in encoded(autoencoder, rows):
        pattern = block.pattern
        codes = sparse.csr_array(
            (block.values.numpy(), pattern.latents.numpy(), pattern.offsets.numpy()),
            shape=(pattern.n_rows, pattern.n_latents),
        )
        places.append(block.positions)
        for own, share in zip(parts, shares, strict=True):
            of_rows = (codes @ share).reshape(len(block.positions), block.n_tokens, -1)
            own.append(sparse.csr_array(of_rows.max(1).astype(np.float64)))
    order = np.argsort(np.concatenate(places))
    return [sparse.vstack(own, format="csr")[order] for own in parts]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is found of a level, or of one of its controls.

    Attributes
    ----------
    numbers : mapping of str to float
        As of `Look`.
    frequency : array, (latent,)
        As of `Look`.
    classes : Dataset
        As of `class_statistics`, NaN of latents that never score.
    weights : array, (latent, latent above)
        How much of each latent above it is made.
    directions : array, (latent, channel)
        Its directions among the channels of the layer.
    """

    numbers: Mapping[str, float]
    frequency: Numbers
    classes: xr.Dataset
    weights: Floats
    directions: Floats

    def medians(self) -> dict[str, float]:
        """Medians of what is said of classes over latents that fire, NaN where none does."""
        return {name: _median(self.classes[name].values) for name in OF_CLASSES}

    def null_medians(self) -> dict[str, Numbers]:
        """The same of each shuffle of the labels, (shuffle,)."""
        rows = {n: self.classes[f"null_{n}"].transpose(SHUFFLE, ...).values for n in OF_CLASSES}
        return {name: np.array([_median(row) for row in each]) for name, each in rows.items()}

    @property
    def live_directions(self) -> Floats:
        """Directions of latents that fire, zeros for the others."""
        return np.where(self.frequency[:, None] > 0, self.directions, np.float32(0))


@dataclass(frozen=True, kw_only=True)
class Looker:
    """Looks at levels of chains that begin with one autoencoder.

    Attributes
    ----------
    first : Level
        The autoencoder.
    read : Rows
        Samples, with their labels.
    n_shuffles : int
        Of labels.
    """

    first: Level
    read: Rows
    n_shuffles: int

    def at(self, autoencoder: Autoencoder) -> Found:
        """What is found of an autoencoder of activations: the first, or one beside a level."""
        look = Look.at(autoencoder, self.read)
        return self._found(look, look.scores, autoencoder.decoder, autoencoder.decoder)

    def of_decoders(self, chain: Chain) -> tuple[list[Found], list[Found]]:
        """What is found of levels on decoder rows, and of the same without effect."""
        looks: list[tuple[Look, Look]] = []
        weights: list[tuple[Floats, Floats]] = []
        shares: list[Floats] = []
        above: Floats | None = None
        n_above = self.first.autoencoder.n_latents
        for pair in zip(chain.levels, chain.others, strict=True):
            both = [Look.at(each.autoencoder, each.rows) for each in pair]
            codes = [_of_all(each.scores, pair[0].above, n_above) for each in both]
            through = [each if above is None else above @ each for each in codes]
            looks.append((both[0], both[1]))
            weights.append((codes[0].T, codes[1].T))
            shares += through
            above, n_above = through[0], pair[0].autoencoder.n_latents
        scores = iter(scores_through(self.first.autoencoder, self.read, shares))
        found: tuple[list[Found], list[Found]] = ([], [])
        for levels, both_looks, both_weights in zip(
            zip(chain.levels, chain.others, strict=True), looks, weights, strict=True
        ):
            for out, level, look, weight in zip(
                found, levels, both_looks, both_weights, strict=True
            ):
                out.append(self._found(look, next(scores), weight, level.autoencoder.decoder))
        return found

    def of_codes(self, chain: Chain, seed: int) -> tuple[list[Found], list[Found]]:
        """What is found of levels on codes, and of the same without effect."""
        above, rows, directions = self.first, self.read, self.first.autoencoder.decoder
        found: tuple[list[Found], list[Found]] = ([], [])
        for level, other in zip(chain.levels, chain.others, strict=True):
            rows = CodedRows(rows, above.autoencoder)
            one, without = level.autoencoder, other.autoencoder
            look, apart = Look.at(one, rows), Look.at(without, PermutedRows(rows, seed))
            scores = Look.at(without, rows).scores
            # Weights of latents that never fire are as they started.
            weights, of_other = (
                np.where(above.is_live, each.decoder, np.float32(0)) for each in (one, without)
            )
            found[1].append(self._found(apart, scores, of_other, of_other @ directions))
            directions = weights @ directions
            found[0].append(self._found(look, look.scores, weights, directions))
            above = level
        return found

    def _found(
        self, look: Look, scores: sparse.csr_array, weights: Floats, directions: Floats
    ) -> Found:
        classes = class_statistics(
            scores, self.read.labels, self.read.classes, n_shuffles=self.n_shuffles
        )
        return Found(
            numbers=look.numbers,
            frequency=look.frequency,
            classes=classes,
            weights=weights,
            directions=directions,
        )


def _of_all(codes: sparse.csr_array, rows: NDArray[np.int64], n_rows: int) -> Floats:
    """Codes of some rows among all, (row, latent), 0 of the others."""
    out = np.zeros((n_rows, codes.shape[1]), np.float32)
    out[rows] = codes.toarray()
    return out


def _median(values: Numbers) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
