"""What `dvis plot` draws of probes, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.picture import Picture
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
    _refuse("channel", channel)
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
    _refuse("layer", layer)
    _refuse("channel", channel)
    accuracy_by_layer(dataset, target or None, checkpoint, path=path)


def _refuse(what: str, given: Any) -> None:
    if given is not None:
        raise ValueError(f"a picture of probes takes no --{what}; leave it out")


PICTURES = {
    "accuracy-over-training": Picture(
        draw=_over_training, options=("target", "x", "xscale"), opens=("name",)
    ),
    "accuracy-by-layer": Picture(draw=_by_layer, options=("target", "checkpoint"), opens=("name",)),
}
