"""The words of a store: its groups, dimensions, variables, dtypes and chunks.

Everything that reads or writes a store takes its names from here. Nothing in this module opens a
file.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import quote

import numpy as np

SCHEMA_VERSION = 1

CHECKPOINT, LAYER, CHANNEL = "checkpoint", "layer", "channel"
IMAGE_CHECKPOINT = "image_checkpoint"  # whose feature image a cross response is to
Y, X, RGB, STEP_IN_RUN = "y", "x", "rgb", "step_in_run"
UNIT, IMAGE_NUMBER = "unit", "image_number"  # of what is measured, not of what is stored
UNIT_DIMS = (CHECKPOINT, LAYER, CHANNEL)
IMAGE_DIMS = (*UNIT_DIMS, Y, X, RGB)
LOSS_DIMS = (*UNIT_DIMS, STEP_IN_RUN)
# Of chains that sample near a checkpoint's weights: which of these move, step size and pull.
PARAMETERS, EPSILON, GAMMA, CHAIN, DRAW = "parameters", "epsilon", "gamma", "chain", "draw"
CELL_DIMS = (CHECKPOINT, PARAMETERS, EPSILON, GAMMA)
CHAIN_DIMS = (*CELL_DIMS, CHAIN)
TRACE_DIMS = (*CHAIN_DIMS, DRAW)
ALL_PARAMETERS = "all"
ESTIMATE, CALIBRATION = "estimate", "calibration"  # what a group of chains is for

DEFAULT_RUN = "checkpoints"
DEFAULT_VARIANT = "average-0"
FEATURES = "features"
LLC = "llc"  # local learning coefficient
SOURCE = "source"
TRAINING = "training"

# A dense channel axis is as wide as its widest layer: one absurd channel would widen all of them.
# The widest torchvision layers have 7,392 channels, ImageNet-21k heads 21,843 classes.
MAX_CHANNELS = 65_536
# The loss axis is dense too; runs stop after 1,000 steps unless told otherwise.
MAX_LOSS_STEPS = 65_536
MAX_IMAGE_SIDE = 8_192

# Scalars: a trajectory is one chunk read, a commit touches one chunk a variable.
SCALAR_CHUNK = (128, 1, 128)
LOSS_CHUNK_STEPS = 256

# Image blocks: the files that hold images, each owned by one worker at a time.
BLOCK_CHANNELS = 64
BLOCK_MAX_CHECKPOINTS = 16
BLOCK_BYTES = 48 * 2**20


class Status(IntEnum):
    """What a store holds of a unit at a checkpoint; written last, it is the commit mark."""

    ABSENT = 0
    COMPLETE = 1
    INCOMPLETE = 2  # the image or the info is missing
    FAILED = 3  # not to be trusted, nothing of it is shown


class Form(IntEnum):
    """Bits of `source/form`: how a unit looked in its tree, so that export can repeat it."""

    HAS_IMAGE = 1
    HAS_INFO = 2
    NUMBERED_NAME = 4
    NUMBERED_INFO = 8


class SchemaError(ValueError):
    """A store breaks the schema: a group, variable, dimension or attribute is missing or wrong."""


@dataclass(frozen=True, kw_only=True)
class VariableSpec:
    """One array of a feature group: its dimensions, dtype on disk, fill value and attributes."""

    dims: tuple[str, ...]
    dtype: Any
    fill: Any
    attrs: Mapping[str, Any]


def _spec(
    dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str, **attrs: Any
) -> VariableSpec:
    return VariableSpec(dims=dims, dtype=dtype, fill=fill, attrs={"long_name": long_name, **attrs})


TEXT = np.dtypes.StringDType()
TIME_ATTRS = {
    "units": "seconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": -(2**63),
}

COORDINATES: dict[str, VariableSpec] = {
    CHECKPOINT: _spec((CHECKPOINT,), TEXT, "", "checkpoint"),
    "epoch": _spec((CHECKPOINT,), "int64", -1, "epoch"),
    "phase": _spec((CHECKPOINT,), TEXT, "", "phase of the epoch"),
    "batch": _spec((CHECKPOINT,), "int64", -1, "batch in the epoch"),
    "step": _spec((CHECKPOINT,), "int64", -1, "training step"),
    "time": _spec((CHECKPOINT,), "int64", -(2**63), "time of saving", **TIME_ATTRS),
    LAYER: _spec((LAYER,), TEXT, "", "layer"),
    "n_channels": _spec((LAYER,), "int32", 0, "channels seen of the layer"),
    CHANNEL: _spec((CHANNEL,), "int32", -1, "channel"),
}

SCALARS: dict[str, VariableSpec] = {
    "activation": _spec(UNIT_DIMS, "float32", np.nan, "activation", units="1"),
    "value_min": _spec(UNIT_DIMS, "float32", np.nan, "value of image level 0", units="1"),
    "value_max": _spec(UNIT_DIMS, "float32", np.nan, "value of image level 255", units="1"),
    "stop_step": _spec(UNIT_DIMS, "int32", -1, "optimisation step at which it stopped", units="1"),
    "seed": _spec(UNIT_DIMS, "int32", -1, "seed of the optimisation"),
    "params": _spec(UNIT_DIMS, "int32", -1, "index into the group's attribute `parameters`"),
    "status": _spec(
        UNIT_DIMS,
        "uint8",
        int(Status.ABSENT),
        "status of the unit",
        flag_values=[int(status) for status in Status],
        flag_meanings=" ".join(status.name.lower() for status in Status),
    ),
}

IMAGE = _spec(IMAGE_DIMS, "uint8", 0, "feature image", units="1")
LOSS = _spec(LOSS_DIMS, "float32", np.nan, "loss of the optimisation", units="1")

# Arrays of the `source` group below a feature group: what an import needs to run again and to be
# undone, of no interest to analysis and so kept out of the Dataset that opening a group gives.
SOURCES: dict[str, VariableSpec] = {
    # Of which of the two, `dvis.kinds.features.made_of` tells by a unit's parameters.
    "fingerprint": _spec(UNIT_DIMS, "uint64", 0, "hash of the files or weights it was made of"),
    "form": _spec(UNIT_DIMS, "uint8", 0, "bits of dvis.schema.Form"),
    "problem": _spec(UNIT_DIMS, TEXT, "", "what was wrong with the unit's files"),
    "info": _spec(UNIT_DIMS, TEXT, "", "info.json, verbatim, where the variables cannot repeat it"),
}


def scalar_chunks(spec: VariableSpec) -> tuple[int, ...]:
    """Chunk shape of a coordinate (one chunk of 4096 labels) or of a per-unit scalar."""
    return SCALAR_CHUNK if spec.dims == UNIT_DIMS else (4096,)


def block_checkpoints(height: int, width: int, codec: str) -> int:
    """Checkpoints that one image block spans in the read layout, so that it stays near 48 MB."""
    image_bytes = height * width * 3 * (0.25 if codec == "jpeg" else 1.0)
    fitting = int(BLOCK_BYTES / (BLOCK_CHANNELS * max(image_bytes, 1)))
    return max(1, min(BLOCK_MAX_CHECKPOINTS, fitting))


AVERAGE, SUM, CENTER = "average", "sum", "center"  # objectives, beside single neurons
SINGLE = "single"  # the word of info.json and options for one neuron
_NEURON = re.compile(r"neuron_(?P<row>\d+)_(?P<column>\d+)")
OBJECTIVE = rf"{AVERAGE}|{SUM}|{CENTER}|{_NEURON.pattern}"
_VARIANT = re.compile(
    rf"(?P<objective>{OBJECTIVE})-(?P<image>\d+)"
    r"(?:@(?P<size>\d+px|\d+x\d+px))?"
)


@dataclass(frozen=True)
class Variant:
    """Which feature image of a unit: objective, image number and, where sizes differ, size."""

    objective: str
    image: int = 0
    size: str = ""

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Variant with the name `average-0`, `neuron_3_4-1`, `sum-0@112px`, ...

        Raises
        ------
        ValueError
            When the name is none of a variant.
        """
        match = _VARIANT.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{name!r} is no variant; variants look like 'average-0', 'neuron_3_4-1', "
                "'sum-0@112px'"
            )
        return cls(match["objective"], int(match["image"]), match["size"] or "")

    @property
    def base(self) -> str:
        """Name without the size."""
        return f"{self.objective}-{self.image}"

    @property
    def neuron(self) -> list[int] | None:
        """Row and column of a `neuron_{row}_{column}` objective."""
        match = _NEURON.fullmatch(self.objective)
        return [int(match["row"]), int(match["column"])] if match else None

    @property
    def aggregation(self) -> str:
        """The word that info.json uses for the objective."""
        return self.objective if self.objective in (AVERAGE, SUM) else SINGLE

    def __str__(self) -> str:
        return f"{self.base}@{self.size}" if self.size else self.base


