"""One writer a group: operating-system locks that die with their process.

A store's locks lie beside it, in `.{store}.locks/`, so that nothing but Zarr's own files is inside.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_PATIENCE_S = 0.5


class StoreLockedError(TimeoutError):
    """Another process writes what this one wants to write."""


@contextmanager
def write_lock(store: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the right to write one part of a store.

    Parameters
    ----------
    store : Path
        The store's folder; it need not exist yet.
    name : str
        The part: `"store"` for its list of groups, or a run and a kind of group.
    wait : bool
        Wait for the present holder, saying who it is, or raise at once.

    Raises
    ------
    StoreLockedError
        When another process holds it and `wait` is false.
    OSError
        When the folder beside the store cannot be written.
    """
    folder = store.with_name(f".{store.name}.locks")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{quote(name, safe='')[:200]}.lock"
    holder = path.with_suffix(".holder.json")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE_S if wait else 0)
    except Timeout:
        text = f"{store} ({name}) is being written by {_describe(holder)}"
        if not wait:
            raise StoreLockedError(f"{text}. Wait for it to end, then run again") from None
        logger.warning("%s; waiting for it", text)
        lock.acquire()
    try:
        holder.write_text(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now().isoformat(timespec="seconds"),
                }
            )
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text())
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


class DiskFullError(OSError):
    """No space is left for what is being written; what was committed before is safe."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it holds all of the data or is not touched, whenever the writer dies."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as err:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise explain_full_disk(err, path) from err


def explain_full_disk(err: OSError, path: Path) -> OSError:
    """The same error, or a DiskFullError where there is no space for it."""
    if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or isinstance(err, DiskFullError):
        return err
    return DiskFullError(
        err.errno,
        f"{os.strerror(err.errno or 0)}: what was committed before is safe. Make space and run "
        "the same command again; it goes on where it stopped",
        str(path),
    )


def remove_tree(root: Path, path: str) -> None:
    """Remove a folder inside a root."""
    shutil.rmtree(root / path, ignore_errors=True)
