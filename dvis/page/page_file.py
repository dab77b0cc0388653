"""A file of a page that is a folder: its path, and what makes its content."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dvis.page.plain import as_script

DATA, PICTURES = "data", "pictures"


@dataclass(frozen=True)
class PageFile:
    """A file of a page: its path in the folder, its kind, and what makes its content.

    One that others may or may not point to is written after them, where it `is_wanted` by then.
    """

    path: str
    kind: str
    make: Callable[[], bytes]
    is_wanted: Callable[[], bool] | None = None


def document_file(name: str, make: Callable[[], Mapping[str, Any]]) -> PageFile:
    """A document, as a script that hands it to the page."""
    return PageFile(
        f"{DATA}/{file_name(name)}.js", name.partition("/")[0], partial(_script, name, make)
    )


def file_name(name: str) -> str:
    """What the file of a document or a picture is called, as the page's scripts find it."""
    return name.replace("/", "_")


def _script(name: str, make: Callable[[], Mapping[str, Any]]) -> bytes:
    return as_script(name, make())
