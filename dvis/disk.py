"""What is written to a disk: inside its folder, whole or not at all, and by one writer at a time.

A label is never a path, and a symbolic link inside a folder that dvis writes is never followed:
a store that somebody else made must not lead out of itself. A store's locks lie beside it, in
`.{store}.locks/`, so that nothing but Zarr's own files is inside.
"""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

PARTIAL = ".partial"  # suffix of files that are being written
MOST_NAME_BYTES = 255  # of a file or folder, on all common file systems
STORE_LOCK = "store"  # the part of a store that is its list of groups
_PATIENCE_S = 0.5
_MOST_LOCK_NAME = 200
_MOST_STORE_NAME = 220
_SEPARATORS = r"/\\:" if os.name == "nt" else "/"
_FILE_NAME = re.compile(rf"(?!\.\.?\Z)[^\0{_SEPARATORS}]+")


class StoreLockedError(TimeoutError):
    """Another process writes what this one wants to write."""


@contextmanager
def write_lock(store: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the right to write one part of a store.

    Parameters
    ----------
    store : Path
        The store's folder, by whatever links and dots it is reached; it need not exist yet.
    name : str
        The part: `"store"` for its list of groups, or a run and a kind of group.
    wait : bool
        Wait for the present holder, saying who it is, or raise at once.

    Raises
    ------
    StoreLockedError
        When another process holds it and `wait` is false.
    ValueError
        When the folder beside the store, or a file in it, is a symbolic link.
    OSError
        When the folder beside the store cannot be written.
    """
    folder = _lock_folder(store)
    inside(folder.parent, folder.name).mkdir(parents=True, exist_ok=True)
    with _held(_lock_file(store, name), f"{store} ({name})", wait=wait):
        yield


@contextmanager
def whole_store_lock(store: Path) -> Iterator[None]:
    """Hold the right to write any part of a store, of which none is being written.

    Who begins to write a part meanwhile waits: it asks for the list of groups after its own lock.

    Parameters
    ----------
    store : Path
        The store's folder.

    Raises
    ------
    StoreLockedError
        When another process writes a part of it.
    ValueError, OSError
        As `write_lock` does.
    """
    with write_lock(store, STORE_LOCK, wait=False), ExitStack() as locks:
        own = _lock_file(store, STORE_LOCK)
        for path in sorted(_lock_folder(store).glob("*.lock")):
            if path != own:
                part = unquote(path.stem)
                locks.enter_context(_held(path, f"{store} ({part})", wait=False))
        yield


@contextmanager
def _held(path: Path, what: str, *, wait: bool) -> Iterator[None]:
    """Hold a lock, and say beside it who does."""
    holder = path.with_suffix(".holder.json")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE_S if wait else 0)
    except Timeout:
        text = f"{what} is being written by {_describe(holder)}"
        if not wait:
            raise StoreLockedError(f"{text}. Wait for it to end, then run again") from None
        logger.warning("%s; waiting for it", text)
        lock.acquire()
    try:
        facts = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().isoformat(timespec="seconds"),
        }
        write_atomically(holder, json.dumps(facts).encode(), root=path.parent)
        yield
    finally:
        try:
            unlink_inside(holder, root=path.parent)
        finally:
            lock.release()


def is_held_by(store: Path, name: str, pid: int, host: str) -> bool:
    """Whether a process holds the right to write one part of a store, as seen from here.

    A worker on another machine asks so whether a path means the same folder for both.

    Parameters
    ----------
    store : Path
        The store's folder.
    name : str
        The part, as `write_lock` has it.
    pid, host : int, str
        The process, and the name of its machine.
    """
    try:
        facts = json.loads(_lock_file(store, name).with_suffix(".holder.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and (facts.get("pid"), facts.get("host")) == (pid, host)


def _lock_file(store: Path, name: str) -> Path:
    called = quote(name, safe="")
    if len(called) > _MOST_LOCK_NAME:
        # What is cut off tells it from others that begin alike.
        digest = blake2b(name.encode(), digest_size=8).hexdigest()
        called = f"{called[: _MOST_LOCK_NAME - 17]}-{digest}"
    return inside(_lock_folder(store), f"{called}.lock")


def _lock_folder(store: Path) -> Path:
    """Where the locks of a store lie, whatever path leads to it."""
    real = store.resolve()
    if len(os.fsencode(real.name)) > _MOST_STORE_NAME:
        raise ValueError(
            f"{real.name!r} is too long for the name of a store, which can have "
            f"{_MOST_STORE_NAME} bytes: what lies beside it is called after it. Give another"
        )
    return real.with_name(f".{real.name}.locks")


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text())
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


class DiskFullError(OSError):
    """No space is left for what is being written; what was committed before is safe."""


def is_file_name(name: str) -> bool:
    """Whether a text names a file or folder: no path, not too long, not "", "." or ".."."""
    n_bytes = len(name.encode(errors="surrogatepass"))
    return n_bytes <= MOST_NAME_BYTES and _FILE_NAME.fullmatch(name) is not None


def inside(root: Path, *labels: str) -> Path:
    """Path of labels below a folder, to which no symbolic link leads.

    It costs a look at each folder on the way, some millionths of a second, and nothing is kept: a
    link that was made since the last look is refused too.

    Parameters
    ----------
    root : Path
        The folder, which may be a link itself, for its caller named it; it need not exist.
    labels : str
        Names of files or folders, or several of them joined by "/".

    Raises
    ------
    ValueError
        When a label is empty, or has a part that names no file or folder (empty, ".", "..", of
        several folders), or where a link lies on the way.

    Examples
    --------
    >>> inside(Path("stores"), "seeds/1", "features").as_posix()
    'stores/seeds/1/features'
    >>> inside(Path("stores"), "../elsewhere")
    Traceback (most recent call last):
    ValueError: '../elsewhere' leads out of stores: '..' is no name of a file or folder in it
    """
    parts = [part for label in labels for part in label.split("/")]
    for part in parts:
        if len(part.encode(errors="surrogatepass")) > MOST_NAME_BYTES:
            raise ValueError(f"{part[:60]!r}... is too long for a file or folder in {root}")
        if not is_file_name(part):
            raise ValueError(
                f"{'/'.join(labels)!r} leads out of {root}: {part!r} is no name of a file or "
                "folder in it"
            )
    place = os.path.join(root, "")
    for n, part in enumerate(parts):
        place += part
        if not _is_there_and_no_link(place, root):
            return Path(place, *parts[n + 1 :])
        place += os.sep
    return Path(place)


def _is_there_and_no_link(place: str, root: Path) -> bool:
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(mode):
        raise ValueError(
            f"{place} is a symbolic link, and dvis follows none inside {root}. Put what it points "
            "to in its place, or remove it"
        )
    return True


def write_atomically(path: Path, data: bytes | memoryview, *, root: Path | None = None) -> None:
    """Write a file so that it holds all of the data or is not touched, whenever the writer dies.

    Parameters
    ----------
    path : Path
        The file, which has one writer at a time.
    data : bytes
        What it is to hold.
    root : Path, optional
        A folder that the file must lie in, as `inside` understands it.

    Raises
    ------
    ValueError
        When it lies outside of `root`, or a symbolic link leads to it.
    DiskFullError
        When there is no space left.
    """
    if root is not None:
        _require_inside(path, root)
    partial = _partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_new(partial, data)
        except FileExistsError:
            partial.unlink()  # of a killed writer, or a link that somebody put there
            _write_new(partial, data)
        partial.replace(path)
    except OSError as err:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise explain_full_disk(err, path) from err


def _partial_of(path: Path) -> Path:
    """Where a file is written before it gets its place, always the same."""
    name = path.name + PARTIAL
    if len(os.fsencode(name)) > MOST_NAME_BYTES:
        name = blake2b(os.fsencode(path.name), digest_size=16).hexdigest() + PARTIAL
    return path.with_name(name)


def write_new(path: Path, data: bytes, *, root: Path) -> None:
    """Write a file that is not there yet, below a folder that nobody reads yet.

    Raises
    ------
    ValueError
        When it lies outside of `root`, or a symbolic link leads to it.
    FileExistsError
        When it is there.
    """
    _require_inside(path, root)
    _write_new(path, data)


def unlink_inside(path: Path, *, root: Path) -> None:
    """Remove a file below a folder, if it is there.

    Raises
    ------
    ValueError
        When it lies outside of `root`, or a symbolic link leads to it.
    """
    _require_inside(path, root)
    path.unlink(missing_ok=True)


def remove_tree(path: Path, *, root: Path) -> None:
    """Remove a folder below another one with all that is in it, if it is there.

    Links in it are removed, and what they point to is not touched.

    Raises
    ------
    ValueError
        When it is `root` or lies outside of it, or a symbolic link leads to it.
    """
    _require_inside(path, root)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder that are no links, whatever else lies there."""
    return (Path(e.path) for e in _entries_below(folder) if e.is_file(follow_symlinks=False))


def links_below(folder: Path) -> Iterator[Path]:
    """Symbolic links below a folder, none of them followed."""
    return (Path(entry.path) for entry in _entries_below(folder) if entry.is_symlink())


def specials_below(folder: Path) -> Iterator[Path]:
    """What below a folder is neither a file nor a folder nor a link: pipes, sockets, devices."""
    for entry in _entries_below(folder):
        if not (entry.is_symlink() or entry.is_dir() or entry.is_file()):
            yield Path(entry.path)


def require_no_links(folder: Path) -> None:
    """Raise where a symbolic link lies below a folder that is to be rewritten.

    Raises
    ------
    ValueError
        When there is one.
    """
    for link in links_below(folder):
        inside(folder, *link.relative_to(folder).parts)


def _require_inside(path: Path, root: Path) -> None:
    try:
        parts = path.relative_to(root).parts
    except ValueError as err:
        raise ValueError(f"{path} lies outside of {root}, in which dvis writes") from err
    if not parts:
        raise ValueError(f"{path} is the folder itself, not something in it")
    inside(root, *parts)


def _write_new(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:  # which follows no link, even one that points to nothing
        file.write(data)


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    left = [str(folder)]  # not by recursion: folders may be deeper than Python goes
    while left:
        try:
            with os.scandir(left.pop()) as listed:
                entries = list(listed)
        except FileNotFoundError:  # or a writer has removed it meanwhile
            continue
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)


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
