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
    # The older one is written over, so that the other is whole whenever this is cut off.
    slot = min(_SLOTS, key=lambda name: _described(folder, name).get("step", -1))
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
    described = {slot: _described(folder, slot) for slot in _SLOTS}
    for slot in sorted(_SLOTS, key=lambda name: described[name].get("step", -1), reverse=True):
        step, data = described[slot].get("step", -1), _data(folder, slot)
        if data is None or hashlib.sha256(data).hexdigest() != described[slot].get("sha256"):
            continue  # never written, or its writer died in between
        if described[slot].get("facts") != facts:
            raise ValueError(
                f"{folder} has the state of another training, at step {step}: other options, "
                "rows or starting weights. Give another folder, or remove it to begin anew"
            )
        return step, load(data)
    return None


def _described(folder: Path, slot: str) -> dict[str, Any]:
    """What stands beside a slot, or nothing; its state may be another by now."""
    try:
        described = json.loads(inside(folder, f"state-{slot}.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    is_known = isinstance(described, dict) and isinstance(described.get("step"), int)
    return described if is_known else {}


def _data(folder: Path, slot: str) -> bytes | None:
    try:
        return inside(folder, f"state-{slot}.safetensors").read_bytes()
    except FileNotFoundError:
        return None
