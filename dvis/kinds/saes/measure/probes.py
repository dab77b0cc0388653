"""Can classes be told from what an autoencoder keeps of its rows: linear probes, single latents.

An autoencoder and samples of two splits in, accuracies on the second of probes of the first out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dvis.analysis.class_statistics import aurocs
from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.linear_probes import classifier
from dvis.kinds.saes.dims import CLASS, SHUFFLE, quantity
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import ScoreTable, encoded
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.words import PROBES
from dvis.schema import counted

_LEAST = 5  # samples of a class in either split: with fewer a score is one or two images
_MOST = 4096  # samples of a split, so that memory does not grow with the set
_MAX_STEPS = 200
_CELLS = 2**21  # latents times classes that are looked at together: 16 MB an array
_NONE = -1

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def probed(
    autoencoder: Autoencoder, train: Rows, held_out: Rows, *, n_shuffles: int = 20, seed: int = 0
) -> xr.Dataset:
    r"""How well classes are told apart from rows, reconstructions, codes, and single latents.

    A probe is a logistic regression on the standardised means of a sample's tokens,

    .. math:: p(c) \propto \exp(w_c \cdot (\bar x - m) / s + b_c)

    with scikit-learn's penalty of the weights (C = 1); codes are divided by their spread alone.

    Parameters
    ----------
    autoencoder : Autoencoder
        Whose reconstructions and codes are probed.
    train : Rows
        Samples on which probes are trained, and latents are chosen.
    held_out : Rows
        Other samples of the same classes, on which both are scored.
    n_shuffles : int
        Of labels within each split, for the null of single latents; 0 for none.
    seed : int
        Of the samples that are taken where there are many, and of the shuffles.

    Returns
    -------
    Dataset
        probe_accuracy, of a probe trained and scored on rows; probe_accuracy_sae, of the same
        probe on reconstructions; probe_accuracy_retrained, of one trained on reconstructions;
        probe_accuracy_codes, of one trained on codes; probe_chance, of the commonest class.
        probe_latent (class), the latent of highest AUROC for the class among the training samples,
        -1 where none fires; probe_latent_auroc (class), its AUROC among those held out;
        null_probe_latent_auroc (shuffle, class), of latents chosen and scored by shuffled labels.
        Classes with fewer than five samples in a split are left out of all, and NaN.
        Its attributes say how many samples and classes there were, and the seed.

    Raises
    ------
    ValueError
        When fewer than two classes have five samples in both splits, or the rows do not fit the
        autoencoder.

    Notes
    -----
    At most 4,096 samples of a split, and so many of each class alike (but five), are encoded and
    held in memory, as means over tokens.

    References
    ----------
    Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093 (probes of one
    latent, there by their loss). Alain and Bengio (2016), Understanding intermediate layers using
    linear classifier probes, arXiv:1610.01644.
    """
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 0 or more")
    n_classes = len(train.classes)
    chosen = probe_samples(train.labels, held_out.labels, n_classes, seed=seed)
    of_train, of_held_out = (
        _Means.of(autoencoder, rows.taken(places))
        for rows, places in zip((train, held_out), chosen, strict=True)
    )
    found: dict[str, Any] = {
        name: ((), value) for name, value in _accuracies(of_train, of_held_out).items()
    }
    latents, scores = _single_latents(of_train, of_held_out, n_classes, n_shuffles, seed)
    found["probe_latent"] = (CLASS, latents)
    found["probe_latent_auroc"] = (CLASS, scores[0])
    variables = {n: quantity(dims, each, PROBES[n]) for n, (dims, each) in found.items()}
    exchanged = {EXCHANGEABLE: "labels of samples"}
    variables["probe_latent_auroc"].attrs |= exchanged
    if n_shuffles:
        text = f"{PROBES['probe_latent_auroc']}, labels shuffled"
        variables["null_probe_latent_auroc"] = quantity(
            (SHUFFLE, CLASS), scores[1:], text, **exchanged
        )
    attrs = probe_attrs(*(each.labels for each in (of_train, of_held_out)), seed=seed)
    return xr.Dataset(variables, {CLASS: np.array(train.classes, str)}, attrs)


def probe_samples(
    train: NDArray[np.int64], held_out: NDArray[np.int64], n_classes: int, *, seed: int = 0
) -> tuple[Places, Places]:
    """Places of the samples that probes are trained on, and scored on, by the labels of both.

    Parameters
    ----------
    train, held_out : array of int64, (sample,)
        Index of each sample's class.
    n_classes : int
        Classes.
    seed : int
        Of the samples of a class that are taken where there are more.

    Raises
    ------
    ValueError
        When fewer than two classes have five samples in both.
    """
    counts = [np.bincount(labels, minlength=n_classes) for labels in (train, held_out)]
    known = np.flatnonzero((counts[0] >= _LEAST) & (counts[1] >= _LEAST))
    if len(known) < 2:
        there = "1 class has" if len(known) == 1 else "no class has"
        raise ValueError(
            f"of {counted(n_classes, 'class', 'classes')} {there} {_LEAST} samples both in the "
            f"training split and held out ({len(train)} and {len(held_out)} samples), and a probe "
            "needs two such. Keep activations of more samples of labelled images"
        )
    most = max(_LEAST, _MOST // len(known))
    generator = np.random.default_rng(seed)
    taken = [
        np.sort(np.concatenate([_drawn(labels, each, most, generator) for each in known.tolist()]))
        for labels in (train, held_out)
    ]
    return taken[0], taken[1]


def probe_attrs(
    train: NDArray[np.int64], held_out: NDArray[np.int64], *, seed: int
) -> dict[str, int]:
    """What is said of the samples of probes, by the labels of those that are taken."""
    return {
        "probe_train_samples": len(train),
        "probe_held_out_samples": len(held_out),
        "probe_classes": len(np.unique(train)),
        "probe_seed": seed,
    }


def _drawn(
    labels: NDArray[np.int64], which: int, most: int, generator: np.random.Generator
) -> Places:
    places = np.flatnonzero(labels == which)
    return places if len(places) <= most else generator.choice(places, most, replace=False)


@dataclass(frozen=True, kw_only=True)
class _Means:
    """Means of some samples' tokens: of rows, reconstructions and codes, (sample, ...)."""

    rows: Floats
    reconstructions: Floats
    codes: sparse.csr_array
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, autoencoder: Autoencoder, rows: Rows) -> Self:
        means = np.empty((rows.n_samples, rows.n_channels))
        table = ScoreTable(rows.n_samples, autoencoder.n_latents, "mean", None)
        for block in encoded(autoencoder, rows):
            table.add(block)
            of_samples = block.rows.reshape(len(block.positions), block.n_tokens, -1)
            means[block.positions] = of_samples.double().mean(1).numpy()
        codes = table.table()
        # Decoding is linear: the mean of a sample's reconstructions is that of its mean codes.
        decoded = codes @ autoencoder.decoder.astype(np.float64) + autoencoder.decoder_bias
        return cls(rows=means, reconstructions=decoded, codes=codes, labels=rows.labels)


