"""What `dvis plot` draws of attributes, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis.analysis.baselines import SHUFFLED
from dvis.kinds.attributes.pictures import (
    attribute_pairs,
    attribute_units,
    attributes_over_training,
)
from dvis.kinds.picture import Picture, refuse
from dvis.plots.time_axis import Scale, XAxis


def _over_training(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    target: tuple[str, ...] = (),
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    above: Any = SHUFFLED,
    path: Path,
) -> None:
    refuse("attributes", channel=channel)
    attributes_over_training(
        dataset, target or None, layer, x=x, xscale=xscale, above=above, path=path
    )


def _units(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    target: tuple[str, ...] = (),
    checkpoint: str | None = None,
    path: Path,
) -> None:
    refuse("attributes", channel=channel)
    attribute_units(dataset, target or None, layer, checkpoint=checkpoint, path=path)


def _pairs(
    dataset: xr.Dataset, *, layer: Any, channel: Any, target: tuple[str, ...] = (), path: Path
) -> None:
    refuse("attributes", layer=layer, channel=channel)
    attribute_pairs(dataset, target or None, path=path)


PICTURES = {
    "attributes": Picture(
        draw=_over_training, options=("target", "x", "xscale", "above"), opens=("name",)
    ),
    "attribute-units": Picture(draw=_units, options=("target", "checkpoint"), opens=("name",)),
    "attribute-pairs": Picture(draw=_pairs, options=("target",), opens=("name",)),
}
