"""Which files and folders are checkpoints: by their names, else by how a file begins.

Paths in, files by label out. Nothing is unpickled here.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dvis.models.image_files import folders_in, is_passed_over
from dvis.models.safe_load import is_of_torch
from dvis.models.safetensors_files import INDEX, is_safetensors
from dvis.schema import did_you_mean

SUFFIXES = (".pth.tar", ".pth", ".pt", ".th", ".ckpt", ".safetensors", ".torch", ".pyth")
# What other things are called too: a file is a checkpoint if it begins like one.
OPEN_SUFFIXES = (".tar", ".bin", ".pkl", "")

# What trainers save beside a checkpoint's weights: optimizer, schedule, random numbers, arguments.
_COMPANION = re.compile(
    r"(.+[-_.])?optim(izer)?s?([-_.]?(states?|dict|rank|\d+))*"
    r"|(lr[-_])?schedulers?([-_.]\d+)?"
    r"|(grad[-_]?)?scaler([-_.]\d+)?"
    r"|rng[-_]?states?([-_.].+)?|random_states([-_.].+)?|(dl|dataloader|sampler)([-_.].+)?"
    r"|(training_|train_)?args(uments)?|trainer_state|custom_checkpoint_\d+",
    re.IGNORECASE,
)
_SHARD = re.compile(r".+-\d{2,}-of-\d{2,}\.(safetensors|bin|pth|pt)")
# A folder that is a checkpoint tells its place in training: `checkpoint-500`, `global_step100`.
_PLACE = re.compile(
    r"(.*[-_.=/ ])?((check_?points?|chkpt|ckpt|cp|(global_?)?step|epoch|ep|iter(ation)?|it"
    r"|train(ing)?|update|ba|snapshot|save|round)[-_.= ]*\d.*"
    r"|init(ial)?|best|last|latest|final)",
    re.IGNORECASE,
)
_RANK = re.compile(r"rank[-_]?\d+", re.IGNORECASE)
# One set of weights in two formats, of which safetensors is taken.
_SAFE, _UNSAFE = "model.safetensors", "pytorch_model.bin"
_DEEPEST = 2  # folders below the one that is given: run/checkpoints, version_0/checkpoints


def checkpoints_at(path: Path) -> dict[str, Path]:
    """Files at a path by their labels, in no order.

    A label is the file's name; of a folder that is a checkpoint, the folder's.

    Raises
    ------
    FileNotFoundError
        When there is nothing at the path, or no checkpoints in it.
    ValueError
        When several folders in it hold the checkpoints of a run each.
    """
    if path.is_file():
        inside = _only_one(path.parent)
        return {path.absolute().parent.name if inside == path else path.name: path}
    if not path.is_dir():
        raise FileNotFoundError(_nothing_at(path))
    if (only := _only_one(path)) is not None:
        return {path.absolute().name: only}
    if not (found := _below(path, _DEEPEST)):
        there = _listed(sorted(child.name for child in path.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"No checkpoints in {path}: files that end in {', '.join(SUFFIXES)}, files of "
            "torch.save under other names, or folders that are a checkpoint each, such as "
            f"step_100. In it there is: {there}. Give the folder that holds them, or the files "
            "themselves"
        )
    return found


def _begins_like_one(file: Path) -> bool:
    """Whether a file begins as those of torch.save or of safetensors do."""
    try:
        return is_of_torch(file) or is_safetensors(file)
    except OSError:  # nobody's to read
        return False


def tells_nothing(path: Path) -> bool:
    """Whether a file's name has no number, as that of the one checkpoint in its folder."""
    return not re.search(r"\d", _RANK.sub("", path.name))


def _below(folder: Path, depth: int) -> dict[str, Path]:
    """Checkpoints of a folder, else those of the one folder in it that has some."""
    found = {file.name: file for file in _checkpoint_files(folder)}
    folders = [folder / name for name in folders_in(folder)]
    found |= {child.name: only for child in folders if (only := _only_one(child)) is not None}
    if found or depth == 0:
        return found
    runs = {child.name: below for child in folders if (below := _below(child, depth - 1))}
    if len(runs) > 1:
        raise ValueError(
            f"{folder} holds the checkpoints of {len(runs)} runs, in folders of their own: "
            f"{_listed(runs)}. Give one of them, such as {folder / next(iter(runs))}"
        )
    return next(iter(runs.values()), {})


def _only_one(folder: Path) -> Path | None:
    """The file of a folder that is a checkpoint: its name tells a place, and it has one file."""
    if not _PLACE.fullmatch(folder.absolute().name):
        return None
    files = _checkpoint_files(folder)
    return files[0] if len(files) == 1 and tells_nothing(files[0]) else None


def _checkpoint_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if _is_checkpoint(file)]
    if any(file.name in (_SAFE, _SAFE + INDEX) for file in files):
        return [file for file in files if file.name not in (_UNSAFE, _UNSAFE + INDEX)]
    return files


def _is_checkpoint(file: Path) -> bool:
    name = file.name.removesuffix(INDEX)
    suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
    if is_passed_over(name) or _SHARD.fullmatch(name) or not file.is_file():
        return False
    if suffix is None:
        suffix = next((s for s in OPEN_SUFFIXES[:-1] if name.endswith(s)), "")
        if not suffix and re.search(r"\.(?!\d)", name):  # a suffix, and no number's point
            return False
    if _COMPANION.fullmatch(name.removesuffix(suffix)):
        return False
    if name != file.name:
        return suffix in (*SUFFIXES, ".bin")
    return suffix in SUFFIXES or _begins_like_one(file)


def _nothing_at(path: Path) -> str:
    existing = next((parent for parent in path.parents if parent.is_dir()), Path())
    missing = path.relative_to(existing).parts[0]
    there = sorted(child.name for child in existing.iterdir())
    return did_you_mean("path", missing, there, str(existing.resolve()))


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    """The first ten of some names."""
    shown = list(names)[:10]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
