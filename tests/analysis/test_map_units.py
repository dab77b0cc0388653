"""Any function over all units: what it is given, and what comes back."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from made_up_units import LABELS, UNITS, Open, brightness, in_memory, made_up, on_dask, opened
from zarr.storage import MemoryStore

import dvis
from dvis.analysis.units import map_units
from dvis.schema import SchemaError, Status


def brightness_by_hand(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The same over all at once."""
    dataset = dataset.reset_coords(drop=True)
    is_complete = dataset.status == Status.COMPLETE
    places = xr.DataArray(np.arange(dataset.sizes["checkpoint"]), dims="checkpoint")
    last = places.where(is_complete, -1).argmax("checkpoint")
    is_there = is_complete.any("checkpoint")
    return {
        "brightness": dataset.image.where(is_complete)
        .mean(["y", "x", "rgb"])
        .transpose("layer", "channel", "checkpoint"),
        "colour": dataset.image.isel(checkpoint=last).mean(["y", "x"]).where(is_there),
        "count": is_complete.sum("checkpoint").where(is_there),
    }


@pytest.mark.parametrize("give", [opened, on_dask, in_memory])
def test_every_unit_is_mapped_to_its_place(sample_store: Path, give: Open) -> None:
    expected = brightness_by_hand(in_memory(sample_store))
    found = map_units(give(sample_store), brightness).compute()
    for name, values in expected.items():
        assert found[name].dims == values.dims
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
    ds = opened(sample_store)
    assert found.indexes["checkpoint"].equals(ds.indexes["checkpoint"])
    assert found.indexes["layer"].equals(ds.indexes["layer"])
    np.testing.assert_array_equal(found.step, ds.step)


def test_units_that_are_not_complete_are_never_given() -> None:
    seen: list[tuple[str, int, tuple[str, ...]]] = []

    def note(unit: xr.Dataset) -> float:
        labels = tuple(unit.checkpoint.values.tolist())
        seen.append((unit.layer.item(), unit.channel.item(), labels))
        return 1.0

    found = map_units(made_up(), note, template=0.0).note.compute(scheduler="synchronous")
    everywhere, some = tuple(LABELS), ("first", "third")
    assert Counter(seen) == Counter(
        [("layer1", c, some if c == 2 else everywhere) for c in range(5)]
        + [("layer2", c, everywhere) for c in range(3)]
    )
    np.testing.assert_array_equal(found, [[1] * 5, [1, 1, 1, np.nan, np.nan]])


