"""How a folder that was made beside its place comes there: at once, however the writer ends.

What killed writers have left beside the place is put back, or goes, when the next one begins.
"""

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dvis.disk import remove_tree

_PARTIAL, _OLD = "partial", "old"
_HERE = -100  # AT_FDCWD of Linux: paths are as they are for open
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux


def place_beside(folder: Path) -> Path:
    """Where this process makes what is to be at a place."""
    return _beside(folder, _PARTIAL)


def put_in_place(made: Path, folder: Path) -> None:
    """Give a folder its place; what has it goes once the new one is there.

    On Linux the two change places at once. Elsewhere there is a moment between two renames, of
    which `clear_up` takes care.
    """
    old = made
    if not folder.exists():
        made.rename(folder)
    elif not _exchanged(made, folder):
        old = _beside(folder, _OLD)
        folder.rename(old)
        made.rename(folder)
    with suppress(OSError):
        remove_tree(old, root=old.parent)


def clear_up(folder: Path) -> None:
    """Put back what a killed writer took away from a place, and remove what the dead have left."""
    left = list(_left_beside(folder))
    whole = [path for kind, path in left if kind == _OLD]
    if whole and not os.path.lexists(folder):
        whole[-1].rename(folder)
    for _, path in left:
        with suppress(OSError):
            remove_tree(path, root=path.parent)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}-{_host()}-{os.getpid()}")


def _left_beside(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folders that writers of this machine which are no more have left, and of which kind."""
    if not folder.parent.is_dir():
        return
    for kind in (_PARTIAL, _OLD):
        start = f".{folder.name}.{kind}-"
        for path in sorted(folder.parent.iterdir()):
            if not path.name.startswith(start) or path.is_symlink() or not path.is_dir():
                continue
            # Before hosts were in the names, there was the number alone.
            host, _, pid = path.name.removeprefix(start).rpartition("-")
            if host in ("", _host()) and pid.isdecimal() and not _is_alive(int(pid)):
                yield kind, path


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:64]


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # it has only begun: what is there is of one that had its number before
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _exchanged(made: Path, folder: Path) -> bool:
    """Whether two folders have changed places, which not every system can do."""
    if sys.platform != "linux":
        return False
    # Python has no word for it.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    status: int = rename(_HERE, os.fsencode(made), _HERE, os.fsencode(folder), _EXCHANGE)
    return status == 0
