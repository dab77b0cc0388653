"""Whether two seeds of a unit's feature image show the same: their likeness against its null.

A Dataset of `dvis.open` in, a labelled Dataset of layers and checkpoints out.
"""

import xarray as xr

from dvis.analysis.control import with_control
from dvis.analysis.ranking import QUANTILE, QUANTILES, over_channels
from dvis.analysis.requirements import require
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
          alike than 95 % of pairs of different units; 0.05 is what chance gives, NaN where either
          is not known.

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
    highest = of_units.sel({QUANTILE: QUANTILES[-1]}, drop=True)
    n_seeds, n_null = (each.notnull().sum(CHANNEL) for each in (seeds, null))
    above = (seeds > highest).sum(CHANNEL) / n_seeds.where((n_seeds > 0) & (n_null > 0))
    of_pairs = "pairs of different units of a layer"
    described = {
        "similarity": (
            with_control(of_seeds, {EXCHANGED: of_units}, of_pairs),
            "similarity of two seeds' images",
        ),
        "n_units": (with_control(n_seeds, {EXCHANGED: n_null}, of_pairs), "units"),
        "above_null": (above.transpose(CHECKPOINT, LAYER), "share of units above the null's 95 %"),
    }
    return xr.Dataset(
        {
            name: each.assign_attrs(long_name=long_name, units="1")
            for name, (each, long_name) in described.items()
        },
        attrs={**origin(dataset), "exchangeable": of_pairs},
    )


def _see_units(dataset: xr.Dataset) -> None:
    """Raise where a selection left a single unit, layer or checkpoint without its dimension."""
    missing = [dim for dim in UNIT_DIMS if dim not in dataset[SEED_SIMILARITY].dims]
    if missing:
        raise ValueError(
            f"The seeds' likeness has no dimension {', '.join(missing)}; an agreement takes all "
            "units of a layer: select with lists, such as layer=['layer1']"
        )
