"""Places in training of measured checkpoints, from what their files say and a user tells."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import seeded_net

import dvis
from dvis import measure
from dvis.info import describe
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.plan import visualize

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(options: VisualizeOptions) -> VisualizeOptions:
    """Options of a sweep that costs little, over an empty folder."""
    (folder,) = options.checkpoint_path
    shutil.rmtree(folder)
    folder.mkdir()
    told = {"input_size": 16, "input_mean": (0.5,) * 3, "input_std": (0.25,) * 3}
    return replace(options, channels=(0,), layers=("conv2",), **told)


def save(run: VisualizeOptions, label: str, seed: int = 0, **facts: object) -> Path:
    path = run.checkpoint_path[0] / label
    torch.save({"model_state_dict": seeded_net(seed).state_dict(), **facts}, path)
    return path


def test_files_tell_steps_and_the_order(run: VisualizeOptions) -> None:
    for n, (label, step) in enumerate({"final.pth": 300, "b.pth": 0, "a.pth": 100.0}.items()):
        save(run, label, n, global_step=step, epoch=n)
    assert visualize(run).notes == []
    ds = dvis.open(run.store)
    assert ds.checkpoint.values.tolist() == ["b.pth", "a.pth", "final.pth"]
    assert ds.step.values.tolist() == [0, 100, 300]
    assert ds.step.attrs["source"] == "the files"
    assert ds.epoch.values.tolist() == [1, 2, 0]


def test_a_step_that_repeats_is_said_and_not_taken(run: VisualizeOptions) -> None:
    for epoch in range(3):
        label = f"checkpoint_2024-03-25-0{epoch}h28_epoch_{epoch}_train_200.pth.tar"
        save(run, label, epoch, epoch=epoch + 1, step=200, batch_iteration=200)
    (note,) = visualize(run).notes
    assert "'step' in the files is not taken" in note
    np.testing.assert_array_equal(dvis.open(run.store).step, [200, np.nan, np.nan])
    assert any(note in line for line in describe(run.store))


def test_links_and_copies_that_say_no_place_are_left_out(run: VisualizeOptions) -> None:
    first, last = save(run, "epoch_1.pth", 1), save(run, "epoch_2.pth", 2)
    shutil.copy(last, last.with_name("last.pth"))
    last.with_name("best.pth").symlink_to(first)
    save(run, "ema.pth", 3)
    report = visualize(run)
    assert sorted(report.notes) == [
        "best.pth is the same as epoch_1.pth, and left out",
        "last.pth is the same as epoch_2.pth, and left out",
    ]
    assert dvis.open(run.store).checkpoint.values.tolist() == [
        "epoch_1.pth",
        "epoch_2.pth",
        "ema.pth",
    ]


def test_steps_and_checkpoints_are_given_to_a_measurement(run: VisualizeOptions) -> None:
    for n, label in enumerate(("a.pth", "b.pth", "c.pth")):
        save(run, label, n)
    options = {"store": run.store, "workers": 0, "layers": ("conv1",), "dataset": "shapes"}
    options |= {"n_images": 4, "name": "mine", "run": run.run}
    steps = {"a.pth": 30, "b.pth": {"step": 20, "epoch": 2}, "c.pth": 10}
    where = run.checkpoint_path[0]
    chosen = {"steps": steps, "checkpoint_patterns": ("[ab]*",)}
    measure.responses(run.model, where, **options, **chosen)
    ds = dvis.responses(run.store, name="mine")
    assert ds.checkpoint.values.tolist() == ["b.pth", "a.pth"]
    assert ds.step.values.tolist() == [20, 30]
    # What was told holds for what is measured later, of checkpoints that were not measured then.
    visualize(run)
    assert dvis.open(run.store).checkpoint.values.tolist() == ["c.pth", "b.pth", "a.pth"]
    assert dvis.open(run.store).epoch.sel(checkpoint="b.pth") == 2
    with pytest.raises(ValueError, match=r"No checkpoint 'd.pth' in the run"):
        measure.responses(run.model, where, **options, steps={"d.pth": 3})
    with pytest.raises(ValueError, match=r"like 'x\*'; there are: a.pth, b.pth, c.pth"):
        measure.responses(run.model, where, **options, checkpoint_patterns=("x*",))
