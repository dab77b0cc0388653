"""The words of feature images: arrays of a group, variants, and how a unit looked in its tree.

{run}/features/{variant}/    image (checkpoint, layer, channel, y, x, rgb); activation, status,
                             ... (checkpoint, layer, channel); loss (..., step_in_run)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dvis.schema import (
    COORDINATES,
    DEPTH,
    RGB,
    SOURCE,
    TEXT,
    UNIT_DIMS,
    Mark,
    Status,
    VariableSpec,
    Words,
    X,
    Y,
    spec,
    status_spec,
)

KIND = "features"
DEFAULT_VARIANT = "average-0"
STEP_IN_RUN, IMAGE_NUMBER = "step_in_run", "image_number"
IMAGE_DIMS = (*UNIT_DIMS, Y, X, RGB)
LOSS_DIMS = (*UNIT_DIMS, STEP_IN_RUN)

# A dense channel axis is as wide as its widest layer: one absurd channel would widen all of them.
# The widest torchvision layers have 7,392 channels, ImageNet-21k heads 21,843 classes.
MAX_CHANNELS = 65_536
# The loss axis is dense too; runs stop after 1,000 steps unless told otherwise.
MAX_LOSS_STEPS = 65_536
LOSS_CHUNK_STEPS = 256

# Image blocks: the files that hold images, each owned by one worker at a time.
BLOCK_CHANNELS = 64
BLOCK_MAX_CHECKPOINTS = 16
BLOCK_BYTES = 48 * 2**20

HELD_OUT_MEAN = "held_out_mean"
# What an activation is held against; only what was measured for it is there.
_COMPARED = {
    "reference_mean": "mean activation of the reference images",
    "reference_sd": "standard deviation of the activation over reference images",
    "reference_max": "highest activation of a reference image",
    "constant_max": "highest activation of a black, grey or white image",
    HELD_OUT_MEAN: "mean activation of the feature image in views it was not made for",
    "restart_sd": "standard deviation of the activation over restarts",
    "neighbour_max": "highest activation of the images of the checkpoints beside it",
    "seed_similarity": "similarity of feature images of different seeds",
    "seed_similarity_null": "similarity of the feature images of different units",
}
COMPARED = tuple(_COMPARED)
NEIGHBOUR_MAX, SEED_SIMILARITY = "neighbour_max", "seed_similarity"
SEED_NULL = "seed_similarity_null"
# An image of another checkpoint is better by this share of the activation, or as good.
BEATEN_BY = 0.05
OF_REFERENCE = ("reference_mean", "reference_sd", "reference_max")
CONSTANT_MAX, REFERENCE = "constant_max", "reference"

# What is written of a unit beside its image and loss.
MEASURED = ("activation", "value_min", "value_max", "stop_step", "seed")
FINGERPRINT, FORM, INFO = f"{SOURCE}/fingerprint", f"{SOURCE}/form", f"{SOURCE}/info"
PROBLEM = f"{SOURCE}/problem"
NEIGHBOURS = f"{SOURCE}/neighbours"


class Form(IntEnum):
    """Bits of `source/form`: how a unit looked in its tree, so that export can repeat it."""

    HAS_IMAGE = 1
    HAS_INFO = 2
    NUMBERED_NAME = 4
    NUMBERED_INFO = 8
    # Three bits that count: the place of the picture's suffix in `tree_names.IMAGE_SUFFIXES`.
    IMAGE_SUFFIX = 16 | 32 | 64
    CAPITAL_INFO_SUFFIX = 128


SCALARS: dict[str, VariableSpec] = {
    "activation": spec(UNIT_DIMS, "float32", np.nan, "activation", units="1"),
    "value_min": spec(UNIT_DIMS, "float32", np.nan, "value of image level 0", units="1"),
    "value_max": spec(UNIT_DIMS, "float32", np.nan, "value of image level 255", units="1"),
    "stop_step": spec(UNIT_DIMS, "int32", -1, "optimisation step at which it stopped", units="1"),
    "seed": spec(UNIT_DIMS, "int32", -1, "seed of the optimisation"),
    "params": spec(UNIT_DIMS, "int32", -1, "index into the group's attribute `parameters`"),
    "status": status_spec(UNIT_DIMS, "unit", Status),
    REFERENCE: spec(
        UNIT_DIMS, "int32", -1, "index into the group's attribute `references`", is_optional=True
    ),
    **{
        name: spec(UNIT_DIMS, "float32", np.nan, long_name, is_optional=True, units="1")
        for name, long_name in _COMPARED.items()
    },
}
IMAGE = spec(IMAGE_DIMS, "uint8", 0, "feature image", units="1")
LOSS = spec(LOSS_DIMS, "float32", np.nan, "loss of the optimisation", units="1")

# What an import needs to run again and to be undone.
SOURCES: dict[str, VariableSpec] = {
    FINGERPRINT: spec(UNIT_DIMS, "uint64", 0, "hash of the files or weights it was made of"),
    FORM: spec(UNIT_DIMS, "uint8", 0, "bits of dvis.kinds.features.words.Form"),
    PROBLEM: spec(UNIT_DIMS, TEXT, "", "what was wrong with the unit's files"),
    NEIGHBOURS: spec(
        UNIT_DIMS,
        "uint64",
        0,
        "hash of the checkpoints beside it whose images were tried",
        is_optional=True,
    ),
    INFO: spec(UNIT_DIMS, TEXT, "", "what of info.json the variables cannot repeat"),
}

WORDS = Words(
    kind=KIND,
    arrays={**COORDINATES, **SCALARS, "image": IMAGE, "loss": LOSS, **SOURCES},
    coordinates=("epoch", "phase", "batch", "step", "time", "n_channels", DEPTH),
    marks=(Mark(weights=FINGERPRINT, problem=PROBLEM),),
    name_attr="variant",
    noun="feature images",
)


def is_beaten(activation: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether another activation is higher by more than a twentieth; of none, NaN, it is not."""
    beaten: np.ndarray = other > activation + BEATEN_BY * np.abs(activation)
    return beaten


