"""Labels of a store's Datasets: they behave as xarray's own do, and a wrong one is answered."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dvis
from dvis.store.labels import LabelIndex, label_coordinates

NAMES = ["layer1", "fc", "layer2"]  # in no order: pandas cuts ordered labels anywhere


@pytest.fixture
def labelled() -> xr.DataArray:
    array = xr.DataArray([1.0, 2.0, 3.0], dims="layer", name="value")
    return array.assign_coords(label_coordinates("layer", NAMES))


def is_kept(array: xr.DataArray | xr.Dataset) -> bool:
    return isinstance(array.xindexes["layer"], LabelIndex)


def test_a_wrong_label_is_answered_with_the_right_ones(labelled: xr.DataArray) -> None:
    with pytest.raises(KeyError) as caught:
        labelled.sel(layer="layer3")
    assert caught.value.args[0] == (
        "No layer 'layer3' in the Dataset. Layers: layer1, fc, layer2. Did you mean 'layer2'?"
    )


@pytest.mark.parametrize(
    "asked",
    [
        ["layer1", "layerX"],
        np.array(["layer1", "layerX"]),
        xr.DataArray(["layer1", "layerX"], dims="place"),
        slice("layer1", "layerX"),
        slice("layerX", None),
    ],
)
def test_wrong_labels_among_right_ones_are_named(labelled: xr.DataArray, asked: object) -> None:
    with pytest.raises(KeyError, match=r"No layer 'layerX' in .* Did you mean 'layer[12]'\?"):
        labelled.sel(layer=asked)


def test_every_wrong_label_is_named(labelled: xr.DataArray) -> None:
    with pytest.raises(KeyError, match=r"No layer 'lay'.*Nor is 'fcc' \(did you mean 'fc'\?\)"):
        labelled.sel(layer=["lay", "layer1", "fcc"])
    with pytest.raises(KeyError, match="12 are wrong in all"):
        labelled.sel(layer=[f"conv{i}" for i in range(12)])


def test_the_labels_of_a_store_are_such(sample_store: Path) -> None:
    ds = dvis.open(sample_store)
    for place in ({"layer": "layer5"}, {"layer": ["layer1", "layer5"]}):
        with pytest.raises(KeyError, match="Did you mean 'layer"):
            ds.sel(place)
        with pytest.raises(KeyError, match="Did you mean 'layer"):
            ds.activation.loc[place]


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.isel(layer=[2, 0]),
        lambda array: array.isel(layer=slice(None, None, -1)),
        lambda array: array.sel(layer=["fc", "layer1"]),
        lambda array: array.copy(deep=True),
        lambda array: copy.deepcopy(array),
        lambda array: pickle.loads(pickle.dumps(array)),
        lambda array: array.chunk(layer=1),
        lambda array: array.chunk(layer=1).compute(),
        lambda array: array.sortby("layer"),
        lambda array: array.where(array > 1, drop=True),
        lambda array: array + array.isel(layer=[1, 0]),
        lambda array: xr.concat([array[1:], array[:1]], "layer"),
        lambda array: xr.concat([array, array], "again"),
        lambda array: array.to_dataset(),
        lambda array: array.rename(layer="part").rename(part="layer"),
        lambda array: array.roll(layer=1, roll_coords=True),
        lambda array: xr.align(array, array.isel(layer=[0]), join="outer")[1],
    ],
)
def test_a_changed_array_answers_too(
    labelled: xr.DataArray, change: Callable[[xr.DataArray], xr.DataArray]
) -> None:
    changed = change(labelled)
    assert is_kept(changed)
    with pytest.raises(KeyError, match="Did you mean 'layer"):
        changed.sel(layer=["layerX"])


def test_labels_align_with_those_that_others_made(labelled: xr.DataArray) -> None:
    other = xr.DataArray([10.0, 20.0], coords={"layer": ["fc", "layer1"]}, dims="layer")
    expected = xr.DataArray([21.0, 12.0], coords={"layer": ["layer1", "fc"]}, dims="layer")
    xr.testing.assert_equal((labelled + other).sortby("layer"), expected.sortby("layer"))
    xr.testing.assert_equal((other + labelled).sortby("layer"), expected.sortby("layer"))
    assert labelled.reindex(layer=["fc", "new"]).values.tolist()[:1] == [2.0]
    assert labelled.reindex_like(other).values.tolist() == [2.0, 1.0]
    joined = xr.merge([labelled, other.rename("other")], join="outer", compat="no_conflicts")
    assert sorted(joined.layer.values.tolist()) == sorted(NAMES)
    assert xr.concat([labelled, other], "layer").layer.values.tolist() == [*NAMES, "fc", "layer1"]
    assert labelled.sel(layer=other.layer).values.tolist() == [2.0, 1.0]


def test_multi_indexes_are_not_taken_for_labels(labelled: xr.DataArray) -> None:
    stacked = labelled.expand_dims(channel=[0, 1]).stack(unit=["layer", "channel"])
    assert stacked.sel(unit=("layer1", 1)).item() == 1.0
    unstacked = stacked.unstack("unit").sel(channel=0, drop=True)
    xr.testing.assert_equal(unstacked.sortby("layer"), labelled.sortby("layer"))


def test_labelled_arrays_go_to_files(labelled: xr.DataArray, tmp_path: Path) -> None:
    labelled.to_dataset().to_netcdf(tmp_path / "a.nc")
    labelled.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    for read in (
        xr.open_dataset(tmp_path / "a.nc"),
        xr.open_zarr(tmp_path / "a.zarr", consolidated=False),
    ):
        assert read.layer.values.tolist() == NAMES
        xr.testing.assert_equal(read.value.load() + labelled, labelled * 2)
