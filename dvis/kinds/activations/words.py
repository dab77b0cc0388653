"""The words of activations: the arrays of one layer's group, and how their chunks lie on disk.

{run}/activations/{name}/{layer}/    values (checkpoint, sample, token, channel);
sum, sum_of_squares (checkpoint, block, channel); count, status (checkpoint, block);
row, column, is_special, place (token)
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from dvis.schema import (
    CHANNEL,
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
from dvis.store.datasets import SAMPLE

KIND = "activations"
TOKEN: Final = "token"
BLOCK: Final = "block"
VALUES: Final = "values"
VALUE_DIMS = (CHECKPOINT, SAMPLE, TOKEN, CHANNEL)
PART_DIMS = (CHECKPOINT, BLOCK)
TOKEN_COLUMNS = ("row", "column", "is_special", "place")

Dtype = Literal["float16", "float32"]

CHUNK_BYTES = 32 * 2**20  # of `values`, of the layer with the largest samples
_PARTS_CHUNK = (1, 64)
_SUMS_BLOCKS = 16


def words_of(attrs: Mapping[str, Any]) -> Words:
    """Words of a group of activations by its attributes, as readers need them.

    Without arrays where they say what no dvis of this version has written.
    """
    if attrs.get("dtype") not in get_args(Dtype):
        return Words(kind=KIND, arrays={})
    return activation_words(attrs["dtype"])


def activation_words(
    dtype: Dtype, *, block_samples: int = 1, n_tokens: int = 1, n_channels: int = 1
) -> Words:
    """Words of a layer's group, with chunks of so many samples, tokens and channels.

    A chunk of `values` is not compressed: its file is the array, (sample, token, channel), in
    little-endian numbers, which `numpy.memmap` maps.
    """
    sums = {"chunks": (1, _SUMS_BLOCKS, n_channels)}
    parts = {"chunks": _PARTS_CHUNK}
    raw = {
        "chunks": (1, block_samples, n_tokens, n_channels),
        "compressors": None,
        "filters": None,
    }
    dims = (*PART_DIMS, CHANNEL)
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        SAMPLE: spec((SAMPLE,), TEXT, "", "id of the sample"),
        TOKEN: spec((TOKEN,), "int32", -1, "token"),
        CHANNEL: spec((CHANNEL,), "int32", -1, "channel"),
        BLOCK: spec((BLOCK,), "int32", -1, "block of samples"),
        "row": spec((TOKEN,), "int32", -1, "row on the layer's map"),
        "column": spec((TOKEN,), "int32", -1, "column on the layer's map"),
        "is_special": spec((TOKEN,), "bool", False, "whether it is a class or register token"),
        "place": spec((TOKEN,), "int32", -1, "number among all of the layer's tokens"),
        VALUES: spec(VALUE_DIMS, dtype, np.nan, "activation", layout=raw, units="1"),
        "sum": spec(dims, "float64", np.nan, "sum over samples and tokens", layout=sums),
        "sum_of_squares": spec(
            dims, "float64", np.nan, "sum of squares over samples and tokens", layout=sums
        ),
        "count": spec(PART_DIMS, "int64", 0, "samples times tokens", layout=parts),
        "status": status_spec(PART_DIMS, "block", Status, parts),
        f"{SOURCE}/problem": spec(PART_DIMS, TEXT, "", "what was wrong", layout=parts),
        f"{SOURCE}/weights": spec(
            PART_DIMS, "uint64", 0, "hash of the checkpoint's weights", layout=parts
        ),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        coordinates=("epoch", "phase", "batch", "step", "time", *TOKEN_COLUMNS),
        noun="activations",
        said={
            "layer": (str, "of which layer it is"),
            "dataset": (str, "of which image set it is"),
            "tokens": (str, "which tokens it has"),
            "block_samples": (int, "how many samples a block has"),
        },
    )


def group_name(name: str, layer: str) -> str:
    """What the group of a layer is called."""
    return f"{name}/{layer}"


def samples_in_block(bytes_of_sample: int, n_samples: int) -> int:
    """Samples of a block: as many as one chunk file holds, all of a small set."""
    return max(1, min(CHUNK_BYTES // max(1, bytes_of_sample), n_samples))
