"""The jpg/json tree that existing runs left behind: its names, in both directions.

    feature_images/{model}/{run: other folders}/{checkpoint}/{stem}.jpg and {stem}.info.json

Names in, labels out, and back. Looking around in folders is here too; reading files is not.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from dvis.schema import DEFAULT_RUN, Form, Variant

IMAGE_SUFFIX, INFO_SUFFIX = ".jpg", ".info.json"
ROOT_NAME = "feature_images"
PHASES = ("train", "val", "end")
_ROUNDING_MINUTES = 0.3

_STEM = re.compile(
    r"layer_(?P<layer>.+)_channel_(?P<channel>\d+)_"
    r"(?P<objective>average|sum|center|neuron_\d+_\d+)(?:-(?P<image>\d+))?"
)
_CHECKPOINT = re.compile(
    r"checkpoint_(?P<time>\d{4}-\d\d-\d\d-\d\dh\d\d)_epoch_(?P<epoch>\d{1,9})_"
    r"(?:(?P<phase>train|val)_(?P<batch>\d{1,9})|(?P<end>end)(?:_(?P<end_batch>\d{1,9}))?)"
    r"\.pth\.tar"
)
# Constructors of torchvision.models, by family: dvis must know a model's folder without torch.
_TORCHVISION = re.compile(
    r"alexnet|googlenet|inception_v3|maxvit_t|squeezenet1_[01]|densenet(121|161|169|201)"
    r"|(wide_)?resnet(18|34|50|101|152)(_2)?|resnext(50|101)_\d+x\d+d|vgg(11|13|16|19)(_bn)?"
    r"|mobilenet_v(2|3_small|3_large)|mnasnet[01]_\d+|shufflenet_v2_x\d_\d"
    r"|convnext_(tiny|small|base|large)|efficientnet_(b[0-7]|v2_[sml])|regnet_[xy]_\d+(_\d+)?[mg]f"
    r"|swin_(v2_)?[tsb]|vit_[blh]_(14|16|32)"
)


_UNKNOWN_TIME = np.datetime64("NaT", "s")


@dataclass(frozen=True)
class CheckpointName:
    """What a checkpoint's name tells of its place in training; -1, "" and NaT where it does not."""

    label: str
    time: np.datetime64 = _UNKNOWN_TIME
    epoch: int = -1
    phase: str = ""
    batch: int = -1

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Training order: by time, epoch, phase and batch; names without a place come last."""
        if np.isnat(self.time):
            return (1, natural_key(self.label), self.label)
        phase = PHASES.index(self.phase) if self.phase in PHASES else len(PHASES)
        place = (int(self.time.astype("int64")), self.epoch, phase, self.batch)
        return (0, place, self.label)


@dataclass(frozen=True)
class FeatureName:
    """A feature file's stem, read: the unit, the objective and the image number if it has one."""

    layer: str
    channel: int
    objective: str
    image: int
    is_numbered: bool

    @property
    def variant(self) -> str:
        """Name of the variant, without a size."""
        return f"{self.objective}-{self.image}"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key by which `step_2` comes before `step_10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d{1,18})", name)
        if part
    )


def parse_checkpoint(label: str) -> CheckpointName:
    """Place in training of a checkpoint's name.

    Examples
    --------
    >>> parse_checkpoint("checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar").batch
    200
    >>> parse_checkpoint("full").epoch
    -1
    """
    match = _CHECKPOINT.fullmatch(label)
    if match is None:
        return CheckpointName(label)
    try:
        time = datetime.strptime(match["time"], "%Y-%m-%d-%Hh%M")
    except ValueError:  # the 32nd of a month
        return CheckpointName(label)
    batch = match["batch"] or match["end_batch"]
    return CheckpointName(
        label,
        np.datetime64(time, "s"),
        int(match["epoch"]),
        match["phase"] or "end",
        -1 if batch is None else int(batch),
    )


def training_steps(names: list[CheckpointName], batches_per_epoch: int | None) -> list[int]:
    """Training step of each checkpoint, -1 where it is not known.

    A batch of epoch 0 is its own step; later epochs need the number of batches in one.
    """

    def step(name: CheckpointName) -> int:
        if np.isnat(name.time):
            return -1
        if name.phase == "train":
            if name.batch < 0 or (name.epoch > 0 and batches_per_epoch is None):
                return -1
            return name.epoch * (batches_per_epoch or 0) + name.batch
        return -1 if batches_per_epoch is None else (name.epoch + 1) * batches_per_epoch

    return [step(name) for name in names]


def estimate_batches_per_epoch(names: list[CheckpointName]) -> int | None:
    """Batches in an epoch, from the times of the checkpoints, or None where they do not agree.

    Least squares for time = start + epoch * a + batch * b over the checkpoints saved in training;
    the answer is a / b. It is given only when every checkpoint lies within two minutes (names hold
    whole minutes) or 2 % of the whole time of that line, when twice the standard error of a / b is
    below half a per cent of it, and no batch number reaches it: a training that paused or changed
    its pace has no answer.
    """
    train = [name for name in names if name.phase == "train" and not np.isnat(name.time)]
    if len(train) < 5 or len({name.epoch for name in train}) < 2:
        return None
    minutes = np.array([name.time.astype("int64") / 60 for name in train], float)
    minutes -= minutes.min()
    design = np.array([[1.0, name.epoch, name.batch] for name in train])
    solution, _, rank, _ = np.linalg.lstsq(design, minutes, rcond=None)
    if rank < 3 or solution[2] <= 0:
        return None
    residuals = np.abs(design @ solution - minutes)
    estimate = solution[1] / solution[2]
    # Times are cut to whole minutes: an error of 0.3 minutes even where the fit is perfect.
    error = max(_ROUNDING_MINUTES, float(np.sqrt((residuals**2).mean())))
    gradient = np.array([0.0, 1.0, -estimate]) / solution[2]
    variance = gradient @ np.linalg.inv(design.T @ design) @ gradient * error**2
    too_far = residuals.max() > max(2.0, 0.02 * minutes.max())
    if too_far or 2 * variance**0.5 > 0.005 * estimate or estimate < design[:, 2].max():
        return None
    return round(float(estimate))


def parse_stem(stem: str) -> FeatureName | None:
    """Unit and objective of a feature file's stem; None for every other name.

    Examples
    --------
    >>> parse_stem("layer_conv1_channel_7_neuron_3_4-1")
    FeatureName(layer='conv1', channel=7, objective='neuron_3_4', image=1, is_numbered=True)
    >>> parse_stem("1234_0_log") is None
    True
    """
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    image = match["image"]
    return FeatureName(
        match["layer"],
        int(match["channel"]),
        match["objective"],
        int(image or 0),
        image is not None,
    )


def stem_of(layer: str, channel: int, variant: Variant, form: int) -> str:
    """Stem of a unit's files, numbered or not as its form says: the inverse of `parse_stem`."""
    number = f"-{variant.image}" if form & Form.NUMBERED_NAME or variant.image else ""
    return f"layer_{layer}_channel_{channel}_{variant.objective}{number}"


def split_feature_file(name: str) -> tuple[str, str] | None:
    """Stem and suffix of a file that is called like a feature file, else None."""
    for suffix in (IMAGE_SUFFIX, INFO_SUFFIX):
        if name.endswith(suffix) and name.startswith("layer_"):
            return name[: -len(suffix)], suffix
    return None


def holds_features(folder: Path) -> bool:
    """Whether a folder directly holds feature files, which makes it a checkpoint."""
    try:
        with os.scandir(folder) as entries:
            return any(
                (parts := split_feature_file(entry.name)) and parse_stem(parts[0])
                for entry in entries
            )
    except OSError:
        return False


@dataclass(frozen=True)
class ModelTree:
    """The part of a jpg/json tree to read: `start`, somewhere below the folder of a model."""

    model: str
    root: Path
    start: Path

    def run_of(self, checkpoint_folder: Path) -> str:
        """Run of a checkpoint's folder: the folders between it and the model's, joined by "/"."""
        between = checkpoint_folder.parent.relative_to(self.root).parts
        return "/".join(between) or DEFAULT_RUN


def find_models(path: Path, model: str | None = None) -> list[ModelTree]:
    """Trees of the models at a path: the folder of one, of several, or a part of one.

    A folder is one of several models where it is called `feature_images` or one of its folders has
    the name of a torchvision model; a folder below such a one, or with such a name, is a model's.

    Raises
    ------
    FileNotFoundError
        When there is no folder at the path.
    """
    path = path.expanduser()
    if not path.is_dir():
        raise FileNotFoundError(_no_folder(path))
    path = path.resolve()
    if model is not None:
        return [ModelTree(model, path, path)]
    if path.name != ROOT_NAME:
        for folder in (path, *path.parents):
            if folder.name == ROOT_NAME:
                break
            if is_torchvision_name(folder.name) or folder.parent.name == ROOT_NAME:
                return [ModelTree(folder.name, folder, path)]
    children = sorted(child for child in _folders(path) if not holds_features(child))
    if path.name != ROOT_NAME and not any(is_torchvision_name(c.name) for c in children):
        children = []
    return [ModelTree(child.name, child, child) for child in children] or [
        ModelTree(path.name, path, path)
    ]


def is_torchvision_name(name: str) -> bool:
    """Whether torchvision has a classification model of that name."""
    return _TORCHVISION.fullmatch(name) is not None


def _folders(path: Path) -> Iterator[Path]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _no_folder(path: Path) -> str:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if existing == path:
        return f"{path} is a file; an import reads a folder, such as feature_images/resnet50"
    there = sorted(child.name for child in _folders(existing) if not child.name.startswith("."))
    shown = ", ".join(there[:10]) or "no folders"
    return f"No folder {path}. In {existing} there are: {shown}"
