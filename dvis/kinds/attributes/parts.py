"""Parts of the page of attributes: what layers tell and the output uses, and scores of a unit."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.attributes.pictures.selected import null_band, selected
from dvis.kinds.attributes.read import ATTRIBUTE_READER
from dvis.kinds.attributes.words import (
    ATTRIBUTE,
    EXCHANGED,
    OF_LATENTS,
    QUESTIONS,
    SCORE,
    SHUFFLE,
    TELLS,
    USES,
)
from dvis.kinds.parts import Asked, Curves, Line, Unit
from dvis.plots.canvas import evenly
from dvis.plots.selection import labels_of
from dvis.schema import CHANNEL, CHECKPOINT, LATENT, LAYER

_MOST_LAYERS = 6
_TITLES = {TELLS: "What layers tell of {}", USES: "What the output uses of {}, by layer"}
_NULLS = {
    TELLS: f"95 % of the null, {EXCHANGED[TELLS]} exchanged",
    USES: f"95 % of the null, random {EXCHANGED[USES]}",
}


def attribute_parts(asked: Asked) -> Iterator[Curves]:
    """Curves of every attribute of all groups of a run; of a unit, its scores for all of them."""
    for entry, dataset in asked.groups(ATTRIBUTE_READER):
        if asked.unit is not None:
            yield from _of_unit(dataset, asked.unit, entry.name)
            continue
        shown = selected(dataset, None, None)
        if not shown[TELLS].notnull().any():
            continue
        for attribute in labels_of(shown, ATTRIBUTE):
            of_attribute = shown.sel({ATTRIBUTE: attribute})
            for question in QUESTIONS:
                yield _of_question(of_attribute, question, attribute, entry.name)


def _of_question(of_attribute: xr.Dataset, question: str, attribute: str, name: str) -> Curves:
    layers = labels_of(of_attribute, LAYER)
    n_checkpoints = of_attribute.sizes[CHECKPOINT]
    lines = [
        _line(of_attribute.sel({LAYER: layers[place]}), question, layers[place])
        for place in evenly(len(layers), _MOST_LAYERS)
    ]
    if question == TELLS:
        of_pixels = float(of_attribute["pixel_tells"].item())
        lines.append(Line(label="pixels", values=np.full(n_checkpoints, of_pixels)))
    else:
        size = of_attribute["response"].max(LAYER).values
        lines.append(Line(label="response, of that to another scene", values=size))
    low, high = null_band(of_attribute, question)
    return Curves(
        title=f"{_TITLES[question].format(attribute)} · {name}",
        checkpoints=labels_of(of_attribute, CHECKPOINT),
        lines=lines,
        band="± standard error over pairs",
        null_low=low,
        null_high=high,
        null_text=_NULLS[question],
    )


def _line(of_layer: xr.Dataset, question: str, layer: str) -> Line:
    values, error = of_layer[question].values, of_layer[f"{question}_se"].values
    return Line(label=layer, values=values, low=values - error, high=values + error)


def _of_unit(dataset: xr.Dataset, unit: Unit, name: str) -> Iterator[Curves]:
    """Scores of a channel, or of a latent of the autoencoder whose latents have some."""
    if unit.layer not in labels_of(dataset, LAYER):
        return
    dim, scored, null = CHANNEL, SCORE, "null_score"
    if unit.list_name:
        if unit.list_name != dataset.attrs.get(OF_LATENTS):
            return
        dim, scored, null = LATENT, "latent_score", "null_latent_score"
    if unit.channel not in dataset[dim]:
        return
    of_layer = selected(dataset, None, unit.layer).sel({LAYER: unit.layer})
    scores = of_layer[scored].sel({dim: unit.channel})
    if not scores.notnull().any():
        return
    highest = of_layer[null].max((SHUFFLE, ATTRIBUTE)).values
    yield Curves(
        title=f"How far it tells attributes of drawn pairs, Cliff's delta · {name}",
        checkpoints=labels_of(of_layer, CHECKPOINT),
        lines=[
            Line(label=attribute, values=scores.sel({ATTRIBUTE: attribute}).values)
            for attribute in labels_of(of_layer, ATTRIBUTE)
        ],
        null_low=-highest,
        null_high=highest,
        null_text=(
            f"the highest of the layer's {dim}s in {of_layer.sizes[SHUFFLE]} shuffles, "
            f"{EXCHANGED[TELLS]} exchanged"
        ),
    )