def neuron_of(objective: str, height: int, width: int) -> tuple[int, int] | None:
    """Row and column of the neuron that an objective means; None where it means the whole map.

    Examples
    --------
    >>> neuron_of("center", 7, 7), neuron_of("neuron_3_4", 7, 7), neuron_of("sum", 7, 7)
    ((3, 3), (3, 4), None)
    """
    if objective == CENTER:
        return height // 2, width // 2
    match = _NEURON.fullmatch(objective)
    return (int(match["row"]), int(match["column"])) if match else None


def neuron_objective(row: int, column: int) -> str:
    """Name of the objective that is one position of a map."""
    return f"neuron_{row}_{column}"


def size_label(height: int, width: int) -> str:
    """Size as variants write it: `112px`, or `112x96px` (height x width) where not square."""
    return f"{height}px" if height == width else f"{height}x{width}px"


def feature_group(run: str, variant: str) -> str:
    """Path of a variant's group inside a store; the labels themselves are in its attributes."""
    return "/".join([*(_segment(part) for part in run.split("/")), FEATURES, _segment(variant)])


def run_group(run: str) -> str:
    """Path of a run's group inside a store."""
    return "/".join(_segment(part) for part in run.split("/"))


def _segment(label: str) -> str:
    # Zarr forbids ".", ".." and names that begin with "__", and turns a backslash into a slash;
    # "zarr.json" and "c" are files and folders of its own.
    if label.strip(".") == "" or label.startswith("__") or label in ("zarr.json", "c"):
        return "".join(f"%{byte:02X}" for byte in label.encode())
    return "".join(quote(c, safe="") if c in "\\%" or not c.isprintable() else c for c in label)


def did_you_mean(kind: str, asked: str, there: Iterable[str], where: str) -> str:
    """Text of an error for a name that is not there: what was asked, what is there, the nearest.

    Examples
    --------
    >>> did_you_mean("layer", "layer5", ["layer1", "layer4"], "resnet50")
    "No layer 'layer5' in resnet50. Layers: layer1, layer4. Did you mean 'layer4'?"
    """
    names = list(there)
    shown = ", ".join(names[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
    kinds = kind.capitalize().removesuffix("s") + "s"
    text = f"No {kind} {asked!r} in {where}. {kinds}: {shown or 'none'}."
    close = nearest(asked, names)
    return text if close is None else f"{text} Did you mean {close!r}?"


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number of things, in words that agree with it.

    Examples
    --------
    >>> counted(1, "problem"), counted(2000, "problem"), counted(2, "batch", "batches")
    ('1 problem', '2,000 problems', '2 batches')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def nearest(asked: str, there: Iterable[str]) -> str | None:
    """The name that is most like the one asked for, None where none is much like it."""
    close = difflib.get_close_matches(asked, [*there], n=3, cutoff=0.5)
    return max(
        close, key=lambda name: difflib.SequenceMatcher(None, asked, name).ratio(), default=None
    )
