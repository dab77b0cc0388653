"""An error that helps where torch is not installed, or what comes with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BROUGHT = (
    *("torch", "torchvision", "scipy", "sklearn"),
    *("safetensors", "threadpoolctl", "distributed"),
)
_is_told: ContextVar[bool] = ContextVar("is_told", default=False)


@contextmanager
def telling_of_torch() -> Iterator[None]:
    """Let a terminal be told meanwhile that torch is being loaded, which takes seconds."""
    token = _is_told.set(True)
    try:
        yield
    finally:
        _is_told.reset(token)


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Say what to install where an import inside fails for lack of what the extra `torch` brings.

    Raises
    ------
    ImportError
        With what needs it, and the command that installs it.
    """
    if _is_told.get() and "torch" not in sys.modules and sys.stderr.isatty():
        sys.stderr.write(f"{what}: loading torch ...\n")
    try:
        yield
    except ModuleNotFoundError as err:
        if err.name not in _BROUGHT:
            raise
        raise ImportError(f"{what} needs {err.name}: pip install 'dvis[torch]'") from err
