"""The checkpoint nearest to a step or an epoch, by `ds.dvis.at` and by xarray's own means."""

import math
from typing import Any

import pytest
import xarray as xr
from trees import CHECKPOINTS, write_tree

import dvis

TRAIN = [label for label in CHECKPOINTS if "train" in label]  # steps 0, 200, 1000, 2200


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    root = tmp_path_factory.mktemp("nearest")
    dvis.ingest_tree(
        write_tree(root, TRAIN, ("layer1",), 2),
        store=root / "s.zarr",
        workers=1,
        batches_per_epoch=2000,
    )
    return dvis.open(root / "s.zarr")


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"step": 0}, 0),
        ({"step": -5}, 0),
        ({"step": 599}, 1),
        ({"step": 600}, 2),  # as near to both: the later
        ({"step": 10**9}, 3),
        ({"epoch": 0}, 2),  # the last of that epoch
        ({"epoch": 0.9}, 3),
    ],
)
def test_the_nearest_checkpoint_is_taken(
    opened: xr.Dataset, asked: dict[str, Any], place: int
) -> None:
    found = opened.dvis.at(**asked)
    assert found.checkpoint.item() == TRAIN[place]
    xr.testing.assert_equal(found, opened.isel(checkpoint=place))


def test_several_steps_keep_the_dim(opened: xr.Dataset) -> None:
    found = opened.dvis.at(step=[1100, 0])
    assert found.step.values.tolist() == [1000, 0]
    assert found.activation.dims == ("checkpoint", "layer", "channel")
    assert found.dvis.at(step=3).checkpoint.item() == TRAIN[0]


def test_checkpoints_without_a_step_are_never_the_nearest(opened: xr.Dataset) -> None:
    some = opened.assign_coords(step=opened.step.where(opened.step != 200))
    assert some.dvis.at(step=199).step.item() == 0


@pytest.mark.parametrize(
    ("change", "asked", "text"),
    [
        (lambda ds: ds, {}, "only one of them"),
        (lambda ds: ds, {"step": 1, "epoch": 1}, "only one of them"),
        (lambda ds: ds, {"step": math.nan}, "give a number"),
        (lambda ds: ds.isel(checkpoint=0), {"step": 1}, "no dim 'checkpoint'"),
        (lambda ds: ds.drop_vars("step"), {"step": 1}, "Give epoch=..., which is known"),
        (lambda ds: ds.drop_vars(["step", "epoch"]), {"epoch": 1}, r"by name: ds.sel\(check"),
    ],
)
def test_what_cannot_be_told_is_answered(
    opened: xr.Dataset, change: Any, asked: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        change(opened).dvis.at(**asked)


def test_swapped_for_steps_xarray_finds_the_nearest_itself(opened: xr.Dataset) -> None:
    swapped = opened.swap_dims(checkpoint="step")
    # The method is for the step; the layer beside it is a name.
    found = swapped.sel(step=1100, layer="layer1", method="nearest")
    assert found.checkpoint.item() == TRAIN[2]
    assert swapped.activation.sel(step=[0, 3000], method="nearest").step.values.tolist() == [
        0,
        2200,
    ]


@pytest.mark.parametrize("asked", ["epoch_3", ["epoch_3"], 1000])
def test_the_nearest_of_names_says_that_steps_are_meant(opened: xr.Dataset, asked: Any) -> None:
    for chosen in (opened, opened.activation):
        with pytest.raises(KeyError, match=r"Checkpoints: (.*)take ds\.dvis\.at\(step=1000\)"):
            chosen.sel(checkpoint=asked, method="nearest")
    with pytest.raises(KeyError, match=r"Did you mean 'layer1'\?['\"]?$"):
        opened.sel(layer="layer3", method="nearest")


def test_a_step_that_is_no_number() -> None:
    ds = xr.Dataset(coords={"step": ("checkpoint", [0, 10])})
    with pytest.raises(TypeError, match="step is 'a'; give a number"):
        ds.dvis.at(step="a")
