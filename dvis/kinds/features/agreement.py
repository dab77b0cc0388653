"""Whether two seeds of a unit's feature image show the same: their likeness against its null.

A Dataset of `dvis.open` in, a labelled Dataset of layers and checkpoints out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.control import with_control
from dvis.analysis.ranking import over_channels
from dvis.analysis.requirements import require
from dvis.analysis.selectivity import LEVEL
from dvis.analysis.trajectories import in_one_piece, of_complete_units, origin
from dvis.kinds.features.words import SEED_NULL, SEED_SIMILARITY
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS

EXCHANGED = "units exchanged"
_ADVICE = (
    "`dvis visualize --number-of-seeds 2` measures how alike the images of two seeds are, and "
    "those of different units"
)


def seed_agreement(dataset: xr.Dataset) -> xr.Dataset:
    r"""How alike the images of two seeds of a unit are, and those of two units of its layer.

    A feature image is one local maximum of many. Where seeds of a unit agree no more than images of
    different units of its layer do, what it shows is the seed's and the layer's, not the unit's.
    Likeness is the correlation of what the layer's other channels make of two images, as
    `dvis visualize` measured it (see `dvis.kinds.features.measure.similarity`). The null pairs each
    unit with the next that was asked for in its layer: the units are what is exchanged, and what is
    common to all images of a layer and a checkpoint is in both. Two seeds may agree on a picture
    that is an artefact of the optimisation all the same.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.

    Returns
    -------
    Dataset
        - `similarity` (control, checkpoint, layer, quantile), float64, -1 to 1: quantiles 0.05,
          0.25, 0.5, 0.75 and 0.95 over complete units of the likeness of two seeds, and along
          `control` of the null, `units exchanged`;
        - `n_units` (control, checkpoint, layer), int64: over how many;
        - `above_null` (checkpoint, layer), float64, 0 to 1: share of units whose seeds are more
          alike than 95 % of pairs of different units, or than all of them where they are fewer than
          19; NaN where either is not known;
        - `chance` (checkpoint, layer), float64: what that would be if seeds were pairs of different
          units: 0.05 or less of 19 pairs or more, one in five of four.

    Raises
    ------
    SchemaError
        When the seeds of its images were not compared.
    ValueError
        When a selection left nothing of a dimension, or one unit alone.

    Examples
    --------
    >>> dims = ("checkpoint", "layer", "channel")
    >>> labels = {"checkpoint": ["a"], "layer": ["conv1"], "channel": [0, 1]}
    >>> seeds, null = (xr.DataArray([[[n, n]]], labels, dims) for n in (0.9, 0.1))
    >>> found = seed_agreement(xr.Dataset({"seed_similarity": seeds, "seed_similarity_null": null}))
    >>> found.above_null.item(), found.similarity.sel(quantile=0.5).values.ravel().tolist()
    (1.0, [0.9, 0.1])
    """
    require(dataset, SEED_SIMILARITY, SEED_NULL, advice=_ADVICE)
    _see_units(dataset)
    seeds, null = (
        in_one_piece(of_complete_units(dataset, dataset[name]), CHANNEL)
        for name in (SEED_SIMILARITY, SEED_NULL)
    )
    of_seeds, of_units = over_channels(seeds), over_channels(null)
    n_seeds, n_null = (each.notnull().sum(CHANNEL) for each in (seeds, null))
    highest, chance = _bound(null)
    above = (seeds > highest).sum(CHANNEL) / n_seeds.where((n_seeds > 0) & (n_null > 0))
    of_pairs = "pairs of different units of a layer"
    described = {
        "similarity": (
            with_control(of_seeds, {EXCHANGED: of_units}, of_pairs),
            "similarity of two seeds' images",
        ),
        "n_units": (with_control(n_seeds, {EXCHANGED: n_null}, of_pairs), "units"),
        "above_null": (above.transpose(CHECKPOINT, LAYER), "share of units above the null's 95 %"),
        "chance": (chance.transpose(CHECKPOINT, LAYER), "share that chance gives"),
    }
    return xr.Dataset(
        {
            name: each.assign_attrs(long_name=long_name, units="1")
            for name, (each, long_name) in described.items()
        },
        attrs={**origin(dataset), "exchangeable": of_pairs},
    )


def _bound(null: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """What one more pair exceeds by a chance of 5 % or, of few, the smallest there is; and that."""
    found: tuple[xr.DataArray, xr.DataArray] = xr.apply_ufunc(
        _of_pairs,
        null,
        input_core_dims=[[CHANNEL]],
        output_core_dims=[[], []],
        dask="parallelized",
        output_dtypes=[float, float],
    )
    return found


def _of_pairs(null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of pairs along the last axis, NaN for none.

    Of n pairs the k-th smallest is exceeded by one more with the probability 1 - k / (n + 1).
    """
    n = np.isfinite(null).sum(-1)
    place = np.minimum(np.ceil((1 - LEVEL) * (n + 1)), n).astype(int)
    ordered = np.sort(null.astype(float), axis=-1)
    bound = np.take_along_axis(ordered, np.maximum(place - 1, 0)[..., None], -1)[..., 0]
    return np.where(n > 0, bound, np.nan), np.where(n > 0, 1 - place / (n + 1), np.nan)


def _see_units(dataset: xr.Dataset) -> None:
    """Raise where a selection left a single unit, layer or checkpoint without its dimension."""
    missing = [dim for dim in UNIT_DIMS if dim not in dataset[SEED_SIMILARITY].dims]
    if missing:
        raise ValueError(
            f"The seeds' likeness has no dimension {', '.join(missing)}; an agreement takes all "
            "units of a layer: select with lists, such as layer=['layer1']"
        )
