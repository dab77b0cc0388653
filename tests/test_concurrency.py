"""Promises to readers and writers that run at the same time, or die: real processes, real kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import concurrency_programs as programs
import numpy as np
import pytest
import xarray as xr
import zarr
from concurrency_programs import complete_units, faults_of, info_of, jpg_of, single_faults

import dvis
from dvis.check import check_store
from dvis.compact import compact_store
from dvis.groups import FeatureGroup
from dvis.ingest import ingest_tree
from dvis.locks import StoreLockedError, write_lock
from dvis.pictures import decode
from dvis.schema import FEATURES, SOURCES, TEXT, UNIT_DIMS, Form, SchemaError, Status
from dvis.store import contents, open_group
from dvis.tree import parse_checkpoint
from dvis.writer import create_store, finish_import, restructuring

MODEL, RUN = "resnet18", "checkpoints"
N_KILLED_IMPORTS = 30
N_KILLED_COMPACTIONS = 10
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Process:
    """A process of the server's, the leader of its own group."""

    pid: int
    log: Path

    def kill(self) -> None:
        """SIGKILL to it and to all of its children."""
        os.killpg(self.pid, signal.SIGKILL)

    def kill_alone(self) -> None:
        """SIGKILL to it; its children are left to themselves."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def members(self) -> dict[int, int]:
        """Living processes of its group, and the parent of each."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, group = path.read_text().rsplit(")", 1)[1].split()[:3]
            except OSError:  # it has just ended
                continue
            if int(group) == self.pid and state not in "ZX":
                found[int(path.parent.name)] = int(parent)
        return found

    @property
    def children(self) -> list[int]:
        return [pid for pid, parent in self.members.items() if parent == self.pid]


class Server:
    """Starts programs by forking a process that has imported dvis; see concurrency_programs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._n_started = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, programs.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, program: str, **arguments: Any) -> Process:
        self._n_started += 1
        log = self._folder / f"{self._n_started}-{program}.log"
        log.touch()
        texts = {key: str(v) if isinstance(v, Path) else v for key, v in arguments.items()}
        pid = self._ask({"program": program, "log": str(log), "arguments": texts})
        return Process(pid, log)

    def wait(self, process: Process) -> int:
        """Exit status, negative for a signal."""
        status = self._ask({"pid": process.pid, "timeout_s": PATIENCE_S})
        assert status is not None, f"{process} still runs:\n{process.log.read_text()}"
        return int(status)

    def finish(self, process: Process) -> None:
        """Wait for a process that must end well."""
        assert self.wait(process) == 0, process.log.read_text()

    def is_running(self, process: Process) -> bool:
        return self._ask({"pid": process.pid, "timeout_s": 0}) is None

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


class Tree:
    """A jpg/json tree of units as `concurrency_programs` makes them."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "feature_images" / MODEL

    def write(
        self,
        labels: Iterable[str],
        layer: str,
        channels: Iterable[int],
        *,
        run: str = RUN,
        version: int = 0,
        side: int = programs.SIDE,
        without: str = "",
    ) -> None:
        """Write or replace a layer's units, both files of each but the one called `without`."""
        channels = list(channels)
        for label in labels:
            folder = self.root / run / label
            folder.mkdir(parents=True, exist_ok=True)
            for channel in channels:
                stem = folder / f"layer_{layer}_channel_{channel}_average"
                if without != "jpg":
                    jpg = jpg_of(label, layer, channel, version, side)
                    stem.with_name(stem.name + ".jpg").write_bytes(jpg)
                if without != "info.json":
                    info = json.dumps(info_of(label, layer, channel, version))
                    stem.with_name(stem.name + ".info.json").write_text(info)


def labels_of(batches: Iterable[int], epoch: int = 0) -> list[str]:
    """Names of checkpoints that a training saved, one batch a minute."""
    return [
        f"checkpoint_2024-03-{25 + epoch}-{batch // 60:02}h{batch % 60:02}"
        f"_epoch_{epoch}_train_{batch}.pth.tar"
        for batch in batches
    ]


