"""The words that all kinds of measurement share: dims, coordinates, status, and what a group is.

Nothing in this module opens a file.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any
from urllib.parse import quote

import numpy as np

SCHEMA_VERSION = 1

CHECKPOINT, LAYER, CHANNEL = "checkpoint", "layer", "channel"
LATENT = "latent"  # of an autoencoder of a layer's activations: a unit as a channel is one
AUTOENCODER = "autoencoder"  # attribute of what is measured of latents: what theirs is called
DEPTH = "depth"  # of a layer: its place in the order of execution
Y, X, RGB = "y", "x", "rgb"
UNIT_DIMS = (CHECKPOINT, LAYER, CHANNEL)
UNIT = "unit"  # of what is measured or found of units, not of what is stored
UNIT_NOTE = "note"  # coordinate of units: what somebody wrote about them
# Attributes of a Dataset: the variable that trajectories are read off where none is named, and why
# its units have none, being others at each checkpoint.
USUAL_VARIABLE, UNMATCHED = "usual_variable", "unmatched"
NOTES = "notes"  # attribute of a result: texts to be said once of a whole measurement

DEFAULT_RUN = "checkpoints"
SOURCE = "source"  # below a group: what writers need, of no interest to analysis
TRAINING = "training"

MAX_IMAGE_SIDE = 8_192
LEVELS = 255  # of a colour of a stored image, beside 0

# Scalars: a trajectory is one chunk read, a commit touches one chunk a variable.
SCALAR_CHUNK = (128, 1, 128)
LABEL_CHUNK = 4096

_MAX_SEGMENT_BYTES = 255  # of a folder's name, on all common file systems
# A path has 4096 bytes on Linux, with the store's before and an array's file behind.
_MAX_LABEL_BYTES, _MAX_SEGMENTS = 2048, 64


class Status(IntEnum):
    """What a store holds of a unit at a checkpoint; written last, it is the commit mark."""

    ABSENT = 0
    COMPLETE = 1
    INCOMPLETE = 2  # the image or the info is missing
    FAILED = 3  # not to be trusted, nothing of it is shown
    DEAD = 4  # no start moved its image; other images may, or it answers the same to all


class SchemaError(ValueError):
    """A store breaks the schema: a group, variable, dimension or attribute is missing or wrong."""


@dataclass(frozen=True, kw_only=True)
class VariableSpec:
    """One array of a group: its dimensions, dtype on disk, fill value and attributes.

    `layout` is what `zarr.Group.create_array` is told of its chunks; by default those of labels, or
    of scalars of units. Groups of an earlier dvis may lack an array that `is_later`; they are given
    it when they are next written to. One that `is_optional` a group has once a writer asks for it.
    """

    dims: tuple[str, ...]
    dtype: Any
    fill: Any
    attrs: Mapping[str, Any]
    layout: Mapping[str, Any] = field(default_factory=dict)
    is_later: bool = False
    is_optional: bool = False

    def created_with(self) -> Mapping[str, Any]:
        """Arguments of `create_array` that say how it lies on disk."""
        chunks = SCALAR_CHUNK if self.dims == UNIT_DIMS else (LABEL_CHUNK,) * len(self.dims)
        return self.layout or {"chunks": chunks}


def spec(
    dims: tuple[str, ...],
    dtype: Any,
    fill: Any,
    long_name: str,
    *,
    layout: Mapping[str, Any] | None = None,
    is_later: bool = False,
    is_optional: bool = False,
    **attrs: Any,
) -> VariableSpec:
    """The words of an array, with its `long_name` and other attributes."""
    return VariableSpec(
        dims=dims,
        dtype=dtype,
        fill=fill,
        attrs={"long_name": long_name, **attrs},
        layout=layout or {},
        is_later=is_later,
        is_optional=is_optional,
    )


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A commit mark: the array that says of each part of a group whether it is there.

    Parameters
    ----------
    status : str
        Name of the array, whose dims are those of the parts; 0 where there is nothing.
    weights : str
        Array of what tells the weights apart that a part is of.
    problem : str
        Array of what was wrong with a part, "" where the group keeps none.
    kept : tuple of int
        Values of status that a part has which is not measured again.
    """

    status: str = "status"
    weights: str = f"{SOURCE}/weights"
    problem: str = f"{SOURCE}/problem"
    kept: tuple[int, ...] = (Status.COMPLETE,)


