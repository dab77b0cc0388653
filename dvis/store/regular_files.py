"""Files of a store, opened so that nothing which lies in a file's place can hang their reader."""

import errno
import os
import stat
from io import FileIO
from pathlib import Path

_TO_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class NoFileError(ValueError):
    """A pipe, a folder or a device lies where a file should be: reading it could never end."""


def open_file(path: Path) -> FileIO:
    """A file, open for reading.

    Raises
    ------
    FileNotFoundError
        When nothing is there.
    NoFileError
        When something else than a file is there.
    """
    try:
        # A pipe would otherwise be waited for until somebody writes to it.
        file = FileIO(os.open(path, _TO_READ), "rb")
    except OSError as err:
        if err.errno in (errno.EISDIR, errno.ENXIO):  # a folder, a socket
            raise NoFileError(_no_file(path)) from err
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFileError(_no_file(path))
    return file


def _no_file(path: Path) -> str:
    return f"{path} is no file, but a pipe, a folder or a device: remove it, then run again"
