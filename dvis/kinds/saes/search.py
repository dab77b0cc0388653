"""Which latents tell some images from others, by example, and which notes say what they are.

Ids of samples in, latents sorted by score out, beside the scores of shuffled ids; or words in, and
the latents out whose notes have them. Without torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.saes.dims import LATENT, SHUFFLE, quantity
from dvis.kinds.saes.read import latents, name_in_layer, saes
from dvis.kinds.saes.words import WEIGHTS
from dvis.schema import CHECKPOINT, UNIT_NOTE, SchemaError, Status, counted, did_you_mean
from dvis.store.contents import StoreLike, resolve
from dvis.store.unit_notes import is_found

By = Literal["auroc", "rate_difference"]
_MOST_OTHERS = 4096  # that examples are held against, where nothing is told
_BLOCK_CODES = 2**24  # in memory at a time, with their zeros
_RANKED = 256  # latents at a time
_KNOWN = ("frequency", "selectivity")  # of a latent that is found by its note, sorted by the first


def search_latents(
    store: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    positive: Iterable[str] = (),
    negative: Iterable[str] = (),
    of_class: str | None = None,
    of_note: str = "",
    checkpoint: str = "last",
    by: By = "auroc",
    n_shuffles: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Latents that tell example images from others, the best first, or whose notes have some words.

    An image's score is its largest code over tokens. Activations of the examples are encoded when
    they are asked for; words of a note alone need none.

    Parameters
    ----------
    store, layer, name, run
        As `dvis.saes` takes them.
    positive, negative : iterable of str
        Ids of samples, or their ends where only one ends so. Without negative ones all others are,
        at most 4096 of them by chance.
    of_class : str, optional
        A class all of whose samples are positive ones.
    of_note : str
        Only latents whose notes have all these words, in any case.
    checkpoint : str
        Label of the checkpoint; "last" for the last that has autoencoders.
    by : {"auroc", "rate_difference"}
        Probability that a positive one scores higher than a negative one, ties half; or the share
        of positive ones in which the latent fires, less that of negative ones.
    n_shuffles : int
        Of the ids over all these samples, for the null; 0 for none.
    seed : int
        Of the shuffles, and of the choice of others.

    Returns
    -------
    Dataset, (latent,)
        Sorted by `score`; `rate_positive` and `rate_negative`, shares in which it fires;
        `mean_positive` and `mean_negative`, of scores; `null_score` (shuffle, latent); and
        `null_best` (shuffle), the highest of all latents, which the best of a search is to exceed.
        Of words of a note alone `frequency` and `selectivity` at the checkpoint, by the first, NaN
        where they are not evaluated. With `of_note`, the coordinate `note`.

    Raises
    ------
    KeyError
        When there is no such run, layer, name, checkpoint, class or sample.
    ValueError
        When no sample is positive or none negative, one is both, an id has several ends, or no note
        has the words.
    FileNotFoundError, SchemaError
        As `dvis.saes` does.
    """
    if by not in get_args(By):
        raise ValueError(did_you_mean("score", by, get_args(By), "a search"))
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 0 or more")
    resolved = resolve(store, None)
    trained = saes(resolved, layer, name, run)
    label = label_of(trained, checkpoint)
    told = {"layer": layer, "name": trained.attrs["name"], "run": trained.attrs["run"]}
    told[CHECKPOINT] = label
    positive, negative = _as_list(positive), _as_list(negative)
    numbers = _noted(trained, of_note) if of_note else trained[LATENT].values
    if of_note and not positive and not negative and of_class is None:
        return _numbers_of(resolved, trained, numbers, label).assign_attrs(told)
    at = trained[[*WEIGHTS]].sel({CHECKPOINT: label}).load()
    rows = ActivationRows.open(
        resolved,
        layer,
        label,
        name=trained.attrs.get("activations"),
        run=str(trained.attrs["run"]),
        split="all",
        batch_size=1,
    )
    generator = np.random.default_rng(seed)
    chosen = _chosen(rows, positive, of_class, "positive")
    others = _others(rows, chosen, negative, generator)
    samples, is_positive = np.concatenate([chosen, others]), np.zeros(len(chosen) + len(others))
    is_positive[: len(chosen)] = 1
    scores = np.concatenate([*largest_codes(at, trained.attrs, rows, samples)])
    # Beside the best of a null over these latents stands the best of these.
    is_asked = np.isin(trained[LATENT].values, numbers)
    found = _found(scores[:, is_asked], is_positive, by, n_shuffles, generator)
    found[LATENT] = numbers
    if of_note:
        found = found.assign_coords({UNIT_NOTE: trained[UNIT_NOTE].sel({LATENT: numbers})})
    attrs = {
        **told,
        "by": by,
        "seed": seed,
        "n_positive": len(chosen),
        "n_negative": len(others),
    }
    order = np.argsort(-np.nan_to_num(found["score"].values, nan=-np.inf), kind="stable")
    return found.isel({LATENT: order}).assign_attrs(attrs)


