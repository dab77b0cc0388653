"""Flipped bits and lost files of every array are errors, and never values."""

import random
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import dvis
from dvis.disk import StoreLockedError, write_lock
from dvis.store.checksums import is_checked
from dvis.store.growth import arrays_of

OLD = Path(__file__).parents[1] / "data" / "old_layout.zip"
FEATURES = "checkpoints/features/average-0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store that an earlier dvis made, with groups of several kinds and no checksums."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "net.zarr"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with checksums, of an old one."""
    folder = tmp_path_factory.mktemp("made")
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(folder)
    assert dvis.compact_store(folder / "net.zarr")
    return folder / "net.zarr"


def groups_of(store: Path) -> Iterator[zarr.Group]:
    for entry in dvis.contents(store).entries:
        yield zarr.open_group(store, path=entry.group, mode="r", use_consolidated=False)


def opened(store: Path, group: str) -> xr.Dataset:
    (entry,) = [each for each in dvis.contents(store).entries if each.group == group]
    return dvis.open(store, entry.run, kind=entry.kind, name=entry.name)


def everything(store: Path) -> dict[str, xr.Dataset]:
    tree = dvis.tree(store)
    return {node.path: node.to_dataset().load() for node in tree.subtree if node.variables}


def test_compact_gives_an_old_store_checksums_and_changes_no_value(old: Path) -> None:
    before = everything(old)
    assert not any(is_checked(array) for group in groups_of(old) for _, array in arrays_of(group))
    assert dvis.compact_store(old) > 0
    after = everything(old)
    assert before.keys() == after.keys()
    for path, dataset in before.items():
        xr.testing.assert_equal(dataset, after[path])
    assert dvis.check_store(old) == []
    assert dvis.compact_store(old) == 0
    unchecked = [
        array.path
        for group in groups_of(old)
        for name, array in arrays_of(group)
        if not is_checked(array) and name not in ("image", "source/replaced")
    ]
    assert unchecked == []


def test_checksums_are_not_added_beside_a_writer(old: Path) -> None:
    with write_lock(old, "checkpoints/responses"), pytest.raises(StoreLockedError):
        dvis.compact_store(old)


def files_by_array(store: Path) -> dict[str, list[Path]]:
    """Files of the chunks of every array of every group, by the array's path."""
    found: dict[str, list[Path]] = {}
    for path in sorted(store.rglob("*")):
        array = re.match(r"(.+?)/c[./]", str(path.relative_to(store)))
        if array and path.is_file() and path.stat().st_size:
            found.setdefault(array[1], []).append(path)
    return found


def is_label(store: Path, array: str) -> bool:
    """Whether it holds labels, without which `check` looks at nothing else of a group."""
    metadata: Any = zarr.open_array(store, path=array, mode="r").metadata
    return bool(metadata.dimension_names == (array.rpartition("/")[2],))


def raises(store: Path, array: str) -> bool:
    """Whether reading all of an array raises."""
    try:
        zarr.open_array(store, path=array, mode="r")[...]
    except (ValueError, RuntimeError, OSError):
        return True
    return False


@pytest.mark.parametrize("of_labels", [False, True], ids=["values", "labels"])
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_any_array_is_an_error_and_named(
    made: Path, tmp_path: Path, seed: int, of_labels: bool
) -> None:
    rng = random.Random(seed)
    store = Path(shutil.copytree(made, tmp_path / "net.zarr"))
    flipped = []
    for array, paths in files_by_array(store).items():
        if is_label(made, array) is of_labels:
            path, before = rng.choice(paths), np.asarray(zarr.open_array(made, path=array)[...])
            data = bytearray(path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            # Some bits of a frame's header mean nothing.
            if raises(store, array):
                flipped.append(array)
            else:
                np.testing.assert_array_equal(zarr.open_array(store, path=array)[...], before)
    assert len(flipped) > 10
    said = "\n".join(map(str, dvis.check_store(store)))
    named = {array for array in flipped if re.search(rf"\b{array.rpartition('/')[2]}\b", said)}
    assert {*flipped} - named == set()


@pytest.mark.parametrize("of_labels", [False, True], ids=["values", "labels"])
def test_a_lost_file_of_any_array_is_named_and_no_value(
    made: Path, tmp_path: Path, of_labels: bool
) -> None:
    whole = everything(made)
    store = Path(shutil.copytree(made, tmp_path / "net.zarr"))
    lost = {
        a: paths[0] for a, paths in files_by_array(store).items() if is_label(made, a) is of_labels
    }
    wrong, silent = [], []
    for array, path in lost.items():
        data = path.read_bytes()
        path.unlink()
        group, _, name = array.removeprefix("/").rpartition("/")
        if (dataset := whole.get(f"/{group}")) is not None and name in dataset.variables:
            try:
                if not opened(store, group)[name].load().equals(dataset[name]):
                    wrong.append(array)
            except (ValueError, RuntimeError, OSError):
                pass
        path.write_bytes(data)
    assert wrong == []
    # What is left of units whose status is lost is not due, so that it goes by itself.
    own = ("source/replaced", "source/problem", "source/info")
    for of_status in (False, True):
        gone = {
            array: path
            for array, path in lost.items()
            if not array.endswith(own) and array.endswith("/status") is of_status
        }
        kept = {path: path.read_bytes() for path in gone.values()}
        for path in kept:
            path.unlink()
        said = "\n".join(map(str, dvis.check_store(store)))
        silent += [a for a in gone if not re.search(rf"\b{a.rpartition('/')[2]}\b", said)]
        for path, data in kept.items():
            path.write_bytes(data)
    assert silent == []


def test_a_dataset_of_an_overwritten_group_raises(own_store: Path) -> None:
    opened = dvis.open(own_store)
    shutil.rmtree(own_store / FEATURES)
    with pytest.raises(ValueError, match="removed or overwritten after this Dataset was opened"):
        opened.image.values  # noqa: B018  # reading is what raises
    with pytest.raises(ValueError, match="removed or overwritten"):
        opened.activation.values  # noqa: B018
