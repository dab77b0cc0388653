"""A curve that lies in several chunks is read whole, whatever a writer does meanwhile."""

import asyncio
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import made_up_chains
import numpy as np
import obstore
import pytest
import xarray as xr
import zarr
from made_up_responses import GROUP as RESPONSES
from made_up_responses import LABELS as RESPONSE_LABELS
from made_up_responses import UNITS, write_responses
from zarr.storage import LocalStore, ObjectStore, WrapperStore

import dvis
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.words import LOSS_CHUNK_STEPS
from dvis.names import parse_checkpoint
from dvis.schema import Status, group_path
from dvis.store import steady
from dvis.store.group import Group
from dvis.store.replaced import replacements
from dvis.store.writer import create_store, restructuring

LABELS = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3)]
LAYERS, N_CHANNELS = ("layer1", "layer2"), 4
N_STEPS = 2 * LOSS_CHUNK_STEPS + 8
GROUP = group_path("checkpoints", "features", "average-0")
OLD, NEW = 1, 2


class WatchedStore(WrapperStore):
    """A store that tells of each read of some keys before it happens: the 1st, the 2nd, ..."""

    def __init__(self, store: Any, keys: str = "", before: Callable[[int], Any] = id) -> None:
        super().__init__(store)
        self.keys, self.before, self.numbers = keys, before, count(1)

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        if key.startswith(self.keys):
            await asyncio.to_thread(self.before, next(self.numbers))
        return await super().get(key, *args, **kwargs)

    def get_sync(self, key: str, *args: Any, **kwargs: Any) -> Any:
        if key.startswith(self.keys):
            self.before(next(self.numbers))
        return super().get_sync(key, *args, **kwargs)

    def with_read_only(self, read_only: bool = False) -> "WatchedStore":
        return self


@pytest.fixture(autouse=True)
def one_chunk_at_a_time() -> Iterator[None]:
    with zarr.config.set({"async.concurrency": 1, "codec_pipeline.max_workers": 1}):
        yield


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two layers of old curves in three chunks each; the last channel has none yet."""
    path = tmp_path / "net.zarr"
    create_store(path, "net")
    layout: dict[str, Any] = {"height": 8, "width": 8, "codec": "raw"}
    with restructuring(path):
        group = FeatureGroup.create(path, "checkpoints", "average-0", **layout)
        names = [parse_checkpoint(label) for label in LABELS]
        group.grow_units(names, dict.fromkeys(LAYERS, N_CHANNELS))
    for layer in range(len(LAYERS)):
        write(group, OLD, layer=layer, channels=range(N_CHANNELS - 1))
    finish_import(path)
    return path


def opened(store: Path) -> FeatureGroup:
    group = FeatureGroup.existing(store, "checkpoints", "average-0")
    assert group is not None
    return group


def write(
    group: FeatureGroup, version: int, *, layer: int = 0, channels: Iterable[int] = range(3)
) -> None:
    """Write a version of some units at all checkpoints, as whoever writes a group does."""
    rows, of_channels = (axis.ravel() for axis in np.meshgrid(range(len(LABELS)), [*channels]))
    curves = [curve_of(version, row, c) for row, c in zip(rows, of_channels, strict=True)]
    places = {"checkpoint": rows, "layer": layer, "channel": of_channels}
    group.write(places, {"loss": np.stack(curves)}, np.full(len(rows), int(Status.COMPLETE)))


def begin_to_write(group: FeatureGroup, version: int) -> None:
    """Replace the first chunk of one curve, as a writer does that is killed then."""
    group.retract({"checkpoint": np.array([1]), "layer": 0, "channel": np.array([1])})
    group.array("loss")[1, 0, 1, :LOSS_CHUNK_STEPS] = curve_of(version, 1, 1)[:LOSS_CHUNK_STEPS]


def curve_of(version: int, row: int, channel: int) -> np.ndarray:
    return (1e6 * version + 1e5 * row + 1e4 * channel + np.arange(N_STEPS)).astype(np.float32)


class DyingAtTheSecond:
    """In place of how an array is written: the second of all writes is the last."""

    def __init__(self) -> None:
        self.write, self.numbers = zarr.Array.__setitem__, count(1)

    def __get__(self, array: Any, _: Any) -> Callable[..., None]:
        def write(key: Any, value: Any) -> None:
            number = next(self.numbers)
            if number <= 2:
                self.write(array, key, value)
            if number >= 2:  # the counter after it too, as by SIGKILL
                raise KeyboardInterrupt

        return write


def versions_in(curve: np.ndarray, row: int = 1, channel: int = 1) -> set[int]:
    """Versions that the values of a unit's curve are of; 0 stands for NaN."""
    assert curve.shape == (N_STEPS,)
    found = {v for v in (OLD, NEW) if (curve == curve_of(v, row, channel)).any()}
    is_known = np.isin(curve, [curve_of(v, row, channel) for v in found]) | np.isnan(curve)
    assert is_known.all()
    return found | ({0} if np.isnan(curve).any() else set())