def _as_list(ids: Iterable[str]) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)


def _noted(trained: xr.Dataset, words: str) -> np.ndarray:
    """Numbers of the latents whose notes have some words."""
    texts = trained[UNIT_NOTE].values.tolist() if UNIT_NOTE in trained.coords else []
    is_asked = [bool(text) and is_found(text, words) for text in texts]
    if not any(is_asked):
        n_noted = sum(bool(text) for text in texts)
        raise ValueError(
            f"no note about latents of {trained.attrs['name']} has all words of {words!r}; "
            f"{counted(n_noted, 'latent')} of it {'has a note' if n_noted == 1 else 'have notes'}, "
            "which `dvis notes` lists and `dvis note` writes"
        )
    return np.asarray(trained[LATENT].values[is_asked])


def _numbers_of(
    store: StoreLike, trained: xr.Dataset, numbers: np.ndarray, label: str
) -> xr.Dataset:
    """What is known of some latents at a checkpoint, by how often they fire, with their notes."""
    found: dict[str, xr.Variable] = {}
    layer, run = str(trained.attrs["layer"]), str(trained.attrs["run"])
    unknown = quantity(LATENT, np.full(len(numbers), np.nan), "not evaluated")
    try:
        evaluated = latents(store, layer, name_in_layer(trained), run)
    except (SchemaError, KeyError):  # none is
        evaluated = xr.Dataset()
    for each in _KNOWN:
        found[each] = unknown
        if each in evaluated and label in evaluated[CHECKPOINT].values:
            at = evaluated[each].sel({CHECKPOINT: label, LATENT: numbers})
            found[each] = at.variable.load()
    notes = trained[UNIT_NOTE].sel({LATENT: numbers}).variable
    of_all = xr.Dataset(found, {LATENT: numbers, UNIT_NOTE: notes})
    order = np.argsort(-np.nan_to_num(of_all[_KNOWN[0]].values, nan=-1), kind="stable")
    return of_all.isel({LATENT: order})


def label_of(trained: xr.Dataset, checkpoint: str) -> str:
    """The checkpoint that is meant, of those whose autoencoders are there.

    Raises
    ------
    KeyError
        When there is no such one.
    ValueError
        When none is there yet.
    """
    labels = trained[CHECKPOINT].values[trained["status"].values == Status.COMPLETE].tolist()
    if not labels:
        raise ValueError("no autoencoder is trained yet: run the same `dvis sae train` again")
    label = labels[-1] if checkpoint == "last" and "last" not in labels else checkpoint
    if label not in labels:
        raise KeyError(did_you_mean(CHECKPOINT, label, labels, "the autoencoders"))
    return str(label)


def _chosen(
    rows: ActivationRows, ids: Iterable[str], of_class: str | None, what: str
) -> np.ndarray:
    """Places of samples among the rows' samples, by ids and by class."""
    there = rows.sample_ids.tolist()
    places = {each: place for place, each in enumerate(there)}
    found = {_place_of(each, there, places) for each in ids}
    if of_class is not None:
        if of_class not in rows.classes:
            raise KeyError(did_you_mean("class", of_class, rows.classes, "the image set"))
        found |= set(np.flatnonzero(rows.labels == rows.classes.index(of_class)).tolist())
    if not found:
        raise ValueError(
            f"no {what} sample; give ids of one or more, or a class that has some, or words of a "
            "note alone"
        )
    return np.array(sorted(found), np.int64)


def _place_of(asked: str, there: Sequence[str], places: dict[str, int]) -> int:
    if asked in places:
        return places[asked]
    ending = [each for each in there if each.endswith(asked)] if asked else []
    if len(ending) > 1:
        raise ValueError(
            f"{len(ending)} samples end in {asked!r}, such as {ending[0]!r} and {ending[1]!r}; "
            "give more of the one's id"
        )
    if not ending:
        raise KeyError(did_you_mean("sample", asked, there, "the activations"))
    return places[ending[0]]


def _others(
    rows: ActivationRows,
    chosen: np.ndarray,
    negative: Sequence[str],
    generator: np.random.Generator,
) -> np.ndarray:
    """Places of negative samples: those that are told, else all others or some of them."""
    if negative:
        others = _chosen(rows, negative, None, "negative")
        both = np.intersect1d(chosen, others)
        if len(both):
            raise ValueError(
                f"{str(rows.sample_ids[both[0]])!r} is both a positive and a negative sample; "
                "give it once"
            )
        return others
    others = np.setdiff1d(np.arange(rows.n_samples), chosen)
    if not len(others):
        raise ValueError("all samples are positive ones; give fewer, so that there are others")
    if len(others) > _MOST_OTHERS:
        others = np.sort(generator.choice(others, _MOST_OTHERS, replace=False))
    return others


