"""The words of edges: the arrays of a group of shares.

{run}/edges/{name}/    share (checkpoint, layer, channel, input_channel),
                       status (checkpoint, layer), input_layer, n_channels, n_inputs, depth (layer)
"""

from typing import Any, Final

import numpy as np

from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    COORDINATES,
    DEPTH,
    LAYER,
    SOURCE,
    TEXT,
    Status,
    Words,
    spec,
    status_spec,
)

KIND: Final = "edges"
INPUT_CHANNEL: Final = "input_channel"
PART_DIMS = (CHECKPOINT, LAYER)
SHARE_DIMS = (CHECKPOINT, LAYER, CHANNEL, INPUT_CHANNEL)
PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"

_BLOCK = 256
_OF_LAYERS: dict[str, Any] = {"chunks": (1, 4096)}

WORDS = Words(
    kind=KIND,
    arrays={
        **COORDINATES,
        INPUT_CHANNEL: spec((INPUT_CHANNEL,), "int32", -1, "channel of the layer's input"),
        "input_layer": spec((LAYER,), TEXT, "", "layer whose output the input is"),
        "n_inputs": spec((LAYER,), "int32", 0, "channels of the layer's input"),
        "share": spec(
            SHARE_DIMS,
            "float16",
            np.nan,
            "share of the channel's variance",
            layout={"chunks": (1, 1, _BLOCK, _BLOCK)},
            units="1",
        ),
        "status": status_spec(PART_DIMS, "layer", Status, _OF_LAYERS),
        PROBLEM: spec(PART_DIMS, TEXT, "", "what was wrong", layout=_OF_LAYERS),
        WEIGHTS: spec(
            PART_DIMS, "uint64", 0, "hash of the checkpoint's weights", layout=_OF_LAYERS
        ),
    },
    coordinates=(
        *("epoch", "phase", "batch", "step", "time"),
        *("n_channels", DEPTH, "input_layer", "n_inputs"),
    ),
    noun="edges",
    said={
        "batch_norm": (str, "whose statistics batch norm used"),
        "images": (dict, "what its images are"),
    },
)
