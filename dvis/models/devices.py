"""Where to compute."""

from itertools import chain

import torch
from torch import nn


def find_device(name: str) -> torch.device:
    """The device of that name.

    Parameters
    ----------
    name : str
        `cpu`, or an accelerator with or without its number: `cuda`, `cuda:1`, `mps`.

    Raises
    ------
    ValueError
        When this machine has no such device; says which it has.
    """
    there = _devices()
    if name not in there and f"{name}:0" not in there:
        raise ValueError(
            f"No device {name!r} here. Devices: {', '.join(there)}. An accelerator is there where "
            "its driver works and torch was built for it"
        )
    return torch.device(name)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters, or buffers, lie; the CPU for one that has none."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _devices() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    numbers = range(torch.accelerator.device_count())
    return ["cpu", *(f"{accelerator.type}:{number}" for number in numbers)]