def state_of(store: Path) -> dict[str, xr.Dataset]:
    """All that a store holds, by run and variant, in training order, the parameters as text."""
    found = contents(store)
    state = {}
    for entry in found.features:
        dataset = dvis.open(store, entry.run, entry.variant).load()
        # The table of parameters is in order of arrival.
        table = [json.dumps(p, sort_keys=True) for p in dataset.attrs.pop("parameters")] + [""]
        dataset["params"] = dataset["params"].dims, np.array(table)[dataset["params"].values]
        group = open_group(store, entry)
        rows, layers = (
            [np.asarray(group[dim][:]).tolist().index(label) for label in dataset[dim].values]
            for dim in ("checkpoint", "layer")
        )
        for name in SOURCES:
            values = np.asarray(group[f"source/{name}"][:])[rows][:, layers]
            if values.dtype == TEXT:
                values = np.array(values.tolist(), dtype=str)
            dataset[f"source/{name}"] = UNIT_DIMS, values
        state[f"{entry.run}, {entry.variant}"] = dataset.assign_attrs(found.run_attrs[entry.run])
    return state


def assert_same_state(store: Path, expected: dict[str, xr.Dataset]) -> None:
    state = state_of(store)
    assert list(state) == list(expected)
    for name, dataset in state.items():
        xr.testing.assert_identical(dataset, expected[name])
    assert check_store(store) == []


def assert_readers_are_safe(store: Path) -> None:
    """Whatever was killed in the store: it is not there yet, or what it shows is right."""
    try:
        dataset = dvis.open(store, RUN, "average-0")
    except (FileNotFoundError, SchemaError):
        return
    assert faults_of(dataset)[1] == []


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < until, f"{what}: not within {patience_s} s"
        time.sleep(0.002)


def seconds_of(server: Server, program: str, **arguments: Any) -> float:
    """How long an unbroken program takes."""
    started = time.monotonic()
    server.finish(server.start(program, **arguments))
    return time.monotonic() - started


@pytest.fixture(scope="module")
def mixed_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Two rows and two columns of blocks, incomplete units, and a picture of another size."""
    tree = Tree(tmp_path_factory.mktemp("mixed"))
    labels = labels_of(range(0, 20 * 50, 50))
    tree.write(labels, "layer1", [0, 1, 6, 65])
    tree.write(labels[::2], "layer2.0.conv1", range(3))
    tree.write(labels[:3], "layer1", [2], without="jpg")
    tree.write(labels[3:5], "layer1", [2], without="info.json")
    tree.write(labels[5:7], "layer1", [3], version=1)
    tree.write(labels[7:9], "layer1", [3], side=24)
    return tree


@pytest.fixture(scope="module")
def mixed_state(mixed_tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an unbroken import of the mixed tree makes."""
    store = tmp_path_factory.mktemp("unbroken") / "unbroken.zarr"
    ingest_tree(mixed_tree.root, store=store, workers=1)
    assert check_store(store) == []
    return state_of(store)


