"""The file at a store's root, by which readers go, with a checksum of itself.

It says of each group and array what their own files say, which nobody reads beside it: a flipped
bit in it would be believed. Writing it through `GuardedStore` stamps it with the CRC-32C of its
bytes, in which the checksum's own digits count as zeros.
"""

import json
import re
from pathlib import Path
from typing import Any

import google_crc32c

from dvis.schema import SchemaError

ROOT = "zarr.json"
CHECKSUM = "dvis_checksum"  # attribute of the root
_ZEROS = b"0" * 8
_STAMP = re.compile(rb'("dvis_checksum":\s*")([0-9a-f]{8})(")')
_ATTRIBUTES = re.compile(rb'"attributes":\s*\{')


class DamagedRootError(SchemaError):
    """The file at a store's root is not what was written, nor what its groups say."""


def stamped(data: bytes) -> bytes:
    """The file at a dvis store's root with the checksum of what it says now.

    Bytes of another group's file are returned as they are.
    """
    start = _ATTRIBUTES.search(data)
    if b'"dvis_schema"' not in data or start is None:
        return data
    if not _STAMP.search(data):
        stamp = b'"%s": "%s",' % (CHECKSUM.encode(), _ZEROS)
        data = data[: start.end()] + stamp + data[start.end() :]
    return _STAMP.sub(rb"\g<1>%s\g<3>" % _checksum(data), data)


def is_whole(data: bytes) -> bool:
    """Whether the file is as it was written; one of an earlier dvis carries no checksum, and is."""
    stamp = _STAMP.search(data)
    return stamp is None or stamp[2] == _checksum(data)


def require_whole(store: Path, name: str) -> bool:
    """Whether the root's file is as it was written; where it is not, its groups must say the same.

    Raises
    ------
    DamagedRootError
        When it was changed since, and says of a group or an array what their own files do not.
    """
    data = (store / ROOT).read_bytes()
    if is_whole(data):
        return True
    try:
        different = different_nodes(store)
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as err:
        raise _damaged(name, f"it cannot be read ({type(err).__name__}: {err})") from err
    if different:
        raise _damaged(name, f"of {different[0]} it says what {different[0]}/zarr.json does not")
    return False


def different_nodes(store: Path) -> list[str]:
    """Paths of groups and arrays whose own files are not what the root says of them."""
    root = json.loads((store / ROOT).read_bytes())
    shown = root.get("consolidated_metadata", {})["metadata"]
    return [path for path, said in shown.items() if _own(store / path) != _of_node(said)]


def _damaged(name: str, why: str) -> DamagedRootError:
    return DamagedRootError(
        f"{name}/{ROOT}, which says what the store holds, is damaged: its checksum does not match, "
        f"and {why}. `dvis check --fix` writes it anew from the groups' own files"
    )


def _own(folder: Path) -> dict[str, Any]:
    """What a node's own file says; nothing where it says nothing that can be read."""
    try:
        return _of_node(json.loads((folder / ROOT).read_bytes()))
    except (AttributeError, OSError, ValueError):
        return {}


def _of_node(said: dict[str, Any]) -> dict[str, Any]:
    """What a node says of itself, without what it says of those below it."""
    return {key: value for key, value in said.items() if key != "consolidated_metadata"}


def _checksum(data: bytes) -> bytes:
    masked = _STAMP.sub(rb"\g<1>%s\g<3>" % _ZEROS, data)
    return b"%08x" % google_crc32c.value(masked)
