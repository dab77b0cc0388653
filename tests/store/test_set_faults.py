"""dvis check looks at the image sets of a store, and at groups that are of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from tiny_activations import loaded, options_of, store_of

import dvis
from dvis.disk import write_lock
from dvis.kinds.activations.plan import keep_activations
from dvis.store import thumbnails
from dvis.store.writer import restructuring

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = options_of(tmp_path_factory.mktemp("sets"), 1, layers=("fc",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thumbnails, "_SAMPLES", 10)
        keep_activations(options)
    loaded(options, "fc")
    return store_of(options)


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "net.zarr"))


def set_in(store: Path) -> Path:
    (folder,) = (store / "datasets").glob("*-*")
    return folder


def faults(store: Path, fix: bool = False) -> list[str]:
    return list(map(str, dvis.check_store(store, fix=fix)))


def test_files_that_are_missing_or_damaged_are_found(store: Path) -> None:
    assert faults(store) == []
    folder = set_in(store)
    (folder / "thumbnail/c/0/0/0/0").unlink()
    second = folder / "thumbnail/c/1/0/0/0"
    data = bytearray(second.read_bytes())
    data[40] ^= 255
    second.write_bytes(data)
    (folder / "height/c/0").unlink()
    (folder / "content/c/0").write_bytes(b"no numbers")
    found = faults(store)
    assert len(found) == 4
    for said in (
        "thumbnails 0 to 9 are missing",
        "thumbnails 10 to 19 are damaged: picture 0",
        "a height is 0",
        "its content is damaged",
    ):
        assert sum(said in each for each in found) == 1, said
    assert all(folder.name in each and "put a copy of the file" in each for each in found)


def test_ids_are_there_once(store: Path) -> None:
    group = zarr.open_group(set_in(store), mode="r+")
    ids = np.asarray(group["sample"][:])
    group["sample"][1] = ids[0]
    assert faults(store) == [
        f"image set {set_in(store).name}: the sample '{ids[0]}' is there 2 times"
    ]


def test_a_half_made_set_that_nobody_uses_is_removed(store: Path) -> None:
    half = store / "datasets/half-val-01234567"
    shutil.copytree(set_in(store) / "thumbnail/c", half / "thumbnail/c")
    assert faults(store) == [
        "image set half-val-01234567: is half made, and no group is of it; `--fix` removes it"
    ]
    with write_lock(store, "datasets/half-val-01234567"):
        assert "is being made by a process" in faults(store, fix=True)[0]
    assert half.exists()
    faults(store, fix=True)
    assert not half.exists()
    assert faults(store) == []


def test_a_half_made_set_of_a_group_is_not_removed(store: Path) -> None:
    group = zarr.open_group(set_in(store), mode="r+")
    del group.attrs["dvis_dataset"]
    assert "is half made, with 1 group of it: run the same" in faults(store, fix=True)[0]
    assert set_in(store).is_dir()


def test_groups_whose_set_is_gone_or_another_are_named(store: Path) -> None:
    name = set_in(store).name
    with restructuring(store):
        zarr.open_group(set_in(store), mode="r+").attrs["fingerprint"] = "pixels-ffff"
    (said,) = faults(store)
    assert "checkpoints, activations shapes-val/fc: is of a set of fingerprint" in said
    assert "has pixels-ffff: measure it again" in said
    with restructuring(store):
        shutil.rmtree(set_in(store))
    (said,) = faults(store)
    assert f"is of the image set {name!r}, which is not under datasets/" in said
