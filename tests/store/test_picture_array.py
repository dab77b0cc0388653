"""Pictures as an opened store gives them: any part of them, decoded where they are handed out."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from trees import write_tree

import dvis
from dvis.schema import SchemaError
from dvis.store.picture_codec import BlockError

LAYERS = ("layer1", "layer2")
N_CHANNELS = 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    labels = [f"epoch_{i}" for i in range(18)]  # more than lie in one file
    tree = write_tree(folder, labels, LAYERS, N_CHANNELS)
    dvis.ingest_tree(tree, store=folder / "s.zarr", workers=1)
    return folder / "s.zarr"


@pytest.fixture(scope="module")
def pixels(store: Path) -> np.ndarray:
    """All of them, by Zarr alone."""
    return np.asarray(zarr.open_array(store / "checkpoints/features/average-0/image", mode="r")[:])


PARTS: list[dict[str, Any]] = [
    {},
    {"checkpoint": 3, "layer": 1, "channel": 7},
    {"layer": 0, "channel": 5},
    {"checkpoint": slice(None, None, -1), "channel": slice(2, 20, 3)},
    {"checkpoint": [17, 0, 0, 16], "channel": [19, 2]},
    {"checkpoint": [], "layer": 1},
    {"y": 3, "x": slice(2, 9)},
    {"layer": 1, "y": [5, 1], "x": slice(None, None, -2), "rgb": 0},
    {"checkpoint": 4, "rgb": [2, 0, 1]},
]


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_any_part_is_what_zarr_gives(store: Path, pixels: np.ndarray, part: dict[str, Any]) -> None:
    image = dvis.open(store)["image"]
    expected = xr.DataArray(pixels, dims=image.dims).isel(part)
    np.testing.assert_array_equal(image.isel(part).values, expected.values)
    on_dask = dvis.open(store, chunks={})["image"].isel(part)
    np.testing.assert_array_equal(on_dask.compute(scheduler="threads").values, expected.values)


def test_single_points_are_what_zarr_gives(store: Path, pixels: np.ndarray) -> None:
    image = dvis.open(store)["image"]
    points = {
        "checkpoint": xr.DataArray([17, 0, 5], dims="p"),
        "channel": xr.DataArray([0, 19, 0], dims="p"),
    }
    expected = xr.DataArray(pixels, dims=image.dims).isel(points)
    xr.testing.assert_equal(image.drop_vars(image.coords).isel(points), expected)


def test_it_does_not_go_through_zarr(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise AssertionError("Zarr was asked for pictures")

    image = dvis.open(store)["image"]
    monkeypatch.setattr("dvis.store.picture_codec.JpegCodec._decode_partial_single", refuse)
    assert image.isel(layer=0, channel=slice(3)).values.any()


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    shutil.copytree(store, tmp_path / "own.zarr")
    return tmp_path / "own.zarr"


def file_of(store: Path, *index: int) -> Path:
    key = "/".join(map(str, ("c", *index, 0, 0, 0)))
    return store / "checkpoints/features/average-0/image" / key


def test_a_damaged_picture_is_an_error_and_the_others_are_not(own: Path) -> None:
    path = file_of(own, 1, 0, 0)
    data = bytearray(path.read_bytes())
    data[30] ^= 255
    path.write_bytes(data)
    image = dvis.open(own)["image"].isel(layer=0)
    with pytest.raises(BlockError, match="picture 0 of a chunk is damaged"):
        image.values  # noqa: B018
    assert image.isel(channel=slice(1, None)).values.any()


def test_a_lost_file_is_an_error(own: Path) -> None:
    image = dvis.open(own)["image"]
    file_of(own, 1, 1, 0).unlink()
    with pytest.raises(SchemaError, match="is missing"):
        image.isel(layer=1, channel=0).values  # noqa: B018
    assert image.isel(layer=1, channel=0, checkpoint=slice(16)).values.any()


def test_a_store_made_anew_is_an_error(own: Path, store: Path) -> None:
    image = dvis.open(own)["image"].isel(layer=1, channel=0)
    tree = store.parent / "feature_images" / "resnet18"
    dvis.ingest_tree(tree, store=own, workers=1, overwrite=True)
    with pytest.raises(SchemaError, match="Open it again"):
        image.values  # noqa: B018


def test_what_is_not_there_is_the_fill_value(store: Path) -> None:
    tree = write_tree(store.parent / "sparse", ["epoch_0"], ("layer1",), 2)
    write_tree(store.parent / "sparse", ["epoch_1"], ("layer2",), 1)
    dvis.ingest_tree(tree, store=store.parent / "sparse.zarr", workers=1)
    image = dvis.open(store.parent / "sparse.zarr")["image"]
    found = image.any(("y", "x", "rgb")).values
    np.testing.assert_array_equal(found, [[[1, 1], [0, 0]], [[0, 0], [1, 0]]])
