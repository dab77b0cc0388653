"""The tasks of `map_units`: when and where they are computed, and what each reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from made_up_units import LABELS, SIZE, UNITS, Open, brightness, in_memory, made_up, on_dask, opened

from dvis.analysis.units import map_units
from dvis.schema import Status
from dvis.store.picture_files import decode


@pytest.fixture
def nothing_computed() -> Iterator[None]:
    """Fails where dask computes anything."""

    def refuse(*_: Any) -> None:
        raise AssertionError("something was computed before it was asked for")

    with Callback(start=refuse):
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_give_the_same(sample_store: Path, scheduler: str) -> None:
    few = opened(sample_store).isel(layer=slice(0, 2))
    lazy = map_units(few, brightness)
    with dask.config.set(num_workers=2):
        xr.testing.assert_equal(lazy.compute(scheduler=scheduler), lazy.compute())


@pytest.mark.parametrize("give", [opened, on_dask, in_memory])
def test_a_client_computes_the_same_at_once(sample_store: Path, client: Any, give: Open) -> None:
    found = map_units(give(sample_store), brightness, client=client)
    assert not found.chunks
    xr.testing.assert_equal(found, map_units(opened(sample_store), brightness).compute())


def test_a_progress_bar_changes_nothing(
    client: Any, sample_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = opened(sample_store)
    expected = map_units(ds, brightness).compute()
    assert not capsys.readouterr().err
    for where in (None, client):
        xr.testing.assert_equal(map_units(ds, brightness, client=where, progress=True), expected)
        assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("give", [opened, in_memory])
def test_nothing_is_computed_before_it_is_asked_for(
    sample_store: Path, nothing_computed: None, give: Open
) -> None:
    given = []
    lazy = map_units(give(sample_store), given.append, template=0.0)
    assert lazy.chunks
    assert not given


def test_of_dask_arrays_status_alone_is_computed() -> None:
    ds = made_up().chunk(channel=2)
    computed: list[str] = []
    with Callback(pretask=lambda key, *_: computed.append(str(key))):
        map_units(ds, brightness)
    names = {ds[name].data.name for name in ("image", "activation")}
    assert computed
    assert not any(name in key for name in names for key in computed)


@pytest.mark.parametrize("is_on_dask", [False, True])
def test_blocks_hold_units_that_are_complete_alike(is_on_dask: bool) -> None:
    ds = made_up()
    blocks: list[tuple[str, tuple[int, ...], int]] = []

    def note(block: xr.Dataset) -> xr.DataArray:
        channels = tuple(block.channel.values.tolist())
        blocks.append((block.layer.item(), channels, block.sizes["checkpoint"]))
        return block.activation.mean("checkpoint")

    template = xr.DataArray(np.float32([0]), dims="channel", name="activation")
    lazy = map_units(
        ds.chunk(channel=1) if is_on_dask else ds,
        note,
        variables=["activation"],
        by_block=True,
        template=template,
    )
    found = lazy.compute(scheduler="synchronous")
    if not is_on_dask:
        assert sorted(blocks) == [
            ("layer1", (0, 1), 4),
            ("layer1", (2,), 2),
            ("layer1", (3, 4), 4),
            ("layer2", (0, 1, 2), 4),
        ]
    mean = ds.activation.where(ds.status == Status.COMPLETE).mean("checkpoint")
    np.testing.assert_allclose(found.activation, mean, rtol=1e-6)


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_a_task_reads_no_more_than_its_bytes(at_most: int) -> None:
    sizes = []

    def note(block: xr.Dataset) -> dict[str, Any]:
        sizes.append(block.image.nbytes)
        return {"n": ("channel", block.channel.values)}

    unit_bytes = len(LABELS) * SIZE * SIZE * 3
    lazy = map_units(
        made_up(1, 9),
        note,
        by_block=True,
        template={"n": ("channel", [0.0])},
        block_bytes=at_most * unit_bytes,
    )
    np.testing.assert_array_equal(lazy.n.compute(scheduler="synchronous")[0], np.arange(9))
    assert 0 < max(sizes) <= at_most * unit_bytes


@pytest.mark.parametrize("block_bytes", [1, 2**30])
@pytest.mark.parametrize("give", [opened, on_dask])
def test_each_image_is_decoded_once_however_small_the_blocks(
    sample_store: Path, monkeypatch: pytest.MonkeyPatch, give: Open, block_bytes: int
) -> None:
    decoded = []

    def count(data: bytes, out: np.ndarray) -> np.ndarray:
        decoded.append(hash(data))
        return decode(data, out)

    monkeypatch.setattr("dvis.store.picture_codec.decode", count)
    ds = give(sample_store)
    template = map_units(ds, brightness).isel(layer=0, channel=0)
    lazy = map_units(ds, brightness, template=template, block_bytes=block_bytes)
    assert not decoded
    lazy.compute()
    assert len(decoded) == int((ds.status == Status.COMPLETE).sum())


def test_where_single_images_cannot_be_read_tasks_take_whole_chunks() -> None:
    ds = made_up(1, 12).chunk(channel=4)
    unit_bytes = len(LABELS) * SIZE * SIZE * 3
    for units_that_fit, taken in ((11, 8), (5, 4), (3, 2), (1, 1)):
        lazy = map_units(ds, brightness, block_bytes=units_that_fit * unit_bytes)
        assert lazy.chunksizes["channel"][0] == taken


def test_a_wide_grid_makes_few_chunks() -> None:
    n_layers, n_channels = 60, 40_000
    status = np.zeros((1, n_layers, n_channels), np.uint8)
    status[0, :, :3] = Status.COMPLETE
    ds = xr.Dataset(
        {"activation": (UNITS, np.ones(status.shape, np.float32)), "status": (UNITS, status)},
        {
            "checkpoint": ["a"],
            "layer": [str(i) for i in range(n_layers)],
            "channel": range(n_channels),
        },
    )
    lazy = map_units(ds, lambda unit: {"sum_of": unit.activation.sum()}, variables=["activation"])
    assert lazy.sum_of.data.npartitions <= 4096 + n_layers
    assert lazy.sum_of.sum().compute() == 3 * n_layers