@pytest.mark.parametrize("give", [opened, on_dask])
def test_a_damaged_image_of_a_failed_unit_is_not_read(own_store: Path, give: Open) -> None:
    group = zarr.open_group(own_store, path="checkpoints/features/average-0")
    block = own_store / "checkpoints/features/average-0/image/c/0/0/0/0/0/0"
    data = bytearray(block.read_bytes())
    data[len(data) // 4] ^= 255  # a byte of some picture
    block.write_bytes(bytes(data))
    ds = give(own_store)
    there = opened(own_store)
    faulty = [
        (row, channel)
        for row, channel in np.argwhere(ds.status[:, 0].values == Status.COMPLETE).tolist()
        if not _is_readable(there.image[row, 0, channel])
    ]
    assert len(faulty) == 1
    (row, channel) = faulty[0]
    lazy = map_units(ds, brightness)
    with pytest.raises(ValueError, match="damaged"):
        lazy.compute()
    labels = np.asarray(group["checkpoint"][:]).tolist()
    stored = labels.index(ds.checkpoint.values[row])
    assert group["layer"][0] == ds.layer[0]
    group["status"][stored, 0, channel] = int(Status.FAILED)
    found = map_units(give(own_store), brightness).brightness.isel(layer=0, channel=channel)
    assert found.isnull().values[row]
    assert found.notnull().sum() > 5


def _is_readable(image: xr.DataArray) -> bool:
    try:
        image.compute()
    except ValueError:
        return False
    return True


def test_only_what_is_selected_is_mapped(sample_store: Path) -> None:
    ds = opened(sample_store)
    everything = map_units(ds, brightness).compute()
    one = map_units(ds.sel(layer="layer4", channel=0), brightness)
    assert one.brightness.dims == ("checkpoint",)
    xr.testing.assert_allclose(one.compute(), everything.sel(layer="layer4", channel=0))
    several = map_units(
        ds.sel(layer="layer4", channel=[1, 0]).isel(checkpoint=slice(3, 7)), brightness
    )
    expected = everything.brightness.sel(layer="layer4", channel=[1, 0]).isel(
        checkpoint=slice(3, 7)
    )
    xr.testing.assert_allclose(several.brightness.compute(), expected)


def test_a_result_goes_where_its_labels_say() -> None:
    ds = made_up()
    lazy = map_units(
        ds,
        lambda unit: {"activation": unit.activation[::-2]},
        variables=["activation"],
    )
    every_other = ds.activation.where(ds.status == Status.COMPLETE)
    found = lazy.activation.compute().transpose(*UNITS)
    np.testing.assert_array_equal(found[:, 0, 0], every_other[:, 0, 0].where([False, True] * 2))
    np.testing.assert_array_equal(
        found[:, 0, 2], every_other[:, 0, 2].where([False, False, True, False])
    )


def test_own_dims_keep_their_labels_and_fillers_are_as_asked() -> None:
    def quantiles(unit: xr.Dataset, at: list[float]) -> xr.Dataset:
        levels = unit.activation.quantile(at)
        return xr.Dataset(
            {
                "levels": levels,
                "n": unit.sizes["checkpoint"],
                "which": unit.channel.item(),
                "name": "x",
            }
        )

    found = map_units(
        made_up(),
        quantiles,
        variables=["activation"],
        kwargs={"at": [0.25, 0.75]},
        fill_value={"which": -1},
    ).compute()
    assert found.levels.dims == ("layer", "channel", "quantile")
    assert found["quantile"].values.tolist() == [0.25, 0.75]
    assert found.which.dtype.kind == "i"
    assert found.which.values[1].tolist() == [0, 1, 2, -1, -1]
    assert found.n.dtype == np.float64
    assert found.name.values[1].tolist() == ["x", "x", "x", "", ""]


def test_the_function_never_sees_the_callers_data_change() -> None:
    ds = made_up()
    before = ds.copy(deep=True)
    map_units(ds, brightness).compute()
    xr.testing.assert_identical(ds, before)


@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda unit: unit.image.values, TypeError, "dims have no names"),
        (lambda unit: None, TypeError, "gave None; perhaps a `return` is missing"),
        (lambda unit: {"a": None}, TypeError, "gave None"),
        (
            lambda unit: 1.0 if unit.sizes["checkpoint"] == 4 else None,
            TypeError,
            "NaN where there is nothing",
        ),
        (lambda unit: unit.activation.expand_dims("layer"), ValueError, "neither dim"),
        (lambda unit: {"n": ("k", np.arange(unit.sizes["checkpoint"]))}, ValueError, "same dims"),
        (lambda unit: {"n": ("n", np.arange(4))}, ValueError, "no variables, only coordinates"),
        (lambda unit: {"n": ("checkpoint", np.arange(3))}, ValueError, "not those that"),
        (
            lambda unit: {"a": 1} if unit.sizes["checkpoint"] == 2 else {"a": 1, "b": 1},
            ValueError,
            "gave no 'b' of layer1, channel 2, only a",
        ),
        (
            lambda unit: xr.DataArray([1], {"k": [unit.sizes["checkpoint"]]}, name="k_of"),
            ValueError,
            "other labels along k",
        ),
    ],
)
def test_errors_say_what_to_give(
    function: Callable[[xr.Dataset], Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        map_units(made_up(), function, variables=["image", "activation"]).compute()


def test_an_error_of_the_function_says_of_which_unit() -> None:
    def fail(unit: xr.Dataset) -> float:
        if unit.channel == 4:
            raise RuntimeError("no such thing")
        return 0.0

    with pytest.raises(RuntimeError, match="no such thing") as caught:
        map_units(made_up(), fail, template=0.0).compute(scheduler="synchronous")
    assert caught.value.__notes__ == ["in layer1, channel 4"]


def test_what_is_missing_is_named() -> None:
    ds = made_up()
    with pytest.raises(SchemaError, match=r"no response, only .*Open one with dvis\.open"):
        map_units(ds, brightness, variables=["response"])
    with pytest.raises(ValueError, match="There are image, activation, status"):
        map_units(ds, brightness, variables=[])
    with pytest.raises(SchemaError, match="no status"):
        map_units(ds.drop_vars("status"), brightness)
    with pytest.raises(SchemaError, match="Select with a list"):
        map_units(ds.isel(checkpoint=0), brightness)
    with pytest.raises(ValueError, match="No layer is left"):
        map_units(ds.isel(layer=[]), brightness)
    with pytest.raises(TypeError, match="is no Dataset but 5, of type int"):
        map_units(5, brightness)


def test_a_store_in_memory_is_mapped(sample_store: Path) -> None:
    store = MemoryStore()
    for file in sample_store.rglob("*"):
        if file.is_file():
            key = str(file.relative_to(sample_store))
            store._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(file.read_bytes())
    found = map_units(dvis.open(store), brightness).compute()
    xr.testing.assert_equal(found, map_units(opened(sample_store), brightness).compute())
