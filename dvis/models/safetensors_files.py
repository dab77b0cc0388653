"""Weights in files of safetensors, whole or in shards, and shards of `torch.save` with an index.

The format holds tensors and texts, and runs no code. An index is a json that names the file of each
weight: `model.safetensors.index.json`, `pytorch_model.bin.index.json`.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from dvis.disk import is_file_name
from dvis.models.safe_load import CheckpointError

INDEX = ".index.json"
_LONGEST_HEADER = 100_000_000  # bytes, by the format's own specification


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header's brace."""
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) < 9 or start[8:] != b"{":
        return False
    length = int.from_bytes(start[:8], "little")
    return 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8)


def load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights of a file on the CPU, and the texts that were saved with them.

    Raises
    ------
    CheckpointError
        When the file is damaged.
    ImportError
        When safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as err:
        raise ImportError(f"{path} needs safetensors: pip install 'dvis[torch]'") from err
    try:
        # Numbers of kinds that torch lacks make it raise what it likes.
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, AttributeError) as err:
        raise CheckpointError(f"{path} is damaged: {err}. Save or fetch it again") from err


def shards_of(index: Path) -> list[Path]:
    """Files that an index names, in order of their names.

    Raises
    ------
    CheckpointError
        When the index is damaged, or names files that are elsewhere or nowhere.
    """
    try:
        content: Any = json.loads(index.read_text())
        names = sorted(set(content["weight_map"].values()))
        is_sound = bool(names) and not any(name.endswith(INDEX) for name in names)
        is_sound &= all(map(is_file_name, names))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise CheckpointError(
            f"{index} is no index of shards: a json whose `weight_map` names, for each weight, a "
            "file beside it. Save or fetch it again"
        )
    shards = [index.with_name(name) for name in names]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(
            f"{index} names {len(shards)} files, of which {len(missing)} are missing "
            f"({', '.join(missing[:3])}). Put them beside it"
        )
    return shards