def is_equal(attrs: Mapping[str, Any], name: str, asked: Any) -> bool:
    """Whether a group's attribute is the setting that is asked for."""
    return bool(attrs.get(name) == asked)


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a kind's group: its arrays, and which of them are what.

    Parameters
    ----------
    kind : str
        The kind, which is the folder of its groups in a run and their attribute `dvis_kind`.
    arrays : mapping of str to VariableSpec
        All arrays by their path in the group. An array with the name of its one dim holds the
        labels along it.
    coordinates : tuple of str
        Those arrays that are coordinates and no dim bears.
    marks : tuple of Mark
        What is committed by which array; the first is that of most.
    sizes : mapping of str to int
        Lengths of the dims that never grow.
    name_attr : str
        Attribute that holds the group's name.
    noun : str
        What the group holds, as errors say it.
    said : mapping of str to (type, str)
        Attributes that a group must have, of what type, and what they say.
    agrees : callable
        Whether a group with some attributes is of a setting, by its name and value.
    is_of_others : bool
        Whether groups are called after what they are of, so that no name of their own can be given.
    of_runs : mapping of str to str
        Runs of dims whose labels are checkpoints, beside the group's own checkpoints.
    """

    kind: str
    arrays: Mapping[str, VariableSpec]
    coordinates: tuple[str, ...] = ("epoch", "phase", "batch", "step", "time")
    marks: tuple[Mark, ...] = (Mark(),)
    sizes: Mapping[str, int] = field(default_factory=dict)
    name_attr: str = "name"
    noun: str = "group"
    said: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    agrees: Callable[[Mapping[str, Any], str, Any], bool] = is_equal
    is_of_others: bool = False
    of_runs: Mapping[str, str] = field(default_factory=dict)

    def there(self, has: Callable[[str], bool]) -> "Words":
        """The words of a group that has certain arrays, without those that it may lack."""
        arrays = {
            name: each
            for name, each in self.arrays.items()
            if not (each.is_later or each.is_optional) or has(name)
        }
        if len(arrays) == len(self.arrays):
            return self
        coordinates = tuple(name for name in self.coordinates if name in arrays)
        return replace(self, arrays=arrays, coordinates=coordinates)

    @property
    def has_common_part(self) -> bool:
        """Whether the parts of a checkpoint stand on what they share, which has its own mark."""
        return len(self.marks) > 1

    def mark(self, status: str) -> Mark:
        """The mark whose array has this name."""
        return next(mark for mark in self.marks if mark.status == status)

    def arrays_of(self, mark: Mark) -> list[str]:
        """Arrays that a mark commits: those of whose dims it has the most, labels left out."""
        return [
            name
            for name, of_array in self.arrays.items()
            if name not in (mark.status, *of_array.dims, *self.coordinates)
            and self._mark_of(of_array) is mark
        ]

    def _mark_of(self, of_array: VariableSpec) -> Mark | None:
        dims = {mark.status: self.arrays[mark.status].dims for mark in self.marks}
        fitting = [mark for mark in self.marks if set(dims[mark.status]) <= set(of_array.dims)]
        return max(fitting, key=lambda mark: len(dims[mark.status]), default=None)


TEXT = np.dtypes.StringDType()
TIME_ATTRS: dict[str, Any] = {
    "units": "seconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": -(2**63),
}

COORDINATES: dict[str, VariableSpec] = {
    CHECKPOINT: spec((CHECKPOINT,), TEXT, "", "checkpoint"),
    "epoch": spec((CHECKPOINT,), "int64", -1, "epoch"),
    "phase": spec((CHECKPOINT,), TEXT, "", "phase of the epoch"),
    "batch": spec((CHECKPOINT,), "int64", -1, "batch in the epoch"),
    "step": spec((CHECKPOINT,), "int64", -1, "training step"),
    "time": spec((CHECKPOINT,), "int64", -(2**63), "time of saving", **TIME_ATTRS),
    LAYER: spec((LAYER,), TEXT, "", "layer"),
    "n_channels": spec((LAYER,), "int32", 0, "channels seen of the layer"),
    DEPTH: spec((LAYER,), "int32", -1, "place in the order of execution", is_later=True),
    CHANNEL: spec((CHANNEL,), "int32", -1, "channel"),
}

# Of checkpoints alone: what every kind has.
CHECKPOINT_COORDINATES = {
    name: of_name for name, of_name in COORDINATES.items() if of_name.dims == (CHECKPOINT,)
}


def status_spec(
    dims: tuple[str, ...], what: str, flags: type[IntEnum], layout: Mapping[str, Any] | None = None
) -> VariableSpec:
    """The words of an array of status, whose attributes name its values."""
    return spec(
        dims,
        "uint8",
        0,
        f"status of the {what}",
        layout=layout,
        flag_values=[int(flag) for flag in flags],
        flag_meanings=" ".join(flag.name.lower() for flag in flags),
    )


# Begins the label of a row that was taken back, which readers leave out and nothing fills again.
FORGOTTEN = ".forgotten-"


def is_forgotten(label: object) -> bool:
    """Whether a label is of a row that was taken back."""
    return isinstance(label, str) and label.startswith(FORGOTTEN)


def group_path(run: str, kind: str, name: str) -> str:
    """Path of a group inside a store; the labels themselves are in its attributes."""
    return f"{run_group(run)}/{kind}/{label_path(name, 'name')}"


def run_group(run: str) -> str:
    """Path of a run's group inside a store.

    Raises
    ------
    ValueError
        When no run can have that name.
    """
    return label_path(run, "run")


def label_path(label: str, what: str) -> str:
    """Path of a label in a group, whose attributes keep the label itself.

    Parameters
    ----------
    label : str
        Names of folders, joined by "/".
    what : str
        What it is the label of, in words: "run".

    Raises
    ------
    ValueError
        When it cannot be kept: no name, or none between two slashes, one too long for a folder, or
        one of characters that no store holds.

    Examples
    --------
    >>> label_path("seeds/run 1", "run"), label_path("..", "run")
    ('seeds/run 1', '%2E%2E')
    >>> label_path("/home", "run")
    Traceback (most recent call last):
    ValueError: No run can be called '/home': it has no name before, between or after its slashes. \
