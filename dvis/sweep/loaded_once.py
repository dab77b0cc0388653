"""What workers would each load, loaded once by the process that forks them."""

from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

# Torch's modes and optimisers import its compiler.
_NAMES = ("dvis.sweep.worker", "dask.array", "torch._dynamo", "torchvision.transforms.v2")


def load(names: Iterable[str]) -> None:
    """Import modules; one that fails in whatever way is for the worker that needs it."""
    for name in names:
        with suppress(Exception):  # a torchvision that does not fit torch raises a RuntimeError
            import_module(name)


load(_NAMES)
