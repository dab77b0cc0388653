"""The jpg/json tree that existing runs left behind: its names, in both directions.

    feature_images/{model}/{run: other folders}/{checkpoint}/{stem}.jpg and {stem}.info.json

where a picture may also be a .jpeg or .png, and suffixes be in capitals.

Names in, labels out, and back. Looking around in folders is here too; reading files is not.
"""

import os
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from dvis.kinds.features.words import OBJECTIVE, Form, Variant
from dvis.models.image_files import folders_in
from dvis.schema import DEFAULT_RUN

# As a unit's form counts them: what a store holds depends on their order.
IMAGE_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".Jpg", ".Png")
INFO_SUFFIXES = (".info.json", ".INFO.JSON")
ROOT_NAME = "feature_images"

_FIRST_SUFFIX_BIT = 16

_STEM = re.compile(
    r"layer_(?P<layer>.+)_channel_(?P<channel>\d+)_"
    rf"(?P<objective>{OBJECTIVE})(?:-(?P<image>\d+))?"
)
# Constructors of torchvision.models, by family: dvis must know a model's folder without torch.
_TORCHVISION = re.compile(
    r"alexnet|googlenet|inception_v3|maxvit_t|squeezenet1_[01]|densenet(121|161|169|201)"
    r"|(wide_)?resnet(18|34|50|101|152)(_2)?|resnext(50|101)_\d+x\d+d|vgg(11|13|16|19)(_bn)?"
    r"|mobilenet_v(2|3_small|3_large)|mnasnet[01]_\d+|shufflenet_v2_x\d_\d"
    r"|convnext_(tiny|small|base|large)|efficientnet_(b[0-7]|v2_[sml])|regnet_[xy]_\d+(_\d+)?[mg]f"
    r"|swin_(v2_)?[tsb]|vit_[blh]_(14|16|32)"
)


@dataclass(frozen=True)
class FeatureName:
    """A feature file's stem, read: the unit, the objective and the image number if it has one."""

    layer: str
    channel: int
    objective: str
    image: int
    is_numbered: bool

    @cached_property  # a name that recurs in each folder is asked for it there
    def variant(self) -> str:
        """Name of the variant, without a size."""
        return f"{self.objective}-{self.image}"


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


def image_name(stem: str, form: int) -> str:
    """Name of a unit's picture, with the suffix that its form says."""
    return stem + IMAGE_SUFFIXES[(form & Form.IMAGE_SUFFIX) // _FIRST_SUFFIX_BIT]


def info_name(stem: str, form: int) -> str:
    """Name of a unit's info.json, with the suffix that its form says."""
    return stem + INFO_SUFFIXES[bool(form & Form.CAPITAL_INFO_SUFFIX)]


@cache
def form_of_suffix(suffix: str) -> int:
    """The form of a unit of which there is a file with this suffix: of all its files, by "or"."""
    if suffix in INFO_SUFFIXES:
        capital = Form.CAPITAL_INFO_SUFFIX if suffix != INFO_SUFFIXES[0] else 0
        return Form.HAS_INFO | capital
    return Form.HAS_IMAGE | IMAGE_SUFFIXES.index(suffix) * _FIRST_SUFFIX_BIT


def split_feature_file(name: str) -> tuple[str, str] | None:
    """Stem and suffix of a file that is called like a feature file, else None."""
    if name.startswith("layer_"):
        for suffix in (*IMAGE_SUFFIXES, *INFO_SUFFIXES):
            if name.endswith(suffix):
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
    below = [path / name for name in folders_in(path)]
    children = [child for child in below if not (child.is_symlink() or holds_features(child))]
    if path.name != ROOT_NAME and not any(is_torchvision_name(c.name) for c in children):
        children = []
    return [ModelTree(child.name, child, child) for child in children] or [
        ModelTree(path.name, path, path)
    ]


def is_torchvision_name(name: str) -> bool:
    """Whether torchvision has a classification model of that name."""
    return _TORCHVISION.fullmatch(name) is not None


def _no_folder(path: Path) -> str:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if existing == path:
        return f"{path} is a file; an import reads a folder, such as feature_images/resnet50"
    shown = ", ".join(folders_in(existing)[:10]) or "no folders"
    return f"No folder {path}. In {existing} there are: {shown}"
