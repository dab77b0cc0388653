"""dvis forget: what should never have come in goes, of whatever kind, and nothing else does."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up_chains
import made_up_responses
import numpy as np
import pytest
import recorded_stores
import xarray as xr
from slowly import slowly
from trees import CHECKPOINTS, write_tree

import dvis
from dvis.cli import main
from dvis.info import describe
from dvis.kinds.features.tree.export import export_tree
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.forgetting import forget_checkpoints
from dvis.store.group import Group
from dvis.store.metrics import write_metrics

LABELS = made_up_responses.LABELS  # those of made-up chains are others


def features(store: Path) -> str:
    recorded_stores.write_store(store, LABELS, ("layer1", "layer2"), model="resnet18")
    return LABELS[1]


def compact_features(store: Path) -> str:
    features(store)
    dvis.compact_store(store)
    return LABELS[1]


def imported(store: Path) -> str:
    """The tree is there before the second time, and is not read again."""
    if not (store.parent / "tree").exists():
        write_tree(store.parent / "tree" / "feature_images" / "resnet18" / "checkpoints")
    ingest_tree(store.parent / "tree" / "feature_images" / "resnet18", store=store)
    return CHECKPOINTS[2]


def responses(store: Path) -> str:
    made_up_responses.write_responses(store, "image")
    return LABELS[1]


def cross_responses(store: Path) -> str:
    made_up_responses.write_responses(store, "image_checkpoint")
    return LABELS[1]


def chains(store: Path) -> str:
    made_up_chains.write_all(store)
    return made_up_chains.LABELS[1]


KINDS = [features, compact_features, imported, responses, cross_responses, chains]


def opened(store: Path) -> xr.Dataset:
    """All that readers see of the one group of a store."""
    (entry,) = dvis.contents(store).entries
    return dvis.open(store, entry.run, kind=entry.kind, name=entry.name)


def without(dataset: xr.Dataset, label: str) -> xr.Dataset:
    dims = ("checkpoint", "image_checkpoint")
    there = [dim for dim in dims if dim in dataset.dims and label in dataset[dim]]
    left = dataset.drop_sel(dict.fromkeys(there, label))
    # Where steps come from is said of the whole run; one that is not known makes all floats.
    left = left.assign_coords(step=left.step.astype(float))
    left["step"].attrs = {k: v for k, v in dataset["step"].attrs.items() if k != "source"}
    return left


@pytest.mark.parametrize(
    "made",
    [slowly(made) if made is features else made for made in KINDS],  # compact ones stay
)
def test_a_checkpoint_goes_and_the_others_stay_bit_for_bit(
    tmp_path: Path, made: Callable[[Path], str]
) -> None:
    store = tmp_path / "resnet18.zarr"
    label = made(store)
    before = opened(store).load()
    (removed, *others) = forget_checkpoints(store, [label])
    assert f": {label}, " in removed
    assert "0 parts" not in removed
    assert len(others) == (made is cross_responses)
    after = opened(store).load()
    assert label not in after.checkpoint
    xr.testing.assert_identical(without(after, label), without(before, label))
    assert dvis.check_store(store) == []
    with pytest.raises(KeyError, match=f"No checkpoint '{label}' in .*Checkpoints: "):
        [*forget_checkpoints(store, [label])]
    made(store)  # measured or imported again
    assert opened(store).load().equals(before)
    assert dvis.check_store(store) == []


@pytest.mark.parametrize("made", [cross_responses, chains, slowly(imported)])
def test_killed_at_any_moment_it_leaves_the_others_and_goes_on(
    tmp_path: Path, made: Callable[[Path], str]
) -> None:
    store = tmp_path / "resnet18.zarr"
    label = made(store)
    before = opened(store).load()
    n_killed = 0
    for n_steps in (0, 1, 3, 7, 10_000):
        process = multiprocessing.get_context("fork").Process(
            target=_die_forgetting, args=(store, label, n_steps)
        )
        process.start()
        process.join(60)
        n_killed += process.exitcode == -signal.SIGKILL
        there = opened(store).load()
        xr.testing.assert_identical(without(there, label), without(before, label))
        if label in there.checkpoint:
            assert bool((there.status.sel(checkpoint=label) == 0).all()) == (n_steps > 0)
    assert n_killed == 4
    assert label not in opened(store).checkpoint
    assert dvis.check_store(store) == []


def _die_forgetting(store: Path, label: str, n_steps: int) -> None:
    """Be killed before an array is emptied, so many having been, or before the label goes."""
    left = [n_steps]

    def dying(method: Callable[..., None]) -> Callable[..., None]:
        def step(self: Group, *arguments: Any) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            method(self, *arguments)

        return step

    Group.clear = dying(Group.clear)  # type: ignore[method-assign]  # this process ends
    Group.retract = dying(Group.retract)  # type: ignore[method-assign]
    for _ in forget_checkpoints(store, [label]):
        pass


def test_a_reader_from_before_sees_absent_units_and_never_others(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    label = features(store)
    before = opened(store).load()
    reader = opened(store)
    [*forget_checkpoints(store, [label])]
    recorded_stores.write_store(store, [*LABELS, "new.pth"], ("layer1", "layer2"), model="resnet18")
    row = reader.sel(checkpoint=label)
    assert (row.status == 0).all()
    assert row.activation.isnull().all()
    assert row.loss.isnull().all()
    xr.testing.assert_equal(without(reader.load(), label), without(before, label))


def test_space_is_freed_and_the_rest_can_be_compacted_and_exported(tmp_path: Path) -> None:
    store = tmp_path / "resnet18.zarr"
    label = features(store)
    n_before = _image_bytes(store)
    [*forget_checkpoints(store, [label])]
    assert _image_bytes(store) < 0.75 * n_before
    before = opened(store).load()
    assert dvis.compact_store(store) == 1
    xr.testing.assert_identical(opened(store).load(), before)
    exported = export_tree(store, tmp_path / "out")
    assert exported.n_images == 2 * 2 * 3
    assert not [path for path in (tmp_path / "out").rglob("*") if "forgotten" in path.name]
    assert "average-0" in (told := "\n".join(describe(store)))
    assert "forgotten" not in told
    assert "checkpoints" in told


def _image_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("image/c/**/*") if path.is_file())


def test_numbers_of_its_training_go_too(tmp_path: Path) -> None:
    store = tmp_path / "resnet18.zarr"
    label = responses(store)
    numbers = {each: {"val_loss": float(i)} for i, each in enumerate(LABELS)}
    write_metrics(store, "checkpoints", numbers)
    [*forget_checkpoints(store, [label])]
    assert opened(store).val_loss.values.tolist() == [0, 2]
    write_metrics(store, "checkpoints", {"new.pth": {"val_loss": 9.0}})
    responses(store)
    assert opened(store).val_loss.fillna(-1).values.tolist() == [0, -1, 2]


def test_the_run_is_asked_for_where_several_have_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "net.zarr"
    for run in ("1", "2"):
        recorded_stores.write_store(store, LABELS, ("layer1",), run=run)
    with pytest.raises(ValueError, match=r"several runs of .*: 1, 2\. Give --run"):
        [*forget_checkpoints(store, LABELS[:2])]
    with pytest.raises(SystemExit) as ended:
        main(["forget", str(store), "--checkpoint", *LABELS[:2], "--run", "2"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2, feature images average-0: {label}, 3 parts removed" for label in LABELS[:2]
    ]
    assert dvis.open(store, "1").checkpoint.values.tolist() == list(LABELS)
    assert dvis.open(store, "2").checkpoint.values.tolist() == [LABELS[2]]
    with pytest.raises(KeyError, match=r"No run '3' in .*Runs: 1, 2"):
        [*forget_checkpoints(store, LABELS[:1], run="3")]
    wrong = LABELS[0].replace("epoch_0", "epoch_7")
    with pytest.raises(KeyError, match=rf"No checkpoint '{wrong}' .*Did you mean '{LABELS[0]}'"):
        [*forget_checkpoints(store, [wrong], run="1")]


def test_all_of_a_run_can_go(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    features(store)
    [*forget_checkpoints(store, LABELS)]
    assert opened(store).sizes["checkpoint"] == 0
    assert np.isnan(opened(store).activation).all()
    assert dvis.check_store(store) == []
