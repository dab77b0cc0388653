"""Indices that point beyond their files, and what is no file: errors, without memory or waiting."""

import json
import os
import resource
import signal
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from recorded_stores import write_store
from trees import write_tree

import dvis
from dvis.kinds.features.images.blocks import ImageBlocks
from dvis.schema import SchemaError
from dvis.store.checksums import with_checksum
from dvis.store.contents import contents, open_group
from dvis.store.picture_codec import MAGIC, BlockError
from dvis.store.root_file import stamped

GROUP = "checkpoints/features/average-0"
REFUSED = (SchemaError, BlockError)


@pytest.fixture(autouse=True)
def neither_hangs_nor_takes_memory() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError("it hangs")

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(params=["jpeg", "raw"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    tree = write_tree(tmp_path, ["step_0", "step_1"], ("layer1",), 3)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1, codec=request.param)
    return tmp_path / "s.zarr"


def block_of(store: Path) -> Path:
    return next(p for p in (store / GROUP / "image" / "c").rglob("*") if p.is_file())


def blocks_of(store: Path) -> ImageBlocks:
    group: Any = open_group(store, contents(store).entries[0])
    return ImageBlocks.of(group["image"], store / GROUP / "image", store)


def put_index(store: Path, offset: int, length: int) -> None:
    """Have the first picture of a block lie elsewhere; the index has the checksum that it needs."""
    path, blocks = block_of(store), blocks_of(store)
    data = path.read_bytes()
    if blocks.codec == "raw":
        n_bytes = 16 * blocks.channels + 4
        index = struct.pack("<QQ", offset, length) + data[-n_bytes + 16 : -4]
        path.write_bytes(data[:-n_bytes] + with_checksum(index))
        return
    n_bytes = 16 * blocks.checkpoints * blocks.channels + 8
    entry = struct.pack("<QII", offset, min(length, 2**32 - 1), 0)
    index = entry + data[-n_bytes + 16 : -8]
    path.write_bytes(data[:-n_bytes] + index + struct.pack("<I4s", zlib.crc32(index), MAGIC))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # in Zarr's shards
@pytest.mark.parametrize(
    ("offset", "length"), [(2**63 - 1, 5), (2**64 - 2, 2**34), (0, 2**63), (2**34, 2**32 - 1)]
)
def test_an_index_that_points_beyond_its_file(store: Path, offset: int, length: int) -> None:
    put_index(store, offset, length)
    for chunks in (None, {}):
        with pytest.raises(REFUSED):
            dvis.open(store, chunks=chunks).image.load()
    assert any("image" in str(fault) for fault in dvis.check_store(store))
    dvis.check_store(store, fix=True)
    assert dvis.check_store(store) == []
    statuses = dvis.open(store).status.values
    assert statuses[0, 0, 0] != dvis.Status.COMPLETE
    assert (statuses[:, :, 1:] == dvis.Status.COMPLETE).all()
    dvis.open(store).image.load()


def test_a_picture_that_is_put_where_an_index_is_wrong_harms_no_other(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0", "step_1"], ["conv1"])
    path, blocks = block_of(store), blocks_of(store)
    whole = blocks.read(path)
    data = path.read_bytes()
    # The first channel's pictures are said to lie where the second's do, but one byte on.
    n_bytes = 16 * blocks.channels + 4
    second = struct.unpack("<QQ", data[-n_bytes + 16 : -n_bytes + 32])
    index = struct.pack("<QQ", second[0] + 1, second[1]) + data[-n_bytes + 16 : -4]
    path.write_bytes(data[:-n_bytes] + with_checksum(index))
    blocks.merge(path, {at: picture for at, picture in whole.items() if at[1] == 0})
    assert blocks.read(path) == whole


@pytest.mark.parametrize("what", ["pipe", "folder", "socket", "device"])
@pytest.mark.parametrize("array", ["image", "status"])
def test_what_is_no_file_is_an_error(store: Path, what: str, array: str) -> None:
    path = next(p for p in (store / GROUP / array / "c").rglob("*") if p.is_file())
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "socket":
        there = os.open(path.parent, os.O_RDONLY)  # the path itself is longer than a socket's
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{there}/{path.name}")
        os.close(there)
    else:
        path.symlink_to("/dev/zero")  # a device of its own takes rights that not everybody has
    opened = dvis.open(store)
    for chunks in (None, {}):
        with pytest.raises(REFUSED):
            dvis.open(store, chunks=chunks)[array].load()
    if array == "status":
        lost = next(p for p in (store / GROUP / "activation" / "c").rglob("*") if p.is_file())
        lost.unlink()
        with pytest.raises(REFUSED):  # which asks the status whether it is lost
            opened.activation.load()
    assert dvis.check_store(store)
    if array == "image":
        blocks = blocks_of(store)
        with pytest.raises(BlockError):
            blocks.read(path)
        if what != "device":
            with pytest.raises(BlockError):
                list(blocks.pick(path, [(0, 0)]))


def invent(store: Path, groups: dict[str, Any]) -> None:
    root = json.loads((store / "zarr.json").read_text())
    node = {"zarr_format": 3, "node_type": "group"}
    more = {path: {**node, "attributes": attrs} for path, attrs in groups.items()}
    root["consolidated_metadata"]["metadata"] |= more
    (store / "zarr.json").write_bytes(stamped(json.dumps(root).encode()))  # as a forger would


def test_twenty_thousand_invented_groups_do_not_hang(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"])
    said = {"run": "checkpoints", "dvis_kind": "features"}
    invent(
        store, {f"checkpoints/features/v{i}": {**said, "variant": f"v{i}"} for i in range(20_000)}
    )
    assert len(contents(store).entries) == 20_001
    image = dvis.open(store, "checkpoints", "average-0").image
    np.testing.assert_array_equal(image.shape[:3], (1, 1, 3))
    with pytest.raises(SchemaError):
        dvis.open(store, "checkpoints", "v7")


@pytest.mark.parametrize(
    "path", ["no/parent/features/x", "checkpoints/none/x", "/".join("d" * 2000)]
)
def test_a_group_in_a_group_that_is_not_named_is_one_error(tmp_path: Path, path: str) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"])
    invent(store, {path: {}})
    with pytest.raises(SchemaError, match="that it does not name"):
        dvis.open(store)


def test_groups_nested_a_thousand_deep_are_one_error_or_none(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"])
    invent(store, {"/".join("d" * n): {} for n in range(1, 1500)})
    try:
        opened = dvis.open(store)
    except SchemaError:
        return
    assert zarr.open_group(store, mode="r").attrs["model"] == "net"
    assert opened.sizes["checkpoint"] == 1
