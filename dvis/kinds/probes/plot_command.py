"""What `dvis plot` draws of probes, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.picture import Picture, refuse
from dvis.kinds.probes.pictures import accuracy_by_layer, accuracy_over_training
from dvis.plots.time_axis import Scale, XAxis


def _over_training(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    target: tuple[str, ...] = (),
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    path: Path,
) -> None:
    refuse("probes", channel=channel)
    accuracy_over_training(dataset, target or None, layer, x=x, xscale=xscale, path=path)


def _by_layer(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    target: tuple[str, ...] = (),
    checkpoint: str | None = None,
    path: Path,
) -> None:
    refuse("probes", layer=layer, channel=channel)
    accuracy_by_layer(dataset, target or None, checkpoint, path=path)


PICTURES = {
    "accuracy-over-training": Picture(
        draw=_over_training, options=("target", "x", "xscale"), opens=("name",)
    ),
    "accuracy-by-layer": Picture(draw=_by_layer, options=("target", "checkpoint"), opens=("name",)),
}
