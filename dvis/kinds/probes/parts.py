"""Parts of the page of probes: for each target curves of layers over training, of a run."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.parts import Asked, Curves, Line
from dvis.kinds.probes.pictures import NO_UNTRAINED, exchanged_of, held_out, null_band, untrained_of
from dvis.kinds.probes.read import PROBE_READER
from dvis.kinds.probes.words import CALLED, SCORE, TARGET
from dvis.plots.canvas import evenly
from dvis.plots.selection import labels_of
from dvis.schema import CHECKPOINT, LAYER

_MOST_LAYERS = 6


def probe_parts(asked: Asked) -> Iterator[Curves]:
    """Curves of every target of all groups that the run has, beside what they are held against."""
    if asked.unit is not None:
        return
    for entry, dataset in asked.groups(PROBE_READER):
        shown = held_out(dataset, None, None)
        if not shown[SCORE].notnull().any():
            continue
        for target in labels_of(shown, TARGET):
            yield _of_target(shown.sel({TARGET: target}), target, entry.name)


def _of_target(of_target: xr.Dataset, target: str, name: str) -> Curves:
    layers = labels_of(of_target, LAYER)
    some = [layers[place] for place in evenly(len(layers), _MOST_LAYERS)]
    untrained = untrained_of(of_target).values
    lines = [_line(of_target.sel({LAYER: layer}), layer) for layer in some]
    n_checkpoints = of_target.sizes[CHECKPOINT]
    if np.isfinite(untrained).any():
        best = int(np.nanargmax(untrained))
        label = f"untrained, best of layers: {layers[best]}"
        lines.append(Line(label=label, values=np.full(n_checkpoints, untrained[best])))
    of_pixels = of_target["pixel_score"].item()
    lines.append(Line(label="pixels", values=np.full(n_checkpoints, of_pixels)))
    low, high = null_band(of_target)
    metric = str(of_target["metric"].item())
    lacking = "" if np.isfinite(untrained).any() else f" · {NO_UNTRAINED}"
    return Curves(
        title=f"What layers tell of {target}, {CALLED.get(metric, metric)} · {name}{lacking}",
        checkpoints=[str(label) for label in of_target[CHECKPOINT].values],
        lines=lines,
        band="± standard error over images",
        null_low=low,
        null_high=high,
        null_text=f"95 % of the null, {exchanged_of(of_target)}",
    )


def _line(of_layer: xr.Dataset, layer: str) -> Line:
    values, error = of_layer[SCORE].values, of_layer["score_se"].values
    return Line(label=layer, values=values, low=values - error, high=values + error)
