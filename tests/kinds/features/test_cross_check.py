"""After a sweep: images of the checkpoints beside, tried at each unit's own."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slowly import slowly
from tiny_models import seeded_net, write_checkpoints
from whole_stores import assert_equal_stores

import dvis
from dvis.kinds.features.cross_check import CrossCheck
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.read import parameters_of
from dvis.kinds.features.verify import verify_store
from dvis.kinds.features.words import NEIGHBOURS, is_beaten
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints
from dvis.schema import Status
from dvis.sweep.executors import worker_context

pytestmark = pytest.mark.usefixtures("one_thread")
WEAK = feature_settings(
    "default", {"max_iterations": 1, "min_iterations": 1, "convergence_window": 1}
)
MODEL = "tiny_models:net"


def keys(store: Path) -> np.ndarray:
    """What the store knows of neighbours that were tried."""
    group = FeatureGroup.existing(store, "checkpoints", "average-0")
    assert group is not None
    return np.asarray(group.array(NEIGHBOURS)[:])


def weak_in_between(options: VisualizeOptions) -> VisualizeOptions:
    """A run with images of a single step at every second checkpoint."""
    files = [file.path for file in find_checkpoints(options.checkpoint_path)]
    weak = replace(options, checkpoint_path=tuple(files[1::2]), settings=WEAK)
    visualize(replace(weak, cross_check=False))
    strong = replace(options, checkpoint_path=tuple(files[::2]))
    visualize(replace(strong, cross_check=False))
    return replace(options, settings=WEAK)


def test_neighbours_are_tried_by_the_model_itself(options: VisualizeOptions) -> None:
    visualize(options)
    dataset = dvis.open(options.store)
    at = dataset.checkpoint.values
    file = next(f for f in find_checkpoints(options.checkpoint_path) if f.label == at[1])
    model = load_model(MODEL, file, "cpu")
    for channel in range(4):
        images = [dataset.dvis.model_input(at[i], "conv1", channel).values for i in (0, 2)]
        with torch.no_grad():
            maps = model.conv1(torch.from_numpy(np.stack(images)))[:, channel]
        expected = float(maps.mean((1, 2)).max())
        found = float(dataset.neighbour_max.sel(layer="conv1", channel=channel)[1])
        assert found == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(dataset.neighbour_max.sel(channel=slice(0, 3))).all()


def test_better_images_are_said_and_the_worst_is_named(options: VisualizeOptions) -> None:
    report = visualize(weak_in_between(options))
    (said,) = (note for note in report.notes if "checkpoint beside" in note)
    dataset = dvis.open(options.store)
    beaten = is_beaten(dataset.activation.values, dataset.neighbour_max.values)
    assert beaten[1].sum() >= 6
    assert said.startswith(f"{beaten.sum()} of 24 units are activated more than a twentieth")
    gain = (dataset.neighbour_max - dataset.activation) / abs(dataset.activation)
    worst = gain.where(beaten).stack(unit=gain.dims).idxmax("unit").item()
    assert f"{worst[0]}, {worst[1]}, channel {worst[2]}: " in said
    assert "--refine" in said


def test_refined_units_are_no_longer_beaten(options: VisualizeOptions) -> None:
    weak = weak_in_between(options)
    visualize(weak)
    before = dvis.open(options.store).load()
    beaten = is_beaten(before.activation.values, before.neighbour_max.values)
    report = visualize(replace(weak, refine=True))
    after = dvis.open(options.store).load()
    assert any("made better" in note for note in report.notes)
    assert report.n_measured == 0
    assert not is_beaten(after.activation.values, after.neighbour_max.values).any()
    assert (after.activation.values[beaten] > before.activation.values[beaten]).all()
    same = after.image.values[~beaten] == before.image.values[~beaten]
    assert same.all()
    tables = parameters_of(after)
    made = {tables[i]["init_from"] for i in after.params.values[beaten].tolist()}
    assert made == {"neighbours"}
    verified = verify_store(options.store, MODEL, checkpoint_path=options.checkpoint_path)
    assert (verified.n_verified, verified.faults) == (24, [])
    assert dvis.check_store(options.store) == []
    again = visualize(replace(weak, refine=True))  # of them none is of other options
    assert again.kept["of other options"] == 16
    assert not any("made better" in note for note in again.notes)


def test_a_second_run_tries_nothing_again(
    options: VisualizeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    visualize(options)
    tried: list[str] = []
    record = CrossCheck.record

    def counted(self: CrossCheck, label: str, *arguments: Any) -> list[str]:
        tried.append(label)
        return record(self, label, *arguments)

    monkeypatch.setattr(CrossCheck, "record", counted)
    visualize(options)
    assert tried == []
    write_checkpoints(Path(options.checkpoint_path[0]), 4)
    visualize(options)  # a checkpoint at the end: the one before it has a new neighbour
    labels = dvis.open(options.store).checkpoint.values.tolist()
    assert set(tried) >= set(labels[2:])
    assert labels[0] not in tried


def test_without_cross_check_nothing_is_tried(options: VisualizeOptions) -> None:
    visualize(replace(options, cross_check=False))
    assert "neighbour_max" not in dvis.open(options.store)
    with pytest.raises(ValueError, match="refine needs the cross-check"):
        replace(options, cross_check=False, refine=True)


def test_a_single_checkpoint_has_no_neighbours(options: VisualizeOptions) -> None:
    (first, *_) = find_checkpoints(options.checkpoint_path)
    report = visualize(replace(options, checkpoint_path=(first.path,)))
    assert report.n_measured == 8
    assert not any("beside" in note for note in report.notes)
    assert dvis.check_store(options.store) == []


def asleep(folder: Path) -> None:
    """Checkpoints at the second of which conv2 answers to strong images alone."""
    state = {k: v.clone() for k, v in seeded_net(0).state_dict().items()}
    state["bn2.bias"][:] = 1.0
    for i, bias in enumerate((1.0, -2.5, 1.0)):
        state["bn2.bias"][14] = bias
        facts = {"step": i, "input": {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3}}
        facts["input"]["channels"] = 3
        folder.mkdir(exist_ok=True)
        torch.save({"model_state_dict": state, **facts}, folder / f"epoch_{i}.pt")


def test_a_dead_unit_begins_at_the_image_beside(options: VisualizeOptions, tmp_path: Path) -> None:
    asleep(tmp_path / "asleep")
    settings = feature_settings("default", {"max_iterations": 300, "stop_rule": "never"})
    options = replace(
        options,
        checkpoint_path=(tmp_path / "asleep",),
        layers=("relu",),
        channels=(5, 14),
        settings=settings,
    )
    visualize(replace(options, cross_check=False))
    status = dvis.open(options.store).status.sel(layer="relu").values
    assert status[:, 14].tolist() == [Status.COMPLETE, Status.DEAD, Status.COMPLETE]
    report = visualize(options)
    dataset = dvis.open(options.store)
    assert (dataset.status.sel(layer="relu", channel=[5, 14]) == Status.COMPLETE).all()
    assert float(dataset.activation.sel(layer="relu", channel=14)[1]) > 0
    assert dataset.image.sel(layer="relu", channel=14)[1].values.any()
    assert any("1 dead unit began anew" in note for note in report.notes)
    assert dvis.check_store(options.store) == []
    assert visualize(options).n_measured == 0


def _run_until_killed(options: VisualizeOptions, n_written: int) -> None:
    """A run that is killed when it is about to write what was tried for the n-th time."""
    torch.set_num_threads(1)
    written = 0
    put = FeatureGroup.put

    def killing(self: FeatureGroup, name: str, *arguments: Any) -> None:
        nonlocal written
        written += name in (NEIGHBOURS, "neighbour_max")
        if written >= n_written:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, name, *arguments)

    FeatureGroup.put = killing  # type: ignore[method-assign]
    visualize(options)


@pytest.mark.parametrize("kills", [(11,), slowly((1, 11, 22))])  # between the arrays of a unit too
def test_killed_while_refining_and_resumed_equals_an_unbroken_run(
    options: VisualizeOptions, tmp_path: Path, kills: tuple[int, ...]
) -> None:
    write_checkpoints(tmp_path / "run", 5)
    # Of the same batches throughout, for rounding may turn the first step of an image.
    options = replace(options, layers=("conv2",), batch_size=1)
    options = replace(weak_in_between(options), refine=True)
    unbroken = replace(options, store=tmp_path / "unbroken.zarr")
    shutil.copytree(options.store, unbroken.store)
    report = visualize(unbroken)
    assert any("made better" in note for note in report.notes)
    context = worker_context()
    n_tried = []
    for n_written in kills:
        process = context.Process(target=_run_until_killed, args=(options, n_written))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        n_tried.append((keys(options.store)[:, :, :4] != 0).sum())
    assert n_tried == sorted(n_tried)
    assert 0 < n_tried[-1] < 20
    visualize(options)
    assert dvis.check_store(options.store) == []
    assert_equal_stores(options.store, unbroken.store)


def test_processes_and_a_client_refine_as_one_process_does(
    options: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    options = replace(weak_in_between(options), refine=True)
    alone = replace(options, store=tmp_path / "alone.zarr", workers=0)
    processes = replace(options, store=tmp_path / "processes.zarr", workers=None)
    for each in (alone, processes):
        shutil.copytree(options.store, each.store)
        assert any("made better" in note for note in visualize(each).notes)
    assert_equal_stores(processes.store, alone.store)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.run(lambda: __import__("torch").set_num_threads(1))
        visualize(options, client=client)
    assert_equal_stores(options.store, alone.store)


def test_several_images_of_a_unit_are_tried_each(options: VisualizeOptions) -> None:
    options = replace(options, number_of_images=2, refine=True)
    visualize(replace(options, settings=replace(options.settings, max_iterations=2)))
    for variant in ("average-0", "average-1"):
        dataset = dvis.open(options.store, variant=variant)
        assert np.isfinite(dataset.neighbour_max.sel(channel=slice(0, 3))).all()
        assert not is_beaten(dataset.activation.values, dataset.neighbour_max.values).any()
    assert dvis.check_store(options.store) == []
