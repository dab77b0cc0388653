"""The words of activations: the arrays of one layer's group, and how their chunks lie on disk.

{run}/activations/{name}/{layer}/    values (checkpoint, sample, token, channel);
sum, sum_of_squares (checkpoint, block, channel); count, status (checkpoint, block);
row, column, is_special, place (token); and where the top images are kept
top_position, top_value (checkpoint, slot, channel, rank), top_map (..., token);
top_slot (checkpoint); histogram (checkpoint, block, channel, bin)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.top import N_BINS
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
from dvis.store.checksums import NOT_COMPRESSED
from dvis.store.datasets import SAMPLE

KIND = "activations"
TOKEN: Final = "token"
BLOCK: Final = "block"
VALUES: Final = "values"
SLOT: Final = "slot"  # of two, of which one is whole while the other is written
BIN: Final = "bin"
HISTOGRAM: Final = "histogram"
TOP_SLOT: Final = "top_slot"
TOP: Final = ("top_position", "top_value", "top_map")
VALUE_DIMS = (CHECKPOINT, SAMPLE, TOKEN, CHANNEL)
PART_DIMS = (CHECKPOINT, BLOCK)
TOKEN_COLUMNS = ("row", "column", "is_special", "place")

Dtype = Literal["float16", "float32"]
Split = Literal["train", "held_out", "all"]

CHUNK_BYTES = 32 * 2**20  # of `values`, of the layer with the largest samples
KEEP = re.compile(r"values|top:(?P<n>[1-9]\d*)")
_TOP_CHANNELS = 64
_PARTS_CHUNK = (1, 64)
_SUMS_BLOCKS = 16


def words_of(attrs: Mapping[str, Any]) -> Words:
    """Words of a group of activations by its attributes, as readers need them.

    Without arrays where they say what no dvis of this version has written.
    """
    if attrs.get("dtype") not in get_args(Dtype):
        return Words(kind=KIND, arrays={})
    return activation_words(attrs["dtype"], attrs.get("keep", (VALUES,)))


def n_top_of(keep: Sequence[str]) -> int:
    """How many top images of a channel are kept; 0 where none are."""
    matches = (KEEP.fullmatch(each) for each in keep)
    return max((int(match["n"]) for match in matches if match and match["n"]), default=0)


def activation_words(
    dtype: Dtype,
    keep: Sequence[str] = (VALUES,),
    *,
    block_samples: int = 1,
    n_tokens: int = 1,
    n_channels: int = 1,
) -> Words:
    """Words of a layer's group that keeps some of it, with chunks of so many samples and so on.

    A chunk of `values` is not compressed: its file is the array, (sample, token, channel), in
    little-endian numbers, which `numpy.memmap` maps, and a checksum.
    """
    sums = {"chunks": (1, _SUMS_BLOCKS, n_channels)}
    parts = {"chunks": _PARTS_CHUNK}
    raw = {
        "chunks": (1, block_samples, n_tokens, n_channels),
        "compressors": NOT_COMPRESSED,
        "filters": None,
    }
    dims = (*PART_DIMS, CHANNEL)
    values = spec(VALUE_DIMS, dtype, np.nan, "activation", layout=raw, units="1")
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
        **({VALUES: values} if VALUES in keep else {}),
        **(_of_top(n_top_of(keep), n_tokens, n_channels) if n_top_of(keep) else {}),
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
        coordinates=(
            *("epoch", "phase", "batch", "step", "time", *TOKEN_COLUMNS),
            *(("bin_low",) if n_top_of(keep) else ()),
        ),
        noun="activations",
        said={
            "layer": (str, "of which layer it is"),
            "dataset": (str, "of which image set it is"),
            "tokens": (str, "which tokens it has"),
            "block_samples": (int, "how many samples a block has"),
        },
    )


def _of_top(n_top: int, n_tokens: int, n_channels: int) -> dict[str, VariableSpec]:
    """Arrays of the images that drive each channel most, and of how its values are spread."""
    dims = (CHECKPOINT, SLOT, CHANNEL, RANK)
    ranks = {"chunks": (1, 1, n_channels, n_top)}
    maps = {"chunks": (1, 1, min(n_channels, _TOP_CHANNELS), n_top, n_tokens)}
    bins = {"chunks": (1, 1, n_channels, N_BINS)}
    return {
        SLOT: spec((SLOT,), "int32", -1, "slot"),
        RANK: spec((RANK,), "int32", -1, "rank"),
        BIN: spec((BIN,), "int32", -1, "bin"),
        "bin_low": spec((BIN,), "float64", np.nan, "where the bin begins", units="1"),
        TOP_SLOT: spec((CHECKPOINT,), "uint8", 0, "slot that is whole"),
        "top_position": spec(dims, "int32", -1, "place of the sample in the set", layout=ranks),
        "top_value": spec(
            dims, "float32", np.nan, "maximum over the sample's tokens", layout=ranks, units="1"
        ),
        "top_map": spec(
            (*dims, TOKEN),
            "uint8",
            0,
            "where in the sample, 0 to 255",
            layout=maps,
            comment="times top_value / 255; 0 is zero and below",
        ),
        HISTOGRAM: spec(
            (*PART_DIMS, CHANNEL, BIN), "int32", 0, "number of values in the bin", layout=bins
        ),
    }


def group_name(name: str, layer: str) -> str:
    """What the group of a layer is called."""
    return f"{name}/{layer}"


def samples_in_block(bytes_of_sample: int, n_samples: int) -> int:
    """Samples of a block: as many as one chunk file holds, all of a small set."""
    return max(1, min(CHUNK_BYTES // max(1, bytes_of_sample), n_samples))
