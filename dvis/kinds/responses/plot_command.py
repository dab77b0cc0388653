"""What `dvis plot` draws of responses, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.picture import OVER_TRAINING, UNIT, Picture
from dvis.kinds.responses.analysis import selectivity
from dvis.kinds.responses.maps import channel_colors, channel_cosines, channel_map
from dvis.kinds.responses.pictures import cross_response
from dvis.plots.selection import at_layer
from dvis.plots.selectivity import selectivity_map
from dvis.plots.unit_scatter import unit_scatter
from dvis.schema import LAYER


def _selectivity(
    dataset: xr.Dataset,
    *,
    layer: str | None,
    channel: Any,
    checkpoint: str | None = None,
    path: Path,
) -> None:
    if channel is not None:
        raise ValueError("a map of selectivity has all channels of a layer: leave --channel out")
    of_layer = at_layer(dataset, layer)
    selectivity_map(selectivity(of_layer.expand_dims(LAYER)), checkpoint=checkpoint, path=path)


def _map(
    dataset: xr.Dataset,
    *,
    layer: str | None,
    channel: Any,
    color: str | None = None,
    path: Path,
) -> None:
    if channel is not None:
        raise ValueError("a map has all channels of a layer: leave --channel out")
    of_layer = at_layer(dataset, layer)
    unit_scatter(
        channel_map(of_layer),
        cosines=channel_cosines(of_layer),
        color=channel_colors(of_layer.expand_dims(LAYER), color),
        path=path,
    )


PICTURES = {
    "cross-response": Picture(
        draw=cross_response, options=OVER_TRAINING, opens=("name",), one=UNIT
    ),
    "selectivity": Picture(
        draw=_selectivity, options=("checkpoint",), opens=("name",), one=(LAYER,)
    ),
    "map": Picture(draw=_map, options=("color",), opens=("name",), one=(LAYER,)),
}
