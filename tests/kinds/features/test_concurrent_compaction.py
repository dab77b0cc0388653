"""Compactions that are killed, or read meanwhile: real processes, real kills."""

import json
import shutil
import signal
import time
from pathlib import Path

import concurrency_programs as programs
import numpy as np
import pytest
import xarray as xr
import zarr
from concurrency_programs import complete_units, info_of, jpg_of, single_faults
from known_trees import MODEL, RUN, assert_readers_are_safe, labels_of
from program_server import Server, seconds_of, wait_for_polls, wait_until
from slowly import slowly
from whole_stores import assert_same_state, state_of

import dvis
from dvis.disk import write_lock
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.words import KIND, Form
from dvis.names import parse_checkpoint
from dvis.schema import Status
from dvis.store.contents import contents, open_group
from dvis.store.picture_files import decode
from dvis.store.writer import create_store, restructuring


def make_sweep(store: Path) -> None:
    """A raw store as a sweep writes it: a block for each checkpoint, layer and 64 channels."""
    names = [parse_checkpoint(label) for label in labels_of(range(20))]
    channels = np.array([0, 1, 5, 6, 63, 66])
    create_store(store, MODEL)
    with write_lock(store, f"{RUN}/{KIND}"):
        with restructuring(store):
            side = programs.SIDE
            group = FeatureGroup.create(
                store, RUN, "average-0", height=side, width=side, codec="raw", block_checkpoints=1
            )
            group.grow_units(names, {"layer1": 67, "layer2": 67})
        for layer, layer_index in group.layers.items():
            for row, name in enumerate(names):
                _write_task(group, name.label, row, layer, layer_index, channels)
    finish_import(store, [])


def _write_task(
    group: FeatureGroup, label: str, row: int, layer: str, layer_index: int, channels: np.ndarray
) -> None:
    blocks = group.blocks
    for column in np.unique(channels // blocks.channels).tolist():
        pixels = {
            (0, channel % blocks.channels): decode(jpg_of(label, layer, channel)).tobytes()
            for channel in channels[channels // blocks.channels == column].tolist()
        }
        blocks.merge(blocks.path(row, layer_index, column), pixels)
    infos = [info_of(label, layer, channel) for channel in channels.tolist()]
    places = {"checkpoint": row, "layer": layer_index, "channel": channels}
    losses = [np.array(info["Loss Values"], np.float32) for info in infos]
    columns = {
        "loss": np.stack([np.pad(v, (0, 7 - len(v)), constant_values=np.nan) for v in losses]),
        "activation": np.array([info["Activation"] for info in infos]),
        "source/form": np.full(len(channels), int(Form.HAS_IMAGE | Form.HAS_INFO)),
    }
    group.write(places, columns, np.full(len(channels), int(Status.COMPLETE)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("sweep") / "sweep.zarr"
    make_sweep(store)
    return store


def span_of(store: Path) -> int:
    """Checkpoints that an image block of the store spans, as the array itself says."""
    image = open_group(store, contents(store).of("features")[0])["image"]
    assert isinstance(image, zarr.Array)
    assert image.shards is not None
    return int(image.shards[0])


def assert_holds_the_sweep(store: Path, sweep: Path) -> None:
    """The images are those of the sweep, for whoever opens the store now."""
    assert_same_state(store, state_of(sweep))


def assert_never_wrong(held: xr.Dataset, units: np.ndarray) -> None:
    """A Dataset from before shows the right image or an error, whatever became of its store."""
    assert single_faults(held, units)[1] == []


@pytest.mark.parametrize("n_kills", [3, slowly(10)])
def test_killed_compactions_equal_an_unbroken_one(
    server: Server, sweep: Path, tmp_path: Path, n_kills: int
) -> None:
    rng = np.random.default_rng(5)
    timed = Path(shutil.copytree(sweep, tmp_path / "timed.zarr"))
    duration_s = seconds_of(server, "compact", store=timed)
    assert span_of(timed) == 16
    assert_holds_the_sweep(timed, sweep)
    n_killed = n_stores = 0
    while n_killed < n_kills:
        n_stores += 1
        assert n_stores < 3 * n_kills, "compactions end before they are killed"
        store = Path(shutil.copytree(sweep, tmp_path / f"{n_stores}.zarr"))
        held = dvis.open(store)
        units = rng.permutation(complete_units(held))[:40]
        for _ in range(3):
            process = server.start("compact", store=store)
            time.sleep(rng.uniform(0, duration_s))
            process.kill()
            n_killed += server.wait(process) == -signal.SIGKILL
            assert_readers_are_safe(store)
            assert_never_wrong(held, units)
        server.finish(server.start("compact", store=store))
        assert span_of(store) == 16
        assert_holds_the_sweep(store, sweep)
        assert_never_wrong(held, units)


@pytest.mark.parametrize("moment", ["the layout is switched", "a block is emptied"])
def test_compaction_killed_after_its_switch_goes_on(
    server: Server, sweep: Path, tmp_path: Path, moment: str
) -> None:
    store = Path(shutil.copytree(sweep, tmp_path / "store.zarr"))
    held = dvis.open(store)
    units = complete_units(held)
    image = store / RUN / KIND / "average-0" / "image"
    watched = image / "zarr.json" if "switched" in moment else image / "c/0/0/0/0/0/0"
    file_before = watched.stat().st_ino
    process = server.start("compact", store=store)
    wait_until(lambda: watched.stat().st_ino != file_before, moment)
    process.kill()
    assert server.wait(process) == -signal.SIGKILL
    assert_readers_are_safe(store)
    assert_never_wrong(held, units)
    server.finish(server.start("compact", store=store))
    assert_holds_the_sweep(store, sweep)
    assert_never_wrong(held, units)


def test_dataset_from_before_a_compaction_is_never_wrong(sweep: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(sweep, tmp_path / "store.zarr"))
    held = dvis.open(store)
    units = complete_units(held)
    assert compact_store(store) == 1
    assert_never_wrong(held, units)
    assert single_faults(held, units)[0] == len(units), "the old blocks are empty"
    assert compact_store(store) == 0
    assert_never_wrong(held, units)


def test_reader_never_sees_a_wrong_image_during_a_compaction(
    server: Server, sweep: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(sweep, tmp_path / "store.zarr"))
    polled, stop, result = (tmp_path / name for name in ("polled", "stop", "result.json"))
    reader = server.start(
        "read", store=store, stop=stop, polled=polled, result=result, may_fail=True
    )
    wait_for_polls(polled, 1)
    server.finish(server.start("compact", store=store))
    wait_for_polls(polled, 2)
    stop.touch()
    server.finish(reader)
    read = json.loads(result.read_text())
    assert read["faults"] == []
    assert set(read["counts"]) == {len(complete_units(dvis.open(store)))}
