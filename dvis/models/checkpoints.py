"""Training checkpoints: which there are, in which order, and what each of them holds.

Files in, tensors and plain facts out; which of the tensors are a model's weights is `fitting`'s
question. Nothing that a file names is ever run: whatever is not weights or plain values is refused.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvis.models.checkpoint_paths import checkpoints_at, tells_nothing
from dvis.models.safe_load import CheckpointError, is_zip, load_safely, records_of
from dvis.models.safetensors_files import INDEX, is_safetensors, load_safetensors, shards_of
from dvis.models.weights import State, facts_in, states_in
from dvis.names import CheckpointName, parse_checkpoint, training_order

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


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint of a run: its place in training, and its file.

    Parameters
    ----------
    name : CheckpointName
        What is known of its place; its label is its name, verbatim.
    path : Path or None
        The file; None stands for torchvision's pretrained weights.
    weights_key : str or None
        Which weights of the file are meant, where several fit the model.
    """

    name: CheckpointName
    path: Path | None
    weights_key: str | None = None

    @property
    def label(self) -> str:
        """Label of the checkpoint in a store."""
        return self.name.label


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint's file holds.

    Parameters
    ----------
    states : dict of str to State
        Every dict of tensors in it, by its keys with dots; "" is the file's own. They have the
        names that the file gives them.
    facts : dict
        Plain values saved beside them: `epoch` (1-based), `phase_type`, `batch_iteration` ...
    """

    states: dict[str, State]
    facts: dict[str, Any]


def find_checkpoints(
    paths: str | Path | Sequence[str | Path] | Mapping[str, Path] | None = None,
    *,
    weights_key: str | None = None,
) -> list[CheckpointFile]:
    """Checkpoints at some paths, in training order.

    Parameters
    ----------
    paths : path, paths, or mapping of str to path, optional
        Files, taken whatever they are called, and folders, of which the files that are checkpoints
        are taken, and the folders that are one each (`checkpoint-500/model.safetensors`), which
        give it their name; where a folder has none, those of its one folder that has some. In a
        mapping, files by label. By default torchvision's pretrained weights.
    weights_key : str, optional
        Which weights of each file are meant, where several fit the model.

    Raises
    ------
    FileNotFoundError
        When a path does not exist, or a folder holds no checkpoints.
    ValueError
        When what is given is empty, the checkpoints of a folder lie in several folders (several
        runs), or two files have the same name and so would share a label.
    """
    if paths is None:
        return [CheckpointFile(name=CheckpointName(PRETRAINED), path=None)]
    asked = [paths] if isinstance(paths, str | Path) else list(paths)
    if not asked:  # a pattern that fitted no file must not measure other weights
        raise ValueError(
            "no checkpoints were given: what was given for them is empty. Give a file or a folder, "
            "or leave them out to measure the model's own weights, or pretrained ones of a name"
        )
    found: dict[str, Path] = {}
    if isinstance(paths, Mapping):
        found = {label: _only_file_at(path, label) for label, path in paths.items()}
    for path in () if isinstance(paths, Mapping) else asked:
        for label, file in checkpoints_at(Path(path).expanduser()).items():
            first = found.setdefault(label, file)
            if first.resolve() != file.resolve():
                raise ValueError(
                    f"Two checkpoints have the label {label!r}: {first} and {file}. A label is "
                    "one checkpoint of a run; give one of them, or one run at a time"
                )
    files = [
        CheckpointFile(name=parse_checkpoint(label), path=file, weights_key=weights_key)
        for label, file in found.items()
    ]
    return [files[place] for place in training_order([file.name for file in files])]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Weights and facts of a checkpoint's file, without running anything that the file names.

    The tensors are on the CPU, and those of `torch.save` are read from the file when they are first
    used: copy what must outlive a change to it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When it holds no weights, is cut short, or holds more than weights and plain values.
    """
    return _checkpoint(Path(path).expanduser(), is_for_weights=True)


def _checkpoint(path: Path, *, is_for_weights: bool) -> Checkpoint:
    content = _content(path, is_for_weights)
    states = states_in(content)
    if not states:
        there = ", ".join([str(key) for key in content][:10]) or "nothing"
        raise CheckpointError(
            f"{path} holds no weights: no dict of tensors by name. It holds: {there}. Save the "
            "weights under model_state_dict"
        )
    return Checkpoint(states=states, facts=_trainer_state(path) | facts_in(content))


def read_facts(path: str | Path) -> dict[str, Any]:
    """The plain values that a checkpoint's file holds beside its weights, which are not read.

    Numbers of numpy and of 0-d tensors come as Python's, times and paths as text; the optimizer's
    state is left out. In a folder that is a checkpoint, `trainer_state.json` adds its own.

    Raises
    ------
    FileNotFoundError, CheckpointError
        As `load_checkpoint` does.
    """
    return _checkpoint(Path(path).expanduser(), is_for_weights=False).facts


def fingerprint(path: str | Path, weights_key: str | None = None) -> int:
    """A number of 64 bits that tells two checkpoints' contents apart, whatever they are called.

    It is made of the checksums in the file's table of contents, so that no weight is read; of the
    bytes themselves where there are no checksums (safetensors, files older than torch 1.6, or saved
    without). Of an index it is that of its files; other weights of a file have another.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When it is cut short.
    """
    path = Path(path).expanduser()
    if weights_key is not None:
        text = f"{fingerprint(path)} {weights_key}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    if path.name.endswith(INDEX):
        return _digest([path, *shards_of(path)])
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
    files = list(checkpoints_at(path.expanduser()).values())
    if len(files) > 1:
        raise ValueError(
            f"{path} holds {len(files)} checkpoints, and one is to be {label!r}; give its file"
        )
    return files[0]


def _content(path: Path, is_for_weights: bool) -> Mapping[Any, Any]:
    """What a file holds, or an index's files together."""
    if path.name.endswith(INDEX):
        merged: dict[Any, Any] = {}
        for shard in shards_of(path):
            merged |= _content(shard, is_for_weights)
        return merged
    if path.is_file() and is_safetensors(path):
        state, texts = load_safetensors(path)
        return {name: _number(text) for name, text in texts.items()} | state
    content = load_safely(path, is_for_weights=is_for_weights)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, no weights. Save a dict: "
            'torch.save({"model_state_dict": model.state_dict()}, ...)'
        )
    return content


def _number(text: str) -> int | float | str:
    """The number that a text is, which is all that safetensors keeps; else the text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _trainer_state(path: Path) -> dict[str, Any]:
    """Numbers and texts of the `trainer_state.json` beside the one checkpoint of a folder."""
    file = path.with_name("trainer_state.json")
    if not tells_nothing(path) or not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError):
        return {}
    plain = content.items() if isinstance(content, dict) else ()
    return facts_in({key: value for key, value in plain if isinstance(value, int | float | str)})


def _digest(files: Iterable[Path]) -> int:
    """A number of 64 bits of some files' bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        with path.open("rb") as file:
            # Each file's own digest, so that bytes that move from one to the next are seen.
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return int.from_bytes(digest.digest(), "little")
