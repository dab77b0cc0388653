"""The words of influence: dims of ordered pairs of units, and the arrays of a group.

{run}/influence/{name}/    strength, share, direction, half_difference
                           (checkpoint, layer_from, channel_from, layer_to, channel_to)
                           status (checkpoint, layer_from, channel_from, layer_to)
                           response_sd (checkpoint, layer_to, channel_to), is_cut (layer_from)
"""

from typing import Any, Final

import numpy as np

from dvis.schema import (
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    SOURCE,
    TEXT,
    Status,
    VariableSpec,
    Words,
    spec,
    status_spec,
)

KIND: Final = "influence"
LAYER_FROM, CHANNEL_FROM = "layer_from", "channel_from"
LAYER_TO, CHANNEL_TO = "layer_to", "channel_to"
PART_DIMS = (CHECKPOINT, LAYER_FROM, CHANNEL_FROM, LAYER_TO)
PAIR_DIMS = (*PART_DIMS, CHANNEL_TO)
TARGET_DIMS = (CHECKPOINT, LAYER_TO, CHANNEL_TO)
# About births: checkpoints from one, and inputs, the strongest or matched ones.
LAG, SET = "lag", "set"
TOP, MATCHED = "top", "matched"
PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"

# A block of sources onto a block of targets: 128 kB, which a unit's inputs and outputs share.
BLOCK: Final = 256
_LABEL_CHUNK = 4096


def _layout(dims: tuple[str, ...]) -> dict[str, Any]:
    sizes = {CHANNEL_FROM: BLOCK, CHANNEL_TO: BLOCK}
    return {"chunks": tuple(sizes.get(dim, 1) for dim in dims)}


def _pair(long_name: str) -> VariableSpec:
    # Zarr fills what is not measured with NaN, so that pairs against the order take no room.
    return spec(PAIR_DIMS, "float16", np.nan, long_name, layout=_layout(PAIR_DIMS), units="1")


def _of_layers(dim: str, dtype: Any, fill: Any, long_name: str) -> VariableSpec:
    return spec((dim,), dtype, fill, long_name, layout={"chunks": (_LABEL_CHUNK,)})


WORDS = Words(
    kind=KIND,
    arrays={
        **CHECKPOINT_COORDINATES,
        LAYER_FROM: _of_layers(LAYER_FROM, TEXT, "", "layer of the source"),
        CHANNEL_FROM: _of_layers(CHANNEL_FROM, "int32", -1, "channel of the source"),
        LAYER_TO: _of_layers(LAYER_TO, TEXT, "", "layer of the target"),
        CHANNEL_TO: _of_layers(CHANNEL_TO, "int32", -1, "channel of the target"),
        "n_channels_from": _of_layers(LAYER_FROM, "int32", 0, "channels of the source's layer"),
        "n_channels_to": _of_layers(LAYER_TO, "int32", 0, "channels of the target's layer"),
        "depth_from": _of_layers(LAYER_FROM, "int32", -1, "place in the order of execution"),
        "depth_to": _of_layers(LAYER_TO, "int32", -1, "place in the order of execution"),
        "is_cut": _of_layers(LAYER_FROM, "int8", -1, "whether all that comes later passes through"),
        "strength": _pair("strength of influence, RMS change in SD of the response"),
        "share": _pair("covariance of change and response over its variance"),
        "direction": _pair("correlation of the change with the source's mean"),
        # e^2 of even images less that of odd ones, over their sum: with `strength`, both halves.
        "half_difference": _pair("squared strength of even less of odd images, over their sum"),
        "response_sd": spec(
            TARGET_DIMS,
            "float32",
            np.nan,
            "standard deviation of the target's response over images",
            layout=_layout(TARGET_DIMS),
            units="1",
        ),
        "status": status_spec(PART_DIMS, "source", Status, _layout(PART_DIMS)),
        PROBLEM: spec(PART_DIMS, TEXT, "", "what was wrong", layout=_layout(PART_DIMS)),
        WEIGHTS: spec(
            PART_DIMS, "uint64", 0, "hash of the checkpoint's weights", layout=_layout(PART_DIMS)
        ),
    },
    coordinates=(
        *("epoch", "phase", "batch", "step", "time"),
        *("n_channels_from", "n_channels_to", "depth_from", "depth_to", "is_cut"),
    ),
    noun="influence",
    said={
        "method": (str, "how it was measured"),
        "value": (str, "what took the place of an ablated channel"),
        "batch_norm": (str, "whose statistics batch norm used"),
        "images": (dict, "what its images are"),
    },
)
