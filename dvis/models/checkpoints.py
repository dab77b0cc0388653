"""Training checkpoints: which files there are, in which order, and what each of them holds.

Files in, tensors and plain facts out; which architecture they fit is `architectures`' question.
Nothing that a file names is ever run: whatever is not weights or plain values is refused.
"""

import hashlib
import struct
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvis.models.safe_load import CheckpointError, is_zip, load_safely, records_of
from dvis.names import CheckpointName, parse_checkpoint
from dvis.schema import did_you_mean

__all__ = [
    "PRETRAINED",
    "Checkpoint",
    "CheckpointError",
    "CheckpointFile",
    "find_checkpoints",
    "fingerprint",
    "load_checkpoint",
    "read_facts",
]

PRETRAINED = "pretrained"
SUFFIXES = (".pth.tar", ".pth", ".pt")
WEIGHT_KEYS = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint of a run: its place in training, and its file.

    Parameters
    ----------
    name : CheckpointName
        What the file's name tells; its label is that name, verbatim.
    path : Path or None
        The file; None stands for torchvision's pretrained weights.
    """

    name: CheckpointName
    path: Path | None

    @property
    def label(self) -> str:
        """Label of the checkpoint in a store."""
        return self.name.label


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint's file holds.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights and buffers by name, free of the prefixes of wrapped models.
    facts : dict
        Plain values saved beside them: `epoch` (1-based), `phase_type`, `batch_iteration` ...
    """

    state: dict[str, Tensor]
    facts: dict[str, Any]


def find_checkpoints(
    paths: str | Path | Sequence[str | Path] | Mapping[str, Path],
) -> list[CheckpointFile]:
    """Checkpoints at some paths, in training order.

    Parameters
    ----------
    paths : sequence of str or Path
        Files, taken whatever they are called, and folders, of which the `.pth.tar`, `.pth` and
        `.pt` files are taken; where a folder has none, those of its one folder that has some.
        None at all stands for torchvision's pretrained weights. In a mapping, files by label.

    Raises
    ------
    FileNotFoundError
        When a path does not exist, or a folder holds no checkpoints.
    ValueError
        When the checkpoints of a folder lie in several folders (several runs), or two files have
        the same name and so would share a label.
    """
    asked = [paths] if isinstance(paths, str | Path) else list(paths)
    if not asked:
        return [CheckpointFile(name=CheckpointName(PRETRAINED), path=None)]
    found: dict[str, Path] = {}
    if isinstance(paths, Mapping):
        found = {label: _only_file_at(path, label) for label, path in paths.items()}
    for path in () if isinstance(paths, Mapping) else asked:
        for file in _files_at(Path(path).expanduser()):
            first = found.setdefault(file.name, file)
            if first.resolve() != file.resolve():
                raise ValueError(
                    f"Two checkpoints have the label {file.name!r}: {first} and {file}. A label is "
                    "one checkpoint of a run; give one of them, or one run at a time"
                )
    files = [CheckpointFile(name=parse_checkpoint(name), path=found[name]) for name in found]
    return sorted(files, key=lambda file: file.name.sort_key)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Weights and facts of a checkpoint's file, without running anything that the file names.

    On the CPU the tensors are read from the file when they are first used: copy what must outlive
    a change to it. Read are a dict with `model_state_dict`, `state_dict` or `model`, and a bare
    state dict; names that all begin with `module.` or `_orig_mod.` lose that.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When it holds no weights, is cut short, or holds more than weights and plain values.
    """
    content = load_safely(Path(path).expanduser())
    key, weights = _find_state(content, path)
    state = _unwrapped(weights)
    for name in state:  # in place: the versions of modules hang on the dict
        state[name] = state[name].to(device)
    return Checkpoint(state=state, facts={} if key is None else _facts(content))


def read_facts(path: str | Path) -> dict[str, Any]:
    """The plain values that a checkpoint's file holds beside its weights, which are not read.

    Numbers of numpy and of 0-d tensors come as Python's, times as ISO text; the optimizer's state
    is left out.

    Raises
    ------
    FileNotFoundError, CheckpointError
        As `load_checkpoint` does.
    """
    return load_checkpoint(path).facts


def fingerprint(path: str | Path) -> int:
    """A number of 64 bits that tells two checkpoints' contents apart, whatever they are called.

    It is made of the checksums in the file's table of contents, so that no weight is read; of the
    bytes themselves where there are no checksums (files older than torch 1.6, or saved without).

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When it is cut short.
    """
    path = Path(path).expanduser()
    records = sorted(records_of(path)) if is_zip(path) else []
    if not any(crc for _, _, crc in records):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
        return int.from_bytes(digest, "little")
    table = b"".join(
        name.encode() + struct.pack("<xQI", size, crc)
        for name, size, crc in records
        if name.startswith("data")  # the others tell versions of the format
    )
    return int.from_bytes(hashlib.blake2b(table, digest_size=8).digest(), "little")


def _only_file_at(path: Path, label: str) -> Path:
    files = _files_at(path.expanduser())
    if len(files) > 1:
        raise ValueError(
            f"{path} holds {len(files)} checkpoints, and one is to be {label!r}; give its file"
        )
    return files[0]


def _files_at(path: Path) -> list[Path]:
    """Checkpoint files at one path, in no order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(_nothing_at(path))
    if files := _checkpoints_in(path):
        return files
    folders = [child for child in sorted(path.iterdir()) if child.is_dir()]
    runs = {folder.name: files for folder in folders if (files := _checkpoints_in(folder))}
    if len(runs) > 1:
        raise ValueError(
            f"{path} holds the checkpoints of {len(runs)} runs, in folders of their own: "
            f"{_listed(runs)}. Give one of them, such as {path / next(iter(runs))}"
        )
    if not runs:
        there = _listed(sorted(child.name for child in path.iterdir())) or "nothing"
        raise FileNotFoundError(
            f"No checkpoints in {path}: files that end in {', '.join(SUFFIXES)}. In it there is: "
            f"{there}. Give the folder that holds them, or the files themselves"
        )
    return next(iter(runs.values()))