def largest_codes(
    at: xr.Dataset, attrs: dict[str, Any], rows: ActivationRows, samples: np.ndarray
) -> Iterator[np.ndarray]:
    """Largest code over tokens, (sample, latent) float32, of some samples at a time.

    Parameters
    ----------
    at : Dataset
        Weights of an autoencoder at one checkpoint.
    attrs : dict
        Its attributes.
    rows : ActivationRows
        Activations of all samples.
    samples : ndarray of int64
        Places of those that are asked for.

    Raises
    ------
    ValueError
        When activations are not finite, or the autoencoder has no threshold yet.
    """
    weights = {name: at[name].values for name in WEIGHTS}
    if attrs["kind"] == "batchtopk" and (weights["threshold"] < 0).any():
        raise ValueError("this batchtopk autoencoder has no threshold; train it for a step first")
    n_tokens = rows.n_tokens
    n_together = max(1, _BLOCK_CODES // (n_tokens * len(weights["encoder_bias"])))
    for first in range(0, len(samples), n_together):
        some = samples[first : first + n_together].tolist()
        values = [rows.rows(each * n_tokens, (each + 1) * n_tokens) for each in some]
        x = np.concatenate(values).astype(np.float32)
        if not np.isfinite(x).all():
            raise ValueError("some activations are not finite; collect them again")
        codes = _codes(x, weights, attrs)
        yield codes.reshape(len(some), n_tokens, -1).max(1)


def _codes(x: np.ndarray, weights: dict[str, np.ndarray], attrs: dict[str, Any]) -> np.ndarray:
    """Codes (row, latent) of rows (row, channel), each by its row alone."""
    codes: np.ndarray = (x - weights["decoder_bias"]) @ weights["encoder"].T
    codes += weights["encoder_bias"]
    if attrs["kind"] == "topk":
        k = int(attrs["k"])
        least = np.partition(codes, -k, axis=1)[:, -k, None]
        return np.where((codes >= least) & (codes > 0), codes, 0)
    return np.where(codes > weights["threshold"].clip(0), codes, 0)


def _found(
    scores: np.ndarray,
    is_positive: np.ndarray,
    by: By,
    n_shuffles: int,
    generator: np.random.Generator,
) -> xr.Dataset:
    """What tells the positive samples from the others, of each latent in its own place."""
    fires = scores > 0
    base = np.concatenate([*_ranks(scores)], axis=1) if by == "auroc" else fires.astype(np.float64)
    labelled = [is_positive, *(generator.permutation(is_positive) for _ in range(n_shuffles))]
    of_all = np.stack([_score(base, each, by) for each in labelled])
    of_all[:, ~fires.any(0)] = np.nan
    positive = is_positive.astype(bool)
    variables = {
        "score": quantity(LATENT, of_all[0], by.replace("_", " ")),
        "rate_positive": quantity(LATENT, fires[positive].mean(0), "share of positive samples"),
        "rate_negative": quantity(LATENT, fires[~positive].mean(0), "share of negative samples"),
        "mean_positive": quantity(LATENT, scores[positive].mean(0), "mean of positive samples"),
        "mean_negative": quantity(LATENT, scores[~positive].mean(0), "mean of negative samples"),
    }
    variables["score"].attrs[EXCHANGEABLE] = "ids of samples"
    if n_shuffles:
        null, best = of_all[1:], np.nan_to_num(of_all[1:], nan=-np.inf).max(1)
        text = f"{by.replace('_', ' ')}, ids shuffled"
        variables["null_score"] = quantity((SHUFFLE, LATENT), null, text)
        variables["null_best"] = quantity(SHUFFLE, best, f"highest {text}")
    return xr.Dataset(variables, {LATENT: np.arange(scores.shape[1])})


def _score(base: np.ndarray, is_positive: np.ndarray, by: By) -> np.ndarray:
    """AUROC of each latent by ranks of samples, or difference of rates by whether it fires."""
    n_positive, n_all = is_positive.sum(), len(is_positive)
    sums = is_positive @ base
    if by == "auroc":
        wins = sums - n_positive * (n_positive + 1) / 2
        return np.asarray(wins / (n_positive * (n_all - n_positive)))
    rest = base.sum(0) - sums
    return np.asarray(sums / n_positive - rest / (n_all - n_positive))


def _ranks(scores: np.ndarray) -> Iterator[np.ndarray]:
    """Rank of each sample's score from 1, equal ones their mean rank: of some latents at a time."""
    for first in range(0, scores.shape[1], _RANKED):
        some = scores[:, first : first + _RANKED]
        ordered = np.sort(some, axis=0)
        ranks = np.empty(some.shape)
        for latent in range(some.shape[1]):
            column, of_all = some[:, latent], ordered[:, latent]
            below = np.searchsorted(of_all, column, "left")
            upto = np.searchsorted(of_all, column, "right")
            ranks[:, latent] = (below + upto + 1) / 2
        yield ranks
