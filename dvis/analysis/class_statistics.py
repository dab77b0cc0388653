"""Which classes drive which units, beside the same for labels that are shuffled."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.quantities import CLASS, SHUFFLE, quantity
from dvis.schema import LATENT

_UNKNOWN = -1
_CELLS = 2**21  # latents times classes that are counted at a time: 16 MB an array

Floats = NDArray[np.float64]


def class_statistics(
    scores: sparse.csr_array,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    ranked: sparse.csr_array | None = None,
    n_shuffles: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    r"""How each latent's scores go with the samples' classes.

    With :math:`\mu_c` the mean score of class c, selectivity is

    .. math:: \frac{\mu_{max} - \mu_{-max}}{\mu_{max} + \mu_{-max}}

    where :math:`\mu_{-max}` is the mean of the other classes' means, and entropy is that of
    :math:`p_c`, the share of class c in the sum of all scores. AUROC is the probability that a
    sample of the class has a higher score than one of another class, where equal scores, such as
    the zeros, count half.

    Parameters
    ----------
    scores : csr_array, (sample, latent)
        Of `image_scores`, none below 0.
    labels : array of int64, (sample,)
        Class of each sample.
    classes : tuple of str
        Names of the classes.
    ranked : csr_array, (sample, latent), optional
        What AUROC takes the order of samples from, none below 0, where the scores have lost it, as
        those of channels do that are negative; by default the scores.
    n_shuffles : int
        Of labels over samples, for the null; 0 for none.
    seed : int
        Of the shuffles.

    Returns
    -------
    Dataset
        class_mean, class_rate (share of samples with a score above 0) and auroc (latent, class);
        NaN for classes without samples, and AUROC for one that has all.
        best_class (latent), the index of the class of highest mean, -1 of dead latents; best_share,
        its share in the sum of all scores; best_auroc, the highest of all classes'; selectivity;
        entropy, in nats. NaN of dead latents.
        null_best_share, null_best_auroc, null_selectivity, null_entropy (shuffle, latent).

    Raises
    ------
    ValueError
        When labels do not fit the scores or the classes.

    References
    ----------
    Morcos et al. (2018), On the importance of single directions for generalization,
    arXiv:1803.06959 (selectivity).
    """
    _check(scores, labels, classes, n_shuffles)
    width = max(1, _CELLS // len(classes))
    by_latent, orders = scores.tocsc(), None if ranked is None else ranked.tocsc()
    chunks = [
        _chunk(
            by_latent[:, first : first + width].tocsr(),
            None if orders is None else orders[:, first : first + width].tocsr(),
            labels,
            len(classes),
            n_shuffles,
            seed,
        )
        for first in range(0, scores.shape[1], width)
    ]
    found, of_latents = (
        {name: np.concatenate([chunk[n][name] for chunk in chunks], axis) for name in chunks[0][n]}
        for n, axis in ((0, 0), (1, -1))
    )
    long_names = {
        "best_share": "share of its best class in all scores",
        "best_auroc": "highest AUROC of any class",
        "selectivity": "class selectivity",
        "entropy": "entropy of classes",
    }
    units = {"entropy": "nat"}
    variables = {
        "class_mean": quantity((LATENT, CLASS), found["mean"], "mean score of a class"),
        "class_rate": quantity((LATENT, CLASS), found["rate"], "share of a class that fires it"),
        "auroc": quantity((LATENT, CLASS), found["auroc"], "AUROC of a class against the rest"),
    }
    best = of_latents.pop("best_class")[0].astype(np.int64)
    variables["best_class"] = quantity(LATENT, best, "class of highest mean")
    for name, (value, *draws) in of_latents.items():
        said: dict[str, Any] = {"units": units.get(name, "1"), EXCHANGEABLE: "labels of samples"}
        variables[name] = quantity(LATENT, value, long_names[name], **said)
        if draws:
            text = f"{long_names[name]}, labels shuffled"
            variables[f"null_{name}"] = quantity((SHUFFLE, LATENT), draws, text, **said)
    coordinates = {LATENT: np.arange(scores.shape[1]), CLASS: np.array(classes, str)}
    return xr.Dataset(variables, coordinates)


def aurocs(
    scores: sparse.csr_array, labellings: Sequence[NDArray[np.int64]], n_classes: int
) -> Iterator[Floats]:
    """AUROC of each class against the rest, (latent, class), by each of several labellings.

    Parameters
    ----------
    scores : csr_array, (sample, latent)
        None below 0.
    labellings : sequence of array of int64, (sample,)
        Classes of the samples.
    n_classes : int
        Classes; those without samples are NaN.
    """
    table = _Table(scores)
    for labels in labellings:
        yield _found(table, labels, n_classes)["auroc"]


def _chunk(
    scores: sparse.csr_array,
    ranked: sparse.csr_array | None,
    labels: NDArray[np.int64],
    n_classes: int,
    n_shuffles: int,
    seed: int,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What is found of some latents by class, and over all: (1 + shuffle, latent), the value first.

    Labels are shuffled alike for every chunk.
    """
    table, generator = _Table(scores, ranked), np.random.default_rng(seed)
    found = _found(table, labels, n_classes)
    rows = [_of_latents(found)]
    for _ in range(n_shuffles):
        rows.append(_of_latents(_found(table, generator.permutation(labels), n_classes)))
    return found, {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class _Table:
    """Scores of samples, whether they are above zero, and their ranks, for sums by class."""

    def __init__(self, scores: sparse.csr_array, ranked: sparse.csr_array | None = None) -> None:
        self.n_samples, self.n_latents = scores.shape
        self.scores = scores
        self.fires = _with_data(scores, np.ones(scores.nnz))
        by = scores if ranked is None else ranked
        self.is_ranked = self.fires if ranked is None else _with_data(by, np.ones(by.nnz))
        self.n_zeros = self.n_samples - np.bincount(by.indices, minlength=self.n_latents)
        self.ranks = _with_data(by, _ranks(by.data, by.indices) + self.n_zeros[by.indices])


def _found(table: _Table, labels: NDArray[np.int64], n_classes: int) -> dict[str, Floats]:
    """Sums and statistics of each latent and class, (latent, class)."""
    places = labels, np.arange(table.n_samples)
    members = sparse.csr_array(
        (np.ones(table.n_samples), places), shape=(n_classes, table.n_samples)
    )
    sums, fires, ranks = (
        (members @ each).toarray().T for each in (table.scores, table.fires, table.ranks)
    )
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    n_ranked = fires if table.is_ranked is table.fires else (members @ table.is_ranked).toarray().T
    # Zeros share the ranks 1 to n_zeros.
    ranks += (counts - n_ranked) * (table.n_zeros[:, None] + 1) / 2
    pairs = counts * (table.n_samples - counts)
    wins = ranks - counts * (counts + 1) / 2
    return {
        "sum": sums,
        "mean": _ratio(sums, counts),
        "rate": _ratio(fires, counts),
        "auroc": _ratio(wins, pairs),
    }


def _of_latents(found: dict[str, Floats]) -> dict[str, Floats]:
    """What is said of each latent over all classes, (latent,)."""
    means, is_dead = found["mean"], ~(found["sum"] > 0).any(1)
    n_known = np.isfinite(means).sum(1)
    best = np.where(np.isnan(means), -np.inf, means).argmax(1)
    highest = np.take_along_axis(means, best[:, None], 1)[:, 0]
    rest = _ratio(np.nansum(means, 1) - highest, n_known - 1.0)
    shares = _ratio(found["sum"], found["sum"].sum(1, keepdims=True))
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    auroc = np.where(np.isnan(found["auroc"]), -np.inf, found["auroc"]).max(1)
    of_latents = {
        "best_share": np.take_along_axis(shares, best[:, None], 1)[:, 0],
        "best_auroc": np.where(np.isfinite(auroc), auroc, np.nan),
        "selectivity": _ratio(highest - rest, highest + rest),
        "entropy": np.maximum(0.0, -(shares * logs).sum(1)),
    }
    of_latents = {name: np.where(is_dead, np.nan, values) for name, values in of_latents.items()}
    return {"best_class": np.where(is_dead, _UNKNOWN, best).astype(np.float64), **of_latents}


def _ranks(values: Floats, columns: NDArray[np.int32]) -> Floats:
    """Rank of each value among those of its column, from 1; equal ones share their mean rank."""
    order = np.lexsort((values, columns))
    ordered, column = values[order], columns[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]) | (column[1:] != column[:-1])
    group = is_first.cumsum() - 1
    firsts = np.flatnonzero(is_first)
    lasts = np.append(firsts[1:], len(order)) - 1
    starts = np.searchsorted(column, column[firsts])
    ranks = np.empty(len(order))
    ranks[order] = ((firsts + lasts) / 2 - starts + 1)[group]
    return ranks


def _with_data(like: sparse.csr_array, data: Floats) -> sparse.csr_array:
    return sparse.csr_array((data, like.indices, like.indptr), shape=like.shape)


def _ratio(above: Floats, below: Floats) -> Floats:
    below = np.broadcast_to(below, np.shape(above))
    out: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _check(
    scores: sparse.csr_array, labels: NDArray[np.int64], classes: tuple[str, ...], n_shuffles: int
) -> None:
    if labels.shape != (scores.shape[0],):
        raise ValueError(
            f"labels of shape {labels.shape} for {scores.shape[0]} samples; give one a sample"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, but there are {len(classes)} "
            f"classes; give labels from 0 to {len(classes) - 1}"
        )
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 0 or more")