def watched(store: Path, before: Callable[[int], Any], **how: Any) -> xr.Dataset:
    """The store, with something run before each read of a chunk of a curve."""
    return dvis.open(WatchedStore(LocalStore(store), f"{GROUP}/loss/c/", before), **how)


def once(at: int, run: Callable[[], Any]) -> Callable[[int], None]:
    return lambda number: run() if number == at else None


def read_unit(dataset: xr.Dataset) -> np.ndarray:
    return dataset["loss"].isel(checkpoint=1, layer=0, channel=1).values


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_curve_that_is_replaced_while_it_is_read_is_the_new_one(
    store: Path, chunk: int, chunks: Any
) -> None:
    group = opened(store)
    between = once(chunk, lambda: write(group, NEW))
    dataset = watched(store, between, chunks=chunks)
    assert dataset["status"].isel(checkpoint=1, layer=0, channel=1) == Status.COMPLETE
    assert versions_in(read_unit(dataset)) == {NEW}
    assert dataset["status"].isel(checkpoint=1, layer=0, channel=1) == Status.COMPLETE


def test_plain_reader_may_see_a_curve_half_old_and_half_new(store: Path) -> None:
    group = opened(store)
    between = once(2, lambda: write(group, NEW))
    watched = WatchedStore(LocalStore(store), f"{GROUP}/loss/c/", between)
    plain = xr.open_zarr(watched, group=GROUP, chunks=None, consolidated=True)
    assert (plain["status"].isel(checkpoint=1, layer=0, channel=1) == Status.COMPLETE).all()
    assert versions_in(read_unit(plain)) == {OLD, NEW}


@pytest.mark.parametrize("chunk", [2, 3])
def test_curve_whose_writer_was_killed_is_absent_until_it_is_made_again(
    store: Path, chunk: int
) -> None:
    group = opened(store)
    dataset = watched(store, once(chunk, lambda: begin_to_write(group, NEW)))
    assert versions_in(read_unit(dataset)) == {0}
    write(opened(store), NEW)
    assert versions_in(read_unit(dataset)) == {NEW}


@pytest.mark.parametrize("chunk", [2, 3])
def test_writer_that_was_killed_before_it_moved_the_counter(store: Path, chunk: int) -> None:
    group, counts = opened(store), []

    def die_and_write_again() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zarr.Array, "__setitem__", DyingAtTheSecond())
            with pytest.raises(KeyboardInterrupt):
                write(group, NEW)
        assert group.array("status")[1, 0, 1] == Status.ABSENT
        counts.append(replacements(store, GROUP))
        write(opened(store), NEW)

    dataset = watched(store, once(chunk, die_and_write_again))
    assert versions_in(read_unit(dataset)) == {NEW}
    assert counts == [1]


def test_units_that_were_absent_move_no_counter_and_are_nan_until_they_are_complete(
    store: Path,
) -> None:
    group = opened(store)
    new = {"checkpoint": 1, "layer": 0, "channel": N_CHANNELS - 1}
    group.array("loss")[1, 0, N_CHANNELS - 1, :9] = 7.0  # what a killed writer left
    dataset = dvis.open(store)
    assert np.isnan(dataset["loss"].isel(new).values).all()
    assert not np.isnan(dataset["loss"].isel(channel=slice(3)).values).any()
    write(group, NEW, channels=[N_CHANNELS - 1])
    assert versions_in(dataset["loss"].isel(new).values, 1, N_CHANNELS - 1) == {NEW}
    assert replacements(store, GROUP) == 0
    assert not (store / GROUP / "source" / "replaced").exists()
    write(group, NEW)
    assert replacements(store, GROUP) == 2


def test_large_region_is_read_in_parts_where_units_are_replaced(store: Path) -> None:
    group = opened(store)
    dataset = watched(store, lambda n: write(group, NEW, layer=1) if n in (2, 8, 12) else None)
    loss = dataset["loss"].isel(channel=slice(3)).transpose("layer", ...)
    old, new = loss.values
    for row in range(len(LABELS)):
        for channel in range(3):
            assert versions_in(old[row, channel], row, channel) == {OLD}
            assert versions_in(new[row, channel], row, channel) == {NEW}


def test_store_that_is_rewritten_without_end_is_an_error(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady, "_WAIT_S", 0)
    group = opened(store)
    dataset = watched(store, lambda _: write(group, NEW, channels=[0]))
    with pytest.raises(RuntimeError, match=r"is being rewritten. Read again later, or fewer units"):
        read_unit(dataset)


