"""Units of one run and their like in another, which tells whether this run did it or every run.

Responses of two runs to the same images in, pairs of units with how alike they are, an error and a
null out; and whether what is born early in one is born early in the other.
"""

from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.requirements import (
    require_births,
    require_dataset,
    require_some,
    require_whole_numbers,
)
from dvis.analysis.resampling import BOUND, MIDDLE
from dvis.models.torch_guard import needing_torch
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, did_you_mean

IMAGE, SHUFFLE = "image", "shuffle"
_FOLDS = 2
_GROUPS = 10  # of images that a jackknife leaves out
_LEAST_IMAGES = 20


def match_runs(
    one: xr.Dataset,
    other: xr.Dataset,
    *,
    checkpoint: str = "last",
    other_checkpoint: str = "last",
    n_shuffles: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which unit of another run is most like each unit, by their responses to the same images.

    Layer by layer, units are paired one to one so that the sum of the correlations of their
    responses is the largest (the assignment problem). Pairs that are chosen to correlate do so more
    than units that belong together, so they are chosen on one half of the images and their
    correlation is taken from the other half, and the other way round; the mean of both is told. A
    copy of a run whose units are permuted has 1; runs that have nothing in common have what the
    null has, near 0.

    Parameters
    ----------
    one, other : Dataset, (checkpoint, layer, channel, image)
        Responses of two runs to the same images, as `dvis.responses` gives them.
    checkpoint, other_checkpoint : str, optional
        Which checkpoint of each: its label, or "last".
    n_shuffles : int, optional
        How often the other's images are exchanged for the null.
    seed : int, optional
        Seed of halves and shuffles.

    Returns
    -------
    Dataset, (layer, channel, shuffle, bound)
        - `partner` (layer, channel), int64: the other's channel by all images, -1 without one;
        - `correlation` (layer, channel), float64: of a unit and its partner, held out: of the two
          partners that halves of the images choose, each on the half that did not;
        - `mean_correlation`, `mean_se` (layer), float64: the mean over the layer's pairs, and its
          standard error over images (a jackknife that leaves out a tenth of them at a time);
        - `null_mean_correlation` (layer, shuffle), float64: the same with the other's images
          exchanged, all of its units alike;
        - `null_correlation` (layer, bound), float64: between which 95 % of single pairs lie then;
        - `share_matched` (layer), float64: share of units above the null's upper bound, of which
          2.5 % are above by chance.

    Raises
    ------
    KeyError
        When there is no such checkpoint.
    ValueError
        When the two share no layer or fewer than 20 images, or `n_shuffles` is below 1.

    Notes
    -----
    Units of a layer are not independent samples of a run: the error is that of the images alone,
    for these two runs. What two runs share is known no better than by as many pairs of runs as
    there are.

    References
    ----------
    Li et al. (2016), Convergent learning: do different neural networks learn the same
    representations?, arXiv:1511.07543.
    """
    require_whole_numbers(n_shuffles=n_shuffles)
    if n_shuffles < 1:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 1 or more")
    ours, theirs = _shared(one, other, checkpoint, other_checkpoint)
    rng = np.random.default_rng(seed)
    n_images = ours.sizes[IMAGE]
    order = rng.permutation(n_images)
    shuffles = [rng.permutation(n_images) for _ in range(n_shuffles)]
    layers = ours[LAYER].values.tolist()
    rows = [
        _matched(
            ours.sel({LAYER: layer}).transpose(CHANNEL, IMAGE).values,
            theirs.sel({LAYER: layer}).transpose(CHANNEL, IMAGE).values,
            order,
            shuffles,
        )
        for layer in layers
    ]
    dims = {
        "partner": (LAYER, CHANNEL),
        "correlation": (LAYER, CHANNEL),
        "mean_correlation": (LAYER,),
        "mean_se": (LAYER,),
        "null_mean_correlation": (LAYER, SHUFFLE),
        "null_correlation": (LAYER, BOUND),
        "share_matched": (LAYER,),
    }
    return xr.Dataset(
        {name: (of, np.stack([row[name] for row in rows])) for name, of in dims.items()},
        {LAYER: layers, CHANNEL: ours[CHANNEL].values, BOUND: ["lower", "upper"]},
        {
            EXCHANGEABLE: "the other run's images, all units alike",
            "n_images": n_images,
            "one": str(ours[CHECKPOINT].item()),
            "other": str(theirs[CHECKPOINT].item()),
        },
    )


def shared_births(
    matched: xr.Dataset,
    births: xr.Dataset,
    other_births: xr.Dataset,
    *,
    n_shuffles: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Whether units that two runs share are born in the same order in both.

    Spearman's rank correlation of the births of matched units, layer by layer, over pairs of which
    both are born. The null exchanges partners within the layer.

    Parameters
    ----------
    matched : Dataset
        What `match_runs` gave.
    births, other_births : Dataset, (layer, channel)
        What `births` gave of the two runs.
    n_shuffles : int, optional
        How often partners are exchanged.
    seed : int, optional
        Seed of the shuffles.

    Returns
    -------
    Dataset, (layer, bound)
        - `correlation` (layer), float64: NaN with fewer than three pairs;
        - `null_correlation` (layer, bound), float64: between which 95 % lie when partners are
          exchanged;
        - `p_value` (layer), float64: share of the exchanges whose correlation is as high or higher;
        - `n_pairs` (layer), int64: pairs of which both are born and alike beyond the null.

    Raises
    ------
    SchemaError
        When these are no births.
    """
    for each in (births, other_births):
        require_births(each, "birth", "state")
    with needing_torch("shared_births"):
        from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {"correlation": [], "null": [], "p_value": [], "n_pairs": []}
    for layer in matched[LAYER].values:
        dates = _dates_of_pairs(matched.sel({LAYER: layer}), births, other_births, layer)
        ranks = rankdata(dates, axis=1)
        value = _correlation(*ranks)
        null = [_correlation(ranks[0], rng.permutation(ranks[1])) for _ in range(n_shuffles)]
        is_known = np.isfinite(value)
        n_above = sum(each >= value for each in null)
        found["correlation"].append(value)
        found["null"].append(np.quantile(null, MIDDLE) if is_known else np.full(2, np.nan))
        found["p_value"].append((1 + n_above) / (1 + n_shuffles) if is_known else np.nan)
        found["n_pairs"].append(dates.shape[1])
    return xr.Dataset(
        {
            "correlation": (LAYER, found["correlation"]),
            "null_correlation": ((LAYER, BOUND), found["null"]),
            "p_value": (LAYER, found["p_value"]),
            "n_pairs": (LAYER, found["n_pairs"]),
        },
        {LAYER: matched[LAYER].values, BOUND: ["lower", "upper"]},
        {EXCHANGEABLE: "partners within a layer"},
    )


def _shared(
    one: xr.Dataset, other: xr.Dataset, checkpoint: str, other_checkpoint: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Responses of both at one checkpoint each, of the layers and the images that both have."""
    chosen = []
    for each, label in ((one, checkpoint), (other, other_checkpoint)):
        require_dataset(each)
        if "response" not in each or IMAGE not in each["response"].dims:
            raise ValueError(
                "these are no responses to images; take dvis.responses of each run, to one image "
                "set: `dvis respond --dataset ... --name ...`"
            )
        require_some(each, CHECKPOINT, LAYER, CHANNEL)
        labels = [str(name) for name in each[CHECKPOINT].values]
        if label != "last" and label not in labels:
            raise KeyError(did_you_mean(CHECKPOINT, label, labels, "these responses"))
        place = len(labels) - 1 if label == "last" else labels.index(label)
        chosen.append(each["response"].isel({CHECKPOINT: place}))
    for dim in (LAYER, IMAGE):
        theirs = set(chosen[1][dim].values.tolist())
        both = [each for each in chosen[0][dim].values.tolist() if each in theirs]
        least = _LEAST_IMAGES if dim == IMAGE else 1
        if len(both) < least:
            raise ValueError(
                f"the two runs share {len(both)} {dim}s, and matching needs {least} or more: "
                "measure both with the same images and layers"
            )
        chosen = [each.sel({dim: both}) for each in chosen]
    return chosen[0].load(), chosen[1].load()


def _matched(
    ours: np.ndarray, theirs: np.ndarray, order: np.ndarray, shuffles: list[np.ndarray]
) -> dict[str, Any]:
    """Pairs of a layer's units, (channel, image) of both."""
    our_units = np.flatnonzero(np.isfinite(ours).all(1))
    their_units = np.flatnonzero(np.isfinite(theirs).all(1))
    mine, others = ours[our_units], theirs[their_units]
    held_out = _held_out(mine, others, order)
    # Without a tenth of the images, ten times: what is left of the halves stays in its half.
    means = [
        float(np.mean(_held_out(mine, others, order[np.arange(len(order)) % _GROUPS != i])))
        for i in range(_GROUPS)
    ]
    nulls = [_held_out(mine, others[:, shuffle], order) for shuffle in shuffles]
    bounds = np.quantile(np.concatenate(nulls), MIDDLE)
    rows, columns = _assigned(_correlations(mine, others))
    partner = np.full(len(ours), -1)
    partner[our_units[rows]] = their_units[columns]
    correlation = np.full(len(ours), np.nan)
    correlation[our_units] = held_out
    n = len(means)
    return {
        "partner": partner,
        "correlation": correlation,
        "mean_correlation": float(np.nanmean(held_out)),
        "mean_se": float(np.sqrt((n - 1) / n * np.sum((np.array(means) - np.mean(means)) ** 2))),
        "null_mean_correlation": np.array([np.nanmean(null) for null in nulls]),
        "null_correlation": bounds,
        "share_matched": float(np.nanmean(held_out > bounds[1])),
    }


def _held_out(ours: np.ndarray, theirs: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Correlation of each unit with its partner, on the half of the images that did not choose."""
    halves = np.array_split(order, _FOLDS)
    found = np.zeros((_FOLDS, len(ours)))
    for fold, chosen_on in enumerate(halves):
        told_on = np.concatenate([half for i, half in enumerate(halves) if i != fold])
        rows, columns = _assigned(_correlations(ours[:, chosen_on], theirs[:, chosen_on]))
        there = _correlations(ours[:, told_on], theirs[:, told_on])
        found[fold, rows] = there[rows, columns]
    mean: np.ndarray = found.mean(0)
    return mean


def _correlations(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Correlations of all pairs; 0 of a unit that answers alike to all images."""
    products: np.ndarray = _standardised(ours) @ _standardised(theirs).T
    return products


def _standardised(answers: np.ndarray) -> np.ndarray:
    centred = answers - answers.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = np.zeros(centred.shape)
    np.divide(centred, norms, out=directions, where=norms > 0)
    return directions


def _assigned(correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with needing_torch("matching two runs"):
        from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(correlations, maximize=True)
    return rows, columns


def _dates_of_pairs(
    matched: xr.Dataset, births: xr.Dataset, other_births: xr.Dataset, layer: Any
) -> np.ndarray:
    """Births of pairs that are alike beyond the null and born in both, (run, pair)."""
    upper = float(matched["null_correlation"].sel({BOUND: "upper"}))
    partner = matched["partner"].values
    is_pair = (partner >= 0) & (matched["correlation"].values > upper)
    mine = births.sel({LAYER: layer, CHANNEL: matched[CHANNEL].values[is_pair]})
    others = other_births.sel({LAYER: layer, CHANNEL: partner[is_pair]})
    is_born = (mine["state"].values == BORN) & (others["state"].values == BORN)
    return np.stack([mine["birth"].values[is_born], others["birth"].values[is_born]])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