A run is called as a folder is, 'checkpoints', or as folders within each other, 'seeds/run 1'
    """
    parts = label.split("/")
    problem = ""
    if not all(parts):
        problem = "it has no name before, between or after its slashes" if label else "it is empty"
    elif "\0" in label or any("\ud800" <= c <= "\udfff" for c in label):
        problem = "it has characters that a store cannot keep"
    elif any(len(label_segment(part).encode()) > _MAX_SEGMENT_BYTES for part in parts):
        problem = "it is too long for a folder"
    elif len(parts) > _MAX_SEGMENTS or len("/".join(map(label_segment, parts)).encode()) > (
        _MAX_LABEL_BYTES
    ):
        problem = f"it is longer than {_MAX_SEGMENTS} folders or {_MAX_LABEL_BYTES} letters"
    if problem:
        raise ValueError(
            f"No {what} can be called {_shown(label)}: {problem}. A {what} is called as a folder "
            "is, 'checkpoints', or as folders within each other, 'seeds/run 1'"
        )
    return "/".join(map(label_segment, parts))


def _shown(label: str) -> str:
    return repr(label) if len(label) <= _MAX_SEGMENT_BYTES + 1 else f"{label[:60]!r}..."


def label_segment(label: str) -> str:
    """A name that a group or an array of a store can have, of a label without a slash."""
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
