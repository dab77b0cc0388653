"""Training state in two slots on disk, of which one is whole whenever the writer dies."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from dvis.disk import inside, write_atomically

_SLOTS = ("a", "b")


def save_slot(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: str) -> None:
    """Write a state over the older of the two slots.

    Parameters
    ----------
    folder : Path
        Where the slots lie; it need not exist.
    step : int
        Steps that were taken.
    tensors : mapping of str to Tensor
        The state.
    facts : str
        What a state must share with the training that goes on from it.

    Raises
    ------
    ValueError
        When a symbolic link lies in the folder.
    DiskFullError
        When there is no space left.
    """
    newest = _newest_first(folder)
    taken = newest[0][1] if newest else _SLOTS[-1]
    slot = next(name for name in _SLOTS if name != taken)
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    described = {"step": step, "facts": facts, "sha256": hashlib.sha256(data).hexdigest()}
    write_atomically(inside(folder, f"state-{slot}.safetensors"), data, root=folder)
    write_atomically(
        inside(folder, f"state-{slot}.json"), json.dumps(described).encode(), root=folder
    )


def load_newest(folder: Path, facts: str) -> tuple[int, dict[str, Tensor]] | None:
    """Steps and state of the newest slot that is whole, or None where there is none.

    Raises
    ------
    ValueError
        When it is of another training.
    """
    for step, slot, described in _newest_first(folder):
        data = inside(folder, f"state-{slot}.safetensors").read_bytes()
        if described["facts"] != facts:
            raise ValueError(
                f"{folder} has the state of another training, at step {step}: other options, "
                "rows or starting weights. Give another folder, or remove it to begin anew"
            )
        return step, load(data)
    return None


def _newest_first(folder: Path) -> list[tuple[int, str, dict[str, Any]]]:
    """Steps, slots and descriptions of the slots that are whole."""
    found = []
    for slot in _SLOTS:
        try:
            described = json.loads(inside(folder, f"state-{slot}.json").read_bytes())
            data = inside(folder, f"state-{slot}.safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() == described["sha256"]:
                found.append((int(described["step"]), slot, described))
        except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
            continue  # never written, or its writer died in between
    return sorted(found, key=lambda entry: entry[0], reverse=True)
