"""The words of sizes: an array over units at checkpoints, and their status.

{run}/sizes/{name}/    log_area, status (checkpoint, layer, channel)
"""

from typing import Final

import numpy as np

from dvis.schema import (
    COORDINATES,
    DEPTH,
    SOURCE,
    TEXT,
    UNIT_DIMS,
    Mark,
    Status,
    Words,
    spec,
    status_spec,
)

KIND: Final = "sizes"
LOG_AREA: Final = "log_area"
MEASURED = (Status.COMPLETE, Status.DEAD)

WORDS = Words(
    kind=KIND,
    arrays={
        **COORDINATES,
        LOG_AREA: spec(
            UNIT_DIMS,
            "float32",
            np.nan,
            "log area of the effective receptive field",
            units="ln(px^2)",
        ),
        "status": status_spec(UNIT_DIMS, "unit", Status),
        f"{SOURCE}/problem": spec(UNIT_DIMS, TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec(UNIT_DIMS, "uint64", 0, "hash of the checkpoint's weights"),
    },
    coordinates=("epoch", "phase", "batch", "step", "time", "n_channels", DEPTH),
    # Of a dead unit it is known that it has no size.
    marks=(Mark(kept=tuple(map(int, MEASURED))),),
    noun="sizes",
    said={
        "images": (dict, "what its images are"),
        "batch_norm": (str, "whose statistics batch norm used"),
    },
)
