"""The words of chimeras: cuts, which part is early, and the arrays of a group.

{run}/chimera/{name}/    correlation, null_correlation (checkpoint, cut, part, layer, channel)
                         status (checkpoint, cut); cut_depth, is_cut (cut)
"""

from collections.abc import Mapping
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
    VariableSpec,
    Words,
    spec,
    status_spec,
)

KIND: Final = "chimera"
CUT, PART = "cut", "part"
# Which layers are the checkpoint's own; the others are of the last checkpoint.
BELOW, ABOVE, BOTH = PARTS = ("below", "above", "both")
PART_DIMS = (CHECKPOINT, CUT)
UNIT_DIMS = (CHECKPOINT, CUT, PART, LAYER, CHANNEL)
PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"
EXCHANGED = "units of a layer"

_LABEL_CHUNK, _UNIT_CHUNK = 4096, 4096


def _unit(long_name: str) -> VariableSpec:
    layout = {"chunks": (1, 1, len(PARTS), 1, _UNIT_CHUNK)}
    return spec(
        UNIT_DIMS, "float32", np.nan, long_name, layout=layout, units="1", exchangeable=EXCHANGED
    )


def _of_cuts(dtype: Any, fill: Any, long_name: str, dim: str = CUT) -> VariableSpec:
    return spec((dim,), dtype, fill, long_name, layout={"chunks": (_LABEL_CHUNK,)})


_SCALARS: Mapping[str, Any] = {"chunks": (128, 64)}

WORDS = Words(
    kind=KIND,
    arrays={
        **COORDINATES,
        CUT: _of_cuts(TEXT, "", "last layer of the lower part"),
        PART: _of_cuts(TEXT, "", "part that is of the checkpoint", PART),
        "cut_depth": _of_cuts("int32", -1, "place in the order of execution"),
        "is_cut": _of_cuts("int8", -1, "whether all that comes later passes through"),
        "correlation": _unit("correlation with the final responses"),
        "null_correlation": _unit("correlation with another unit's final responses"),
        "status": status_spec(PART_DIMS, "chimera", Status, _SCALARS),
        PROBLEM: spec(PART_DIMS, TEXT, "", "what was wrong", layout=_SCALARS),
        WEIGHTS: spec(PART_DIMS, "uint64", 0, "hash of the checkpoint's weights", layout=_SCALARS),
    },
    coordinates=(
        *("epoch", "phase", "batch", "step", "time"),
        *("n_channels", DEPTH, "cut_depth", "is_cut"),
    ),
    noun="chimeras",
    said={
        "images": (dict, "what its images are"),
        "batch_norm": (str, "whose statistics batch norm used"),
        "final": (dict, "which checkpoint is the final one"),
    },
)
