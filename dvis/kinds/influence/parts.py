"""Parts of the page of influence: the circuit about a unit, for each group that measured it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import xarray as xr

from dvis.kinds.influence.graph import unit_graph
from dvis.kinds.influence.pictures.nodes import measured_note
from dvis.kinds.influence.read import INFLUENCE_READER
from dvis.kinds.parts import Asked, Column, Graph
from dvis.schema import CHECKPOINT
from dvis.store.portable import nested

_DIGITS = 3
_OF_LATENTS: Final = "~"  # between a layer and what its autoencoder is called
_INSTEAD = {
    "mean": "its mean over images and places",
    "zero": "zero",
    "resample": "its map of another image",
}
_BATCH_NORM = {
    "recalibrate": "statistics of fixed images at each checkpoint",
    "running": "the statistics that training kept",
}
_CUTS = {0: "goes around", -1: "may go around"}


def unit_graphs(asked: Asked) -> Iterator[Graph]:
    """What acts on a unit and what it acts on, of all influence that the run has."""
    if asked.unit is None:
        return
    layer, of_list = asked.unit.layer, asked.unit.list_name
    called = f"{layer}{_OF_LATENTS}{of_list}" if of_list else layer
    for entry, dataset in asked.groups(INFLUENCE_READER):
        found = unit_graph(dataset, called, asked.unit.channel)
        if found is not None:
            yield _drawn(found, dataset, entry.name)


def _drawn(graph: xr.Dataset, influence: xr.Dataset, name: str) -> Graph:
    layers = list(dict.fromkeys(graph["layer"].values.tolist()))
    nulls = _rounded(graph["null"].values)
    partly = measured_note(influence, pairwise(layers))
    return Graph(
        title=f"Circuit · {name}",
        note=_note(influence, layers, partly),
        checkpoints=[str(label) for label in graph[CHECKPOINT].values],
        columns=[_column(layer) for layer in layers],
        column=[layers.index(layer) for layer in graph["layer"].values.tolist()],
        channel=graph["channel"].values.tolist(),
        root=int(np.flatnonzero(graph["is_root"].values)[0]),
        **{end: graph[end].values.tolist() for end in ("source", "target", "rank")},
        strength=_rounded(graph["strength"].values),
        spread=_rounded(graph["spread"].values),
        direction=np.round(graph["direction"].values.astype(float), 2),
        null=[row if np.isfinite(row).any() else [] for row in nulls],
        strength_text="change of the target over images, in its standard deviations",
        spread_text="half the difference between even and odd images",
        null_text=f"median of all sources of that layer{' that were measured' if partly else ''}",
        low_text="inhibits",
        high_text="excites",
        said=[_agreement(value) for value in graph["reliability"].values.tolist()],
    )


def _column(layer: str) -> Column:
    name, _, of_list = layer.partition(_OF_LATENTS)
    return Column(label=layer, layer=name, list_name=of_list)


def _note(influence: xr.Dataset, layers: Sequence[str], partly: str) -> str:
    """What influence it is, and what it cannot tell."""
    attrs = influence.attrs
    said = [
        "Strongest inputs, their inputs, and outputs, as of the last checkpoint: what was strong "
        "earlier alone is not drawn.",
        _how(attrs),
    ]
    if attrs.get("batch_norm") in _BATCH_NORM:
        said.append(f"Batch norm: {_BATCH_NORM[attrs['batch_norm']]}.")
    is_cut = influence["is_cut"].to_series()
    for state, verb in _CUTS.items():
        there = [layer for layer in layers[:-1] if is_cut.get(layer) == state]
        if there:
            said.append(f"Some of what comes later {verb} {', '.join(there)}, and is not seen.")
    if partly:
        said.append(f"{partly[0].upper()}{partly[1:]}.")
    return " ".join(said)


def _how(attrs: Any) -> str:
    """The method and its images in a sentence."""
    method = str(attrs.get("method", "unknown"))
    how = f"Method: {method}"
    if method == "ablation" and attrs.get("value") in _INSTEAD:
        how += f", each channel held at {_INSTEAD[attrs['value']]}"
    images = nested(attrs.get("images", "{}"))
    if isinstance(images, dict) and "n_images" in images:
        how += f"; {images['n_images']} images"
        how += f" of {images['name']}" if images.get("name") else ""
    return f"{how}."


def _agreement(value: float) -> str:
    """How far halves of the images agree on the unit's inputs."""
    if not np.isfinite(value):
        return ""
    text = f"{value:.2f}".replace("-", "\u2212")
    return f"Even and odd images agree on the order of its inputs: Spearman's \u03c1 {text}."


def _rounded(values: np.ndarray) -> np.ndarray:
    """Numbers to three digits, float64: the page holds them for every unit."""
    given = values.astype(float)
    is_number = np.isfinite(given) & (given != 0)
    size = np.floor(np.log10(np.where(is_number, np.abs(given), 1.0)))
    step = 10.0 ** (size - _DIGITS + 1)
    rounded: np.ndarray = np.round(given / step) * step
    return rounded