@pytest.mark.parametrize("key", [0, slice(None, None, -2), [1, 0], np.array([], int)])
def test_any_selection_is_that_of_a_plain_reader(store: Path, key: Any) -> None:
    plain = xr.open_zarr(store, group=GROUP, chunks=None, consolidated=True)["loss"]
    loss = dvis.open(store)["loss"]
    for dim in loss.dims:
        np.testing.assert_array_equal(loss.isel({dim: key}), plain.isel({dim: key}))
    points = {dim: ("point", [0, 1, 1]) for dim in ("layer", "step_in_run")}
    np.testing.assert_array_equal(loss.isel(points), plain.isel(points))


def test_dask_arrays_are_of_whole_curves_and_travel(store: Path) -> None:
    ours = dvis.open(store, chunks={})["loss"]
    plain = xr.open_zarr(store, group=GROUP, chunks={}, consolidated=True)["loss"]
    assert ours.chunks[:3] == plain.chunks[:3]
    assert ours.chunks[3] == (N_STEPS,)
    travelled = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(travelled.compute(scheduler="processes"), plain)
    narrow = dvis.open(store, chunks={"step_in_run": N_STEPS, "checkpoint": 3})
    assert narrow["loss"].chunks[0] == (3,)


@pytest.mark.parametrize("chunks", [None, {}])
def test_dataset_is_written_to_another_file(store: Path, tmp_path: Path, chunks: Any) -> None:
    dataset = dvis.open(store, chunks=chunks)
    copy = tmp_path / "copy.zarr"
    dataset[["loss", "status"]].drop_vars(dataset.coords).to_zarr(copy, consolidated=False)
    again = xr.open_zarr(copy, consolidated=False)["loss"]
    np.testing.assert_array_equal(again, dataset["loss"])
    dataset["loss"].drop_vars(dataset.coords).to_netcdf(tmp_path / "copy.nc", engine="scipy")
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "copy.nc")["loss"], dataset["loss"])


def test_what_was_read_is_kept_as_of_other_variables(store: Path) -> None:
    n_read: list[int] = []
    dataset = watched(store, n_read.append)
    first = dataset["loss"].values
    assert len(n_read) == 3 * len(LAYERS)
    np.testing.assert_array_equal(dataset["loss"].values, first)
    assert len(n_read) == 3 * len(LAYERS)


@pytest.mark.parametrize("remote", ["memory", "obstore"])
def test_remote_store(store: Path, remote: str) -> None:
    write(opened(store), NEW)
    finish_import(store)
    if remote == "memory":
        fsspec.filesystem("memory").put(str(store), "/steady/net.zarr", recursive=True)
        dataset = dvis.open("memory://steady/net.zarr")
    else:
        dataset = dvis.open(ObjectStore(obstore.store.LocalStore(store), read_only=True))
    assert versions_in(read_unit(dataset)) == {NEW}
    np.testing.assert_array_equal(dataset["loss"], dvis.open(store)["loss"])


@pytest.mark.parametrize("chunk", [1, 2])
def test_chains_that_are_made_longer_while_they_are_read(tmp_path: Path, chunk: int) -> None:
    store = made_up_chains.write_all(tmp_path / "net.zarr", n_draws=600)
    label, task = made_up_chains.LABELS[1], made_up_chains.Chains(chains=(0,))

    def measure_again() -> None:
        with made_up_chains.recording(store) as recorder:
            made_up_chains.prepare(recorder, n_draws=700)
            result = made_up_chains.chains_of(label, task, 700)
            recorder.record(label, task, result.assign(loss=result["loss"] + 100))

    keys = f"{group_path('1', 'llc', 'llc')}/loss/c/"
    traces = dvis.llc_traces(WatchedStore(LocalStore(store), keys, once(chunk, measure_again)))
    trace = traces["loss"].isel(checkpoint=1, parameters=0, epsilon=0, gamma=0, chain=0).values
    expected = made_up_chains.losses_of(label, task, 0, 600)
    np.testing.assert_allclose(trace, expected + 100)


def test_responses_of_a_unit_that_failed_are_retracted_before_they_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "net.zarr"
    write_responses(store, "image")
    assert replacements(store, RESPONSES) == 0
    group = zarr.open_group(store, path=RESPONSES, mode="r+", use_consolidated=False)
    group["status"][1, 1, 4] = int(Status.FAILED)
    seen = []
    put = Group.put

    def watching(self: Group, name: str, *args: Any) -> None:
        if name == "response":
            seen.append((int(group["status"][1, 1, 4]), replacements(store, RESPONSES)))
        put(self, name, *args)

    monkeypatch.setattr(Group, "put", watching)
    write_responses(store, "image")
    assert seen[-1] == (Status.ABSENT, 2)
    assert group["status"][1, 1, 4] == Status.COMPLETE
    assert len(UNITS) * len(RESPONSE_LABELS) == (np.asarray(group["status"][:]) == 1).sum()