def _accuracies(train: _Means, held_out: _Means) -> dict[str, float]:
    """Shares of samples held out whose class a probe tells."""
    of_rows = _trained(train.rows, train.labels)
    of_reconstructions = _trained(train.reconstructions, train.labels)
    of_codes = _trained(train.codes, train.labels)
    labels = held_out.labels
    commonest = np.bincount(train.labels).argmax()
    return {
        "probe_accuracy": of_rows.score(held_out.rows, labels),
        "probe_accuracy_sae": of_rows.score(held_out.reconstructions, labels),
        "probe_accuracy_retrained": of_reconstructions.score(held_out.reconstructions, labels),
        "probe_accuracy_codes": of_codes.score(held_out.codes, labels),
        "probe_chance": float((labels == commonest).mean()),
    }


def _trained(values: Floats | sparse.csr_array, labels: NDArray[np.int64]) -> Pipeline:
    is_dense = not sparse.issparse(values)  # with their mean taken away codes would all be stored
    scaler = StandardScaler(with_mean=is_dense).fit(values)
    fit, _ = classifier(scaler.transform(values), labels, max_steps=_MAX_STEPS)
    return make_pipeline(scaler, fit)


def _single_latents(
    train: _Means, held_out: _Means, n_classes: int, n_shuffles: int, seed: int
) -> tuple[Places, Floats]:
    """Best latent of each class, and its AUROC among those held out, (1 + shuffle, class)."""
    generator = np.random.default_rng((seed, n_shuffles))
    labels = [(train.labels, held_out.labels)]
    for _ in range(n_shuffles):
        labels.append((generator.permutation(train.labels), generator.permutation(held_out.labels)))
    best = _best_latents(train.codes, [of_train for of_train, _ in labels], n_classes)
    scores = np.full(best.shape, np.nan)
    by_latent = held_out.codes.tocsc()
    for row, (latents, (_, of_held_out)) in enumerate(zip(best, labels, strict=True)):
        known = np.flatnonzero(latents != _NONE)
        columns = by_latent[:, latents[known]].tocsr()
        (found,) = aurocs(columns, [of_held_out], n_classes)
        scores[row, known] = found[np.arange(len(known)), known]
    return best[0], scores


def _best_latents(
    codes: sparse.csr_array, labels: Sequence[NDArray[np.int64]], n_classes: int
) -> Places:
    """Latent of highest AUROC of each class, (labels, class), among those that fire; -1 if none."""
    highest = np.full((len(labels), n_classes), -np.inf)
    best = np.full(highest.shape, _NONE, np.int64)
    by_latent = codes.tocsc()
    live = np.flatnonzero(np.diff(by_latent.indptr))
    width = max(1, _CELLS // n_classes)
    for first in range(0, len(live), width):
        some = live[first : first + width]
        for row, found in enumerate(aurocs(by_latent[:, some].tocsr(), labels, n_classes)):
            known = np.where(np.isnan(found), -np.inf, found)
            place, value = known.argmax(0), known.max(0)
            is_better = value > highest[row]
            highest[row, is_better] = value[is_better]
            best[row, is_better] = some[place[is_better]]
    return best
