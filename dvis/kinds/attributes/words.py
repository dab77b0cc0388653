"""The words of attributes: pairs, their sides, and the arrays of a group.

{run}/attributes/{name}/    score (checkpoint, layer, attribute, channel)
                            null_score (checkpoint, layer, attribute, shuffle)
                            latent_score (..., latent) and null_latent_score, where asked for
                            tells, tells_se, uses, uses_se, response, status
                            (checkpoint, layer, attribute)
                            null_tells, null_uses (checkpoint, layer, attribute, bound)
                            told, lost, squared (checkpoint, layer, attribute, pair)
                            pixel_tells, pixel_tells_se (attribute)
                            picture (attribute, example, side, y, x, rgb)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dvis.analysis.resampling import BOUND
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    COORDINATES,
    DEPTH,
    LATENT,
    LAYER,
    RGB,
    SOURCE,
    TEXT,
    Status,
    VariableSpec,
    Words,
    X,
    Y,
    spec,
    status_spec,
)

KIND: Final = "attributes"
ATTRIBUTE, PAIR, SHUFFLE = "attribute", "pair", "shuffle"
EXAMPLE, SIDE = "example", "side"
SCORE, TELLS, USES = "score", "tells", "uses"
QUESTIONS = (TELLS, USES)
BOUNDS = ("lower", "upper")
SIDES = ("first", "second")
PART_DIMS = (CHECKPOINT, LAYER, ATTRIBUTE)
N_EXAMPLES, PICTURE_SIDE = 4, 64  # pictures that are kept of each attribute, at most as wide
PICTURE_SIDES = "picture_side"  # attribute of a group
OF_LATENTS: Final = "latents"  # attribute of a group: the autoencoders whose latents have scores
EXCHANGED = {TELLS: "sides of pairs", USES: "directions of a layer"}
CANNOT_TELL = (
    "Drawn pairs say nothing of natural images. What a layer's means over places do not hold is "
    "not seen, such as a place that channels keep apart only by where they answer. Standard errors "
    "are over pairs, not over training runs. That the output depends on an attribute does not say "
    "that the task needs it, and what goes with a direction is all that lies along it"
)

_CHUNKS: Mapping[str, int] = {CHECKPOINT: 64, LAYER: 16, ATTRIBUTE: 8, BOUND: 2, SIDE: 2, RGB: 3}
_LABEL_CHUNK = 4096
_OF_UNITS = {
    CHECKPOINT: 16,
    LAYER: 1,
    ATTRIBUTE: 8,
    CHANNEL: 1024,
    PAIR: 256,
    SHUFFLE: 64,
    LATENT: 4096,
}
_OF_PICTURES = {ATTRIBUTE: 1, EXAMPLE: N_EXAMPLES, Y: PICTURE_SIDE, X: PICTURE_SIDE}


def _of(
    dims: tuple[str, ...],
    dtype: Any,
    fill: Any,
    long_name: str,
    sizes: Mapping[str, int] = _CHUNKS,
    **attrs: Any,
) -> VariableSpec:
    chunks = (_LABEL_CHUNK,) if len(dims) == 1 else tuple({**_CHUNKS, **sizes}[d] for d in dims)
    return spec(dims, dtype, fill, long_name, layout={"chunks": chunks}, **attrs)


def _number(dims: tuple[str, ...], long_name: str, **attrs: Any) -> VariableSpec:
    return _of(dims, "float64", np.nan, long_name, units="1", **attrs)


def _single(dim: str, long_name: str, **attrs: Any) -> VariableSpec:
    dims = (*PART_DIMS, dim)
    return _of(dims, "float32", np.nan, long_name, _OF_UNITS, units="1", **attrs)


def attribute_words(attrs: Mapping[str, Any]) -> Words:
    """Words of a group by its attributes: room for its pictures, and latents where it has some."""
    side = int(attrs.get(PICTURE_SIDES, PICTURE_SIDE))
    arrays = {**WORDS.arrays, **(_LATENTS if attrs.get(OF_LATENTS) else {})}
    return replace(WORDS, arrays=arrays, sizes={**WORDS.sizes, Y: side, X: side})


_LATENTS = {
    LATENT: _of((LATENT,), "int32", -1, "latent"),
    "latent_score": _single(
        LATENT,
        "how far a latent's mean codes of the sides lie apart: Cliff's delta",
        exchangeable=EXCHANGED[TELLS],
    ),
    "null_latent_score": _single(SHUFFLE, "highest score of any latent, sides of pairs exchanged"),
}


WORDS = Words(
    kind=KIND,
    arrays={
        **CHECKPOINT_COORDINATES,
        **{name: COORDINATES[name] for name in (LAYER, "n_channels", DEPTH, CHANNEL)},
        ATTRIBUTE: _of((ATTRIBUTE,), TEXT, "", "attribute in which the sides of pairs differ"),
        "first_value": _of((ATTRIBUTE,), TEXT, "", "its value at first sides"),
        "second_value": _of((ATTRIBUTE,), TEXT, "", "its value at second sides"),
        "fingerprint": _of((ATTRIBUTE,), TEXT, "", "what tells its pairs from others"),
        PAIR: _of((PAIR,), "int32", -1, "pair"),
        SHUFFLE: _of((SHUFFLE,), "int32", -1, "shuffle"),
        BOUND: _of((BOUND,), TEXT, "", "end of an interval"),
        SIDE: _of((SIDE,), TEXT, "", "side of a pair"),
        SCORE: _single(
            CHANNEL,
            "how far a unit's responses to the sides lie apart: Cliff's delta",
            exchangeable=EXCHANGED[TELLS],
        ),
        "null_score": _single(SHUFFLE, "highest score of any channel, sides of pairs exchanged"),
        TELLS: _number(
            PART_DIMS, "share of held-out images told right", exchangeable=EXCHANGED[TELLS]
        ),
        "tells_se": _number(PART_DIMS, "its standard error, over pairs"),
        "null_tells": _number((*PART_DIMS, BOUND), "95 % of it with sides of pairs exchanged"),
        "told": _single(PAIR, "share of a pair's images told right"),
        USES: _number(
            PART_DIMS,
            "share of the output's response that goes with the direction",
            exchangeable=EXCHANGED[USES],
        ),
        "uses_se": _number(PART_DIMS, "its standard error, over pairs"),
        "null_uses": _number((*PART_DIMS, BOUND), "95 % of it with random directions"),
        "lost": _single(PAIR, "what a pair's response loses, of the mean square of all"),
        "squared": _single(PAIR, "square of a pair's response, of the mean of all"),
        "response": _number(PART_DIMS, "response of the output, of that to another scene"),
        "pixel_tells": _of((ATTRIBUTE,), "float64", np.nan, "share that pixels tell", units="1"),
        "pixel_tells_se": _of(
            (ATTRIBUTE,), "float64", np.nan, "its standard error, over pairs", units="1"
        ),
        "picture": _of((ATTRIBUTE, EXAMPLE, SIDE, Y, X, RGB), "uint8", 0, "picture", _OF_PICTURES),
        "status": status_spec(
            PART_DIMS, "layer", Status, {"chunks": tuple(_CHUNKS[dim] for dim in PART_DIMS)}
        ),
        f"{SOURCE}/problem": _of(PART_DIMS, TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": _of(PART_DIMS, "uint64", 0, "hash of the checkpoint's weights"),
    },
    coordinates=(
        *("epoch", "phase", "batch", "step", "time", "n_channels", DEPTH),
        *("first_value", "second_value", "fingerprint"),
    ),
    sizes={EXAMPLE: N_EXAMPLES, Y: PICTURE_SIDE, X: PICTURE_SIDE, RGB: 3},
    noun="attributes",
    said={
        "images": (dict, "what images batch norm was measured on"),
        "batch_norm": (str, "whose statistics batch norm used"),
        "n_pairs": (int, "how many pairs there are of an attribute"),
    },
)
