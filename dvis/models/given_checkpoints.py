"""Checkpoints that a caller has in memory, as files for the time of a measurement.

State dicts by label in, files by label out, which workers read like any others.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dvis.models.safe_load import CheckpointError
from dvis.models.scratch import scratch_folder


@contextmanager
def as_files(checkpoints: Mapping[str, Any]) -> Iterator[dict[str, Path]]:
    """Files by label, of which those that are written here are gone at the end.

    Parameters
    ----------
    checkpoints : mapping of str to path, state dict or nn.Module
        What each checkpoint is. Tensors are copied; nothing that is given changes.

    Raises
    ------
    TypeError
        When a label is no text, or a checkpoint is none of these.
    """
    with scratch_folder("checkpoints") as folder:
        files = {}
        for place, (label, given) in enumerate(checkpoints.items()):
            if not isinstance(label, str):
                raise TypeError(
                    f"a checkpoint's label is {label!r}; give text, such as {f'step_{label}'!r}"
                )
            files[label] = _file_of(label, given, folder / f"{place}.pth")
        try:
            yield files
        except CheckpointError as err:  # of a file that its caller never saw
            text = str(err)
            for label, file in files.items():
                if file.parent == folder:
                    text = text.replace(str(file), f"checkpoint {label!r}")
            raise CheckpointError(text) from err


def _file_of(label: str, given: Any, file: Path) -> Path:
    if isinstance(given, str | Path):
        return Path(given)
    state = given.state_dict() if isinstance(given, nn.Module) else given
    if not isinstance(state, Mapping):
        raise TypeError(
            f"checkpoint {label!r} is a {type(given).__name__}; give a state dict, a module or the "
            "path of a file"
        )
    torch.save(_on_cpu(state), file)
    return file


def _on_cpu(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict free of devices and of larger storages; anything else as it is."""
    if not all(isinstance(value, Tensor) for value in state.values()):
        return state
    plain = OrderedDict((name, value.detach().cpu().clone()) for name, value in state.items())
    vars(plain).update(getattr(state, "__dict__", {}))  # the versions of modules
    return plain
