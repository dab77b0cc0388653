"""Imports at the same time as others and as readers: real processes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from concurrency_programs import complete_units
from known_trees import RUN, Tree, labels_of
from program_server import Process, Server, wait_for_polls, wait_until
from slowly import slowly
from whole_stores import assert_same_state, state_of

import dvis
from dvis.check import check_store
from dvis.disk import StoreLockedError
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.schema import Status


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


@pytest.mark.parametrize("codec", ["jpeg", slowly("raw")])
def test_reader_never_sees_a_wrong_image_while_the_store_grows(
    server: Server, tmp_path: Path, codec: str
) -> None:
    for attempt in range(4):  # the imports are short: a busy machine may poll only between them
        folder = tmp_path / str(attempt)
        folder.mkdir()
        read, n_units = read_while_it_grows(server, folder, codec)
        assert read["faults"] == []
        assert read["n_held"] >= 3  # Datasets from before the growth were read to the end
        if set(read["counts"]) - {0, *n_units}:
            break
    else:
        pytest.fail("it polled only between the imports")
    fresh = tmp_path / "fresh.zarr"
    ingest_tree(Tree(folder).root, store=fresh, codec=codec)
    assert_same_state(folder / "store.zarr", state_of(fresh))


def read_while_it_grows(
    server: Server, folder: Path, codec: str
) -> tuple[dict[str, Any], list[int]]:
    """What a reader reports of three imports, and the complete units after each of these."""
    tree, labels = Tree(folder), labels_of(range(0, 24 * 30, 30))
    store, polled = folder / "store.zarr", folder / "polled"
    stop, result = folder / "stop", folder / "result.json"
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
    return json.loads(result.read_text()), n_units


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
