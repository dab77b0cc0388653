"""An error that helps where torch is not installed, or what comes with it."""

from collections.abc import Iterator
from contextlib import contextmanager

_BROUGHT = ("torch", "torchvision", "scipy", "sklearn")


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Say what to install where an import inside fails for lack of what the extra `torch` brings.

    Raises
    ------
    ImportError
        With what needs it, and the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        if err.name not in _BROUGHT:
            raise
        raise ImportError(f"{what} needs {err.name}: pip install 'dvis[torch]'") from err
