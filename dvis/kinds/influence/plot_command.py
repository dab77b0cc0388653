"""What `dvis plot` draws of influence, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis import plots
from dvis.analysis.births import births as find_births
from dvis.kinds.influence import pictures
from dvis.kinds.influence.analysis.events import event_alignment
from dvis.kinds.influence.ends import TO, known_layer, other_layer, prepared
from dvis.kinds.picture import UNIT, Picture
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.words import IMAGE, KIND
from dvis.schema import LAYER
from dvis.store.reader import store_of


def _film(
    dataset: xr.Dataset,
    *,
    layer: str | None,
    channel: int | None,
    unit_images: xr.Dataset | None,
    k: int = 8,
    checkpoint: str | None = None,
    layer_from: str | None = None,
    path: Path,
) -> None:
    pictures.circuit_film(
        dataset,
        layer,
        channel,
        k=k,
        checkpoint=checkpoint,
        layer_from=layer_from,
        unit_images=unit_images,
        births=_births(dataset, layer, layer_from),
        path=path,
    )


def _edges(
    dataset: xr.Dataset,
    *,
    layer: str | None,
    channel: int | None,
    k: int = 40,
    checkpoint: str | None = None,
    layer_from: str | None = None,
    x: plots.XAxis = "checkpoint",
    xscale: plots.Scale = "auto",
    path: Path,
) -> None:
    pictures.edge_heatmap(
        dataset,
        layer,
        channel,
        k=k,
        checkpoint=checkpoint,
        layer_from=layer_from,
        births=_births(dataset, layer, layer_from),
        x=x,
        xscale=xscale,
        path=path,
    )


def _matrix(
    dataset: xr.Dataset,
    *,
    layer: str | None,
    channel: Any,
    layer_from: str | None = None,
    max_images: int = 6,
    path: Path,
) -> None:
    if channel is not None:
        raise ValueError("a matrix is of all channels of two layers: leave --channel out")
    pictures.influence_matrix(
        dataset,
        layer,
        layer_from=layer_from,
        births=_births(dataset, layer, layer_from),
        max_checkpoints=max_images,
        path=path,
    )


def _events(
    dataset: xr.Dataset, *, layer: str | None, channel: Any, k: int = 8, path: Path
) -> None:
    if channel is not None:
        raise ValueError("curves are means over the channels of layers: leave --channel out")
    births = _births_of(dataset, None if layer is None else [layer])
    if births is None:
        raise ValueError(
            "births are taken of responses to given images, and the run has none or several groups "
            "of them: make one with `dvis respond`, or call ds.dvis.event_alignment(births)"
        )
    pictures.event_curves(event_alignment(dataset, births, k=k), path=path)


def _births(dataset: xr.Dataset, layer: str | None, layer_from: str | None) -> xr.Dataset | None:
    """Births of the units of two layers, of the run's one group of responses to given images."""
    whole = prepared(dataset)
    to = known_layer(whole, TO, layer)
    layers = [other_layer(whole, TO, to, layer_from), to]
    return _births_of(dataset, layers)


def _births_of(dataset: xr.Dataset, layers: list[str] | None) -> xr.Dataset | None:
    """Births by the run's one group of responses to given images; of all its layers if None."""
    store, found = store_of(dataset, "what dvis.influence gave")
    entries = found.of(KIND, str(dataset.attrs["run"]))
    opened = [RESPONSE_READER.open_entry(store, found, entry) for entry in entries]
    of_images = [each for each in opened if IMAGE in each.dims]
    if len(of_images) != 1:
        return None
    known = of_images[0][LAYER].values
    there = [each for each in layers or known if each in known]
    return find_births(of_images[0].sel({LAYER: there})).load() if there else None


PICTURES = {
    "circuit-film": Picture(
        draw=_film,
        options=("k", "checkpoint", "layer_from"),
        opens=("name", "variant"),
        one=UNIT,
        chosen=lambda _found, options: (options.run, options.name),
        beside=lambda _dataset: None,
    ),
    "circuit": Picture(
        draw=pictures.circuit_graph,
        options=("k", "depth", "checkpoint"),
        opens=("name", "variant"),
        one=UNIT,
        chosen=lambda _found, options: (options.run, options.name),
        beside=lambda _dataset: None,
    ),
    "edge-heatmap": Picture(
        draw=_edges,
        options=("k", "checkpoint", "layer_from", "x", "xscale"),
        opens=("name",),
        one=UNIT,
    ),
    "influence-matrix": Picture(
        draw=_matrix,
        options=("layer_from", "max_images"),
        opens=("name",),
        one=("layer",),
    ),
    "event-alignment": Picture(draw=_events, options=("k",), opens=("name",), one=("layer",)),
}