def block_checkpoints(height: int, width: int, codec: str) -> int:
    """Checkpoints that one image block spans in the read layout, so that it stays near 48 MB."""
    image_bytes = height * width * 3 * (0.25 if codec == "jpeg" else 1.0)
    fitting = int(BLOCK_BYTES / (BLOCK_CHANNELS * max(image_bytes, 1)))
    return max(1, min(BLOCK_MAX_CHECKPOINTS, fitting))


AVERAGE, SUM, CENTER = "average", "sum", "center"  # objectives, beside single neurons
SINGLE = "single"  # the word of info.json and options for one neuron
_NEURON = re.compile(r"neuron_(?P<row>\d+)_(?P<column>\d+)")
OBJECTIVE = rf"{AVERAGE}|{SUM}|{CENTER}|{_NEURON.pattern}"
_SIZE = r"(?:@(?P<size>\d+px|\d+x\d+px))?"
_VARIANT = re.compile(rf"(?P<objective>{OBJECTIVE})-(?P<image>\d+){_SIZE}")
# Of directions, by what they are called together: `latents-wide`, `latents-wide~1`.
_DIRECTED = re.compile(rf"(?P<objective>(?:latents|directions)-[^~@/]+)(?:~(?P<image>\d+))?{_SIZE}")


@dataclass(frozen=True)
class Variant:
    """Which feature image of a unit: objective, image number and, where sizes differ, size."""

    objective: str
    image: int = 0
    size: str = ""

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Variant with the name `average-0`, `neuron_3_4-1`, `sum-0@112px`, `latents-wide`, ...

        Raises
        ------
        ValueError
            When the name is none of a variant.
        """
        match = _VARIANT.fullmatch(name) or _DIRECTED.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{name!r} is no variant; variants look like 'average-0', 'neuron_3_4-1', "
                "'sum-0@112px', 'latents-NAME'"
            )
        return cls(match["objective"], int(match["image"] or 0), match["size"] or "")

    @classmethod
    def usual(cls, names: Sequence[str]) -> list[str]:
        """Those of names that are of channels, for no direction stands for a run; all, of none.

        Examples
        --------
        >>> Variant.usual(["latents-wide", "average-0"]), Variant.usual(["latents-wide"])
        (['average-0'], ['latents-wide'])
        """
        return [name for name in names if not _DIRECTED.fullmatch(name)] or [*names]

    @property
    def base(self) -> str:
        """Name without the size."""
        if self.is_directed:
            return f"{self.objective}~{self.image}" if self.image else self.objective
        return f"{self.objective}-{self.image}"

    @property
    def is_directed(self) -> bool:
        """Whether its units are directions of a layer's output, such as latents, not channels."""
        return _DIRECTED.fullmatch(self.objective) is not None

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