def test_killed_imports_equal_an_unbroken_one(
    server: Server, mixed_tree: Tree, mixed_state: dict[str, Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    duration_s = {
        workers: seconds_of(
            server,
            "ingest",
            tree=mixed_tree.root,
            store=tmp_path / f"timed-{workers}.zarr",
            workers=workers,
        )
        for workers in (1, 2)
    }
    n_killed = n_stores = 0
    while n_killed < N_KILLED_IMPORTS:
        n_stores += 1
        store = tmp_path / f"{n_stores}.zarr"
        # The same store is killed again and again: each time further on, or at the same place.
        for nth in range(int(rng.integers(2, 7))):
            workers = 2 if n_killed % 3 == 0 else 1
            process = server.start("ingest", tree=mixed_tree.root, store=store, workers=workers)
            delay_s = rng.uniform(0, duration_s[workers])
            time.sleep(delay_s)
            if workers == 2 and n_killed % 2:
                process.kill_alone()  # its workers go on for a moment, beside the next import
            else:
                process.kill()
            is_killed = server.wait(process) == -signal.SIGKILL
            assert_readers_are_safe(store)
            n_killed += is_killed
            if not is_killed:
                if nth == 0:  # the machine has become faster
                    duration_s[workers] = delay_s
                break
        server.finish(server.start("ingest", tree=mixed_tree.root, store=store, workers=1))
        assert_same_state(store, mixed_state)


def test_killed_updates_equal_an_unbroken_import(server: Server, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    tree, labels = Tree(tmp_path), labels_of(range(0, 20 * 50, 50))
    tree.write(labels[::2], "layer1", range(8))
    before = tmp_path / "before.zarr"
    ingest_tree(tree.root, store=before)
    tree.write(labels[1::2], "layer1", range(8))
    tree.write(labels[::2], "layer1", range(5), version=1)
    tree.write(labels, "conv1", [0, 70])
    unbroken = tmp_path / "unbroken.zarr"
    ingest_tree(tree.root, store=unbroken)
    duration_s = seconds_of(
        server, "ingest", tree=tree.root, store=shutil.copytree(before, tmp_path / "timed.zarr")
    )
    for name in range(2):
        store = Path(shutil.copytree(before, tmp_path / f"{name}.zarr"))
        for _ in range(4):
            process = server.start("ingest", tree=tree.root, store=store, workers=1)
            time.sleep(rng.uniform(0, duration_s))
            process.kill()
            server.wait(process)
            assert_readers_are_safe(store)
        server.finish(server.start("ingest", tree=tree.root, store=store, workers=1))
        assert_same_state(store, state_of(unbroken))


def test_import_ends_with_its_worker_and_goes_on_when_run_again(
    server: Server, mixed_tree: Tree, mixed_state: dict[str, Any], tmp_path: Path
) -> None:
    store = tmp_path / "store.zarr"
    process = server.start("ingest", tree=mixed_tree.root, store=store, workers=2)
    wait_until(lambda: len(process.children) == 2, "two workers")
    wait_until((store / RUN).exists, "work to do")
    os.kill(process.children[0], signal.SIGKILL)
    assert server.wait(process) == 1, process.log.read_text()
    assert "a reading process was killed" in process.log.read_text()
    assert process.members == {}
    server.finish(server.start("ingest", tree=mixed_tree.root, store=store, workers=2))
    assert_same_state(store, mixed_state)


@pytest.mark.parametrize("starts_afresh", [False, True], ids=["forked", "spawned"])
def test_no_worker_outlives_a_killed_import(
    server: Server, mixed_tree: Tree, tmp_path: Path, starts_afresh: bool
) -> None:
    rng = np.random.default_rng(4)
    other = tmp_path / "other.zarr"
    create_store(other, "other")
    how = {"workers": 2, "read_first": other if starts_afresh else None}
    # What is killed while it still imports dvis looks for its parent only after that.
    patience_s = 20.0 if starts_afresh else 2.0
    for i in range(2 if starts_afresh else 5):
        process = server.start("ingest", tree=mixed_tree.root, store=tmp_path / f"{i}.zarr", **how)
        wait_until(lambda: len(process.children) >= 2, "two workers")  # noqa: B023
        time.sleep(rng.uniform(0, 3 if starts_afresh else 1))
        process.kill_alone()
        server.wait(process)
        wait_until(lambda: not process.members, "the end of all workers", patience_s)  # noqa: B023
        assert process.members == {}


def import_together(server: Server, store: Path, parts: Sequence[dict[str, Any]]) -> None:
    """Import at the same time, each part by its own process."""
    processes = [server.start("ingest", store=store, **part) for part in parts]
    for process in processes:
        server.finish(process)


@pytest.mark.parametrize("workers", [1, 2])
def test_two_imports_of_a_tree_equal_one(
    server: Server, mixed_tree: Tree, mixed_state: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    store = tmp_path / "store.zarr"
    import_together(server, store, [{"tree": mixed_tree.root, "workers": workers}] * 2)
    assert_same_state(store, mixed_state)


def test_two_imports_of_two_runs_equal_one_of_both(server: Server, tmp_path: Path) -> None:
    tree, labels = Tree(tmp_path), labels_of(range(0, 20 * 50, 50))
    tree.write(labels, "layer1", range(4))
    tree.write(labels[:5], "layer2", range(4), run="seeds/run 1")
    ingest_tree(tree.root, store=tmp_path / "one.zarr")
    store = tmp_path / "two.zarr"
    import_together(server, store, [{"tree": tree.root / run} for run in (RUN, "seeds")])
    assert_same_state(store, state_of(tmp_path / "one.zarr"))


def test_two_imports_of_a_runs_checkpoints_equal_one_of_all(server: Server, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    labels = labels_of(range(0, 8 * 50, 50)) + labels_of(range(0, 8 * 50, 50), epoch=1)
    tree.write(labels, "layer1", range(4))
    tree.write(labels[1::2], "layer2", [0, 65])
    ingest_tree(tree.root, store=tmp_path / "one.zarr")
    store = tmp_path / "two.zarr"
    import_together(
        server,
        store,
        [{"tree": tree.root / RUN, "parts": half} for half in (labels[6::2], labels[7::2])],
    )
    import_together(
        server,
        store,
        [{"tree": tree.root / RUN, "parts": half} for half in (labels[:6:2], labels[1:6:2])],
    )
    assert_same_state(store, state_of(tmp_path / "one.zarr"))


def wait_for_polls(polled: Path, n_more: int) -> None:
    """Wait until a reader has polled so many times more."""

    def count() -> int:
        return int(polled.read_text() or 0) if polled.exists() else 0

    before = count()
    wait_until(lambda: count() >= before + n_more, "polls")


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
def test_reader_never_sees_a_wrong_image_while_the_store_grows(
    server: Server, tmp_path: Path, codec: str
) -> None:
    tree, labels = Tree(tmp_path), labels_of(range(0, 24 * 30, 30))
    store, polled = tmp_path / "store.zarr", tmp_path / "polled"
    stop, result = tmp_path / "stop", tmp_path / "result.json"
    reader = server.start("read", store=store, stop=stop, polled=polled, result=result)
    n_units = []
    for stage in range(3):
        if stage == 0:
            tree.write(labels[::2], "layer2", range(8))
        elif stage == 1:  # checkpoints between others, channels, and units that are replaced
            tree.write(labels[1::2], "layer2", [*range(9), 64, 66])
            tree.write(labels[::2], "layer2", [1, 8, 65])
            tree.write(labels[:9:2], "layer2", range(3, 5), version=1)
        else:  # layers, longer losses, and units that are replaced
            for layer in ("conv1", "layer1.0", "layer4"):
                tree.write(labels, layer, range(5), version=1)
            tree.write(labels[:10], "layer2", [0, 2], version=1)
        how = {"codec": codec, "workers": 2 if stage == 2 else 1}
        server.finish(server.start("ingest", tree=tree.root, store=store, **how))
        n_units.append(len(complete_units(dvis.open(store))))
        wait_for_polls(polled, 1)
    wait_for_polls(polled, 1)
    stop.touch()
    server.finish(reader)
    read = json.loads(result.read_text())
    assert read["faults"] == []
    assert read["n_held"] >= 3  # Datasets from before the growth were read to the end
    assert set(read["counts"]) - {0, *n_units}, "it polled only between the imports"
    fresh = tmp_path / "fresh.zarr"
    ingest_tree(tree.root, store=fresh, codec=codec)
    assert_same_state(store, state_of(fresh))


@pytest.fixture
def held_store(server: Server, tmp_path: Path) -> Iterator[tuple[Path, Tree, Process, Path]]:
    """A store whose run another process holds until a file is there, and its tree."""
    tree = Tree(tmp_path)
    tree.write(labels_of(range(2)), "layer1", range(2))
    store, ready, release = (tmp_path / name for name in ("store.zarr", "ready", "release"))
    ingest_tree(tree.root, store=store)
    holder = server.start("hold", store=store, run=RUN, ready=ready, release=release)
    wait_until(ready.exists, "the lock")
    yield store, tree, holder, release
    release.touch()
    server.finish(holder)


def test_second_import_names_the_first_and_waits_for_it(
    server: Server, held_store: tuple[Path, Tree, Process, Path]
) -> None:
    store, tree, holder, release = held_store
    tree.write(labels_of([5]), "layer1", range(2))
    second = server.start("ingest", tree=tree.root, store=store)
    wait_until(lambda: "waiting for it" in second.log.read_text(), "a word of the wait")
    assert f"is being written by process {holder.pid} on" in second.log.read_text()
    assert server.is_running(second)
    assert dvis.open(store).sizes["checkpoint"] == 2
    release.touch()
    server.finish(second)
    assert int((dvis.open(store)["status"] == Status.COMPLETE).sum()) == 6


def test_store_that_is_being_written_is_not_overwritten(
    held_store: tuple[Path, Tree, Process, Path],
) -> None:
    store, tree, holder, _ = held_store
    with pytest.raises(StoreLockedError, match=f"process {holder.pid} on"):
        ingest_tree(tree.root, store=store, overwrite=True)
    assert check_store(store) == []


def make_sweep(store: Path) -> None:
    """A raw store as a sweep writes it: a block for each checkpoint, layer and 64 channels."""
    names = [parse_checkpoint(label) for label in labels_of(range(20))]
    channels = np.array([0, 1, 5, 6, 63, 66])
    create_store(store, MODEL)
    with write_lock(store, f"{RUN}/{FEATURES}"):
        with restructuring(store):
            side = programs.SIDE
            group = FeatureGroup.create(
                store, RUN, "average-0", height=side, width=side, codec="raw", block_checkpoints=1
            )
            group.grow(names, {"layer1": 67, "layer2": 67})
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
    where = (np.full(len(channels), row), layer_index, channels)
    losses = [np.array(info["Loss Values"], np.float32) for info in infos]
    group.write_losses(*where, losses, is_new=True)
    columns = {
        "activation": np.array([info["Activation"] for info in infos]),
        "source/form": np.full(len(channels), int(Form.HAS_IMAGE | Form.HAS_INFO)),
        "status": np.full(len(channels), int(Status.COMPLETE)),
    }
    group.commit(*where, columns)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("sweep") / "sweep.zarr"
    make_sweep(store)
    return store


def span_of(store: Path) -> int:
    """Checkpoints that an image block of the store spans, as the array itself says."""
    image = open_group(store, contents(store).features[0])["image"]
    assert isinstance(image, zarr.Array)
    assert image.shards is not None
    return int(image.shards[0])


def assert_holds_the_sweep(store: Path, sweep: Path) -> None:
    """The images are those of the sweep, for whoever opens the store now."""
    assert_same_state(store, state_of(sweep))


def assert_never_wrong(held: xr.Dataset, units: np.ndarray) -> None:
    """A Dataset from before shows the right image or an error, whatever became of its store."""
    assert single_faults(held, units)[1] == []


def test_killed_compactions_equal_an_unbroken_one(
    server: Server, sweep: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    timed = Path(shutil.copytree(sweep, tmp_path / "timed.zarr"))
    duration_s = seconds_of(server, "compact", store=timed)
    assert span_of(timed) == 16
    assert_holds_the_sweep(timed, sweep)
    n_killed = n_stores = 0
    while n_killed < N_KILLED_COMPACTIONS:
        n_stores += 1
        assert n_stores < 3 * N_KILLED_COMPACTIONS, "compactions end before they are killed"
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
    image = store / RUN / FEATURES / "average-0" / "image"
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
