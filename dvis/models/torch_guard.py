"""An error that helps where torch is not installed: reading and drawing never need it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Say what to install where an import inside fails for lack of torch or torchvision.

    Raises
    ------
    ImportError
        With what needs it, and the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        if err.name not in ("torch", "torchvision"):
            raise
        raise ImportError(f"{what} needs {err.name}: pip install 'dvis[torch]'") from err