def _checkpoints_in(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.iterdir()
        if file.name.endswith(SUFFIXES) and not file.name.startswith(".") and file.is_file()
    ]


def _nothing_at(path: Path) -> str:
    existing = next((parent for parent in path.parents if parent.is_dir()), Path())
    missing = path.relative_to(existing).parts[0]
    there = sorted(child.name for child in existing.iterdir())
    return did_you_mean("path", missing, there, str(existing.resolve()))


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """The first ten of some names."""
    shown = list(names)[:10]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")


def _find_state(content: Any, path: str | Path) -> tuple[str | None, Mapping[str, Tensor]]:
    """Key of the weights (None where the file is a bare state dict) and the weights."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, no weights. Save a dict: "
            'torch.save({"model_state_dict": model.state_dict()}, ...)'
        )
    for key in WEIGHT_KEYS:
        if _is_state(content.get(key)):
            return key, content[key]
    if _is_state(content):
        return None, content
    there = _listed([str(key) for key in content]) or "nothing"
    raise CheckpointError(
        f"{path} holds no weights under {', '.join(WEIGHT_KEYS)}, and is no state dict itself. It "
        f"holds: {there}. Save the weights under model_state_dict"
    )


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that the model itself gives them.

    The versions of modules, which tell a model how old the names are, come along where the file
    has them.
    """
    prefix = ""
    while wrapper := next((w for w in _WRAPPERS if _all_begin(state, prefix + w)), ""):
        prefix += wrapper
    bare: OrderedDict[str, Tensor] = OrderedDict(
        (name.removeprefix(prefix), tensor) for name, tensor in state.items()
    )
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, dict):
        wrapped = {"": versions.get(prefix.rstrip("."))} if prefix else {}
        bare._metadata = {  # type: ignore[attr-defined]  # as torch's own state dicts have it
            name.removeprefix(prefix): version for name, version in versions.items()
        } | wrapped
    return bare


def _all_begin(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _facts(content: Mapping[Any, Any]) -> dict[str, Any]:
    facts = {}
    for key, value in content.items():
        if "optim" in str(key) or (key in WEIGHT_KEYS and _is_state(value)):
            continue
        try:
            facts[str(key)] = _as_plain(value)
        except TypeError:
            continue
    return facts


def _as_plain(value: Any) -> Any:
    """The same value in Python's plain types; TypeError where it is, or holds, anything else."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case Namespace():
            return _as_plain(vars(value))
        case Tensor() if value.ndim == 0:
            return value.item()
        case list() | tuple():
            return [_as_plain(each) for each in value]
        case dict():
            return {key: _as_plain(each) for key, each in value.items()}
    raise TypeError(f"{type(value).__name__} is no plain value")
