"""The words of moments: mean, variance and status over (checkpoint, layer, channel)."""

import numpy as np

from dvis.schema import COORDINATES, SOURCE, TEXT, UNIT_DIMS, Status, Words, spec, status_spec

KIND = "moments"
WORDS = Words(
    kind=KIND,
    arrays={
        **COORDINATES,
        "mean": spec(UNIT_DIMS, "float32", np.nan, "mean response", units="1"),
        "variance": spec(UNIT_DIMS, "float32", np.nan, "variance of responses", units="1"),
        "status": status_spec(UNIT_DIMS, "unit", Status),
        f"{SOURCE}/problem": spec(UNIT_DIMS, TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec(UNIT_DIMS, "uint64", 0, "hash of the checkpoint's weights"),
    },
    coordinates=("epoch", "phase", "batch", "step", "time", "n_channels", "depth"),
    noun="moments",
)
