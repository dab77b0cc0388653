"""Temporary folders that do not outlive their process, however it ends."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "lock"  # held as long as the process is: an operating system's lock dies with it
_YOUNG_SECONDS = 60.0  # within which one may be made, but not be held yet


@contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """A temporary folder, gone at the end; those that killed processes left go first.

    Parameters
    ----------
    what : str
        What it is for, in its name.

    Yields
    ------
    Path
        An empty folder.
    """
    prefix = f"dvis-{what}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_dead(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with FileLock(folder / _LOCK):
            (folder / "files").mkdir()
            yield folder / "files"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_dead(folder: Path) -> None:
    """Remove a folder of which nobody holds the lock; another user's cannot be."""
    try:
        if folder.is_symlink() or time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
            return
        with FileLock(folder / _LOCK, timeout=0):
            shutil.rmtree(folder)
    except (OSError, Timeout):
        return
