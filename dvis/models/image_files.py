"""Which files and folders are looked at, and which files are pictures: one rule for all readers.

A folder in, names out; no file is opened.
"""

import os
from collections.abc import Iterator
from pathlib import Path

PICTURE_SUFFIXES = (
    ".jpeg",
    ".jpg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".gif",
)

# What systems, sync programs and network drives leave in folders, beside names that begin with a
# dot (`.DS_Store`, `._a.jpg`, `.Trashes`, `.snapshot`, `.sync`, `.stversions`, Jupyter's folders).
_OF_SYSTEMS = frozenset(
    {
        *("__macosx", "icon\r"),  # macOS
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
        *("$recycle.bin", "recycler", "system volume information"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "~snapshot"),  # NAS
        *("lost+found", "__pycache__"),
    }
)


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a system's: never what a user put there.

    Examples
    --------
    >>> [is_passed_over(name) for name in ("._a.jpg", "__MACOSX", "Thumbs.db", "_MG_1.JPG")]
    [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_picture(name: str) -> bool:
    """Whether a file of this name is looked at as a picture."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not is_passed_over(name)


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder that are looked at, sorted; links to folders among them."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not is_passed_over(e.name))


def pictures_below(folder: Path) -> Iterator[Path]:
    """Pictures at any depth below a folder, relative to it, in no order.

    Raises
    ------
    OSError
        When a folder cannot be listed: left out, it would change what the pictures are.
    """
    for place, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not is_passed_over(name)]
        below = Path(place).relative_to(folder)
        yield from (below / name for name in files if is_picture(name))


def _cannot_list(err: OSError) -> None:
    raise err
