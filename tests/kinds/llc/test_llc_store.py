"""Chains into a store and out again: resumed, made longer, killed, and of other weights."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import made_up_chains
import numpy as np
import pytest
import xarray as xr
import zarr
from made_up_chains import (
    BURN_IN,
    DIVERGED,
    EPSILONS,
    GAMMAS,
    LABELS,
    N_CHAINS,
    N_DRAWS,
    SETTINGS,
    Chains,
    Start,
    all_tasks,
    chains_of,
    losses_of,
    prepare,
    record_all,
    recording,
    start_loss,
    start_of,
    write_all,
)

import dvis
from dvis.cli import main
from dvis.kinds.llc.words import WORDS
from dvis.schema import group_path
from dvis.store.portable import portable_attrs
from dvis.store.writer import restructuring

TESTS = Path(__file__).parents[2]
CELL = {"parameters": "all", "epsilon": EPSILONS[0]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three checkpoints, two gammas, three chains."""
    return write_all(tmp_path_factory.mktemp("written") / "net.zarr")


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A copy of that store, to change."""
    return Path(shutil.copytree(written, tmp_path / "net.zarr"))


def traces(store: Path, name: str | None = None) -> xr.Dataset:
    return dvis.llc_traces(store, name=name).load()


def loss_of(dataset: xr.Dataset, label: str, task: Chains, chain: int) -> np.ndarray:
    cell = {**CELL, "gamma": task.gamma, "parameters": task.parameters}
    return dataset.loss.sel(checkpoint=label, chain=chain, **cell).values


def test_what_is_recorded_is_read(store: Path) -> None:
    dataset = traces(store)
    assert dataset.loss.dims == ("checkpoint", "parameters", "epsilon", "gamma", "chain", "draw")
    assert dataset.loss.shape == (3, 1, 1, 2, N_CHAINS, N_DRAWS)
    assert dataset.loss.dtype == "float64"
    for label in LABELS:
        for task in all_tasks():
            np.testing.assert_array_equal(
                loss_of(dataset, label, task, task.chains[0]),
                losses_of(label, task, task.chains[0]),
            )
    np.testing.assert_allclose(dataset.distance, np.sqrt(dataset.loss), rtol=1e-6)
    assert (dataset.status == 1).all()
    assert (dataset.n_draws == N_DRAWS).all()
    assert (dataset.n_finite == N_DRAWS).all()
    assert dataset.init_loss.values.tolist() == [start_loss(label) for label in LABELS]
    assert dataset.hmax.values.tolist() == [[1.0]] * 3
    assert dataset.n_parameters.item() == 7
    assert dataset.step.values.tolist() == [0, 100, 200]
    assert dataset.attrs["model"] == "net"
    assert {key: dataset.attrs[key] for key in SETTINGS} == portable_attrs(SETTINGS)
    shown = {"parameters": "all", "epsilon": 1e-4, "gamma": 1.0}
    assert json.loads(dataset.attrs["shown"]) == shown


def test_every_array_is_as_it_is_described(store: Path) -> None:
    group = zarr.open_group(store, path=group_path("1", "llc", "llc"), mode="r")
    for name, spec in WORDS.arrays.items():
        array: Any = group[name]
        assert array.metadata.dimension_names == spec.dims
        assert np.dtype(array.dtype) == np.dtype(spec.dtype)
    assert dvis.llc_traces(store).status.attrs["flag_meanings"] == "to_do done diverged failed"


def test_checkpoints_are_in_training_order_whatever_their_names(tmp_path: Path) -> None:
    with recording(tmp_path / "net.zarr") as recorder:
        prepare(recorder, labels=LABELS[::-1], steps={})
    found = traces(tmp_path / "net.zarr").checkpoint.values.tolist()
    assert [label.split("epoch_")[1][:2] for label in found] == ["2_", "9_", "10"]


def test_a_second_run_has_nothing_to_do(store: Path) -> None:
    before = traces(store)
    with recording(store) as recorder:
        prepare(recorder)
        assert record_all(recorder) == 0
        assert recorder.n_of_other_weights == 0
    xr.testing.assert_identical(traces(store), before)


def test_starts_are_recorded_before_any_chain_is_asked_for(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    with recording(store) as recorder:
        prepare(recorder, parameters=("all", "fc"), epsilons=(), gammas=(), n_chains=0, n_draws=0)
        task = Start(("all", "fc"))
        assert recorder.missing(LABELS[0], task) == (0, 1)
        second = Start(("all", "fc"), (1,))
        assert recorder.missing(LABELS[0], second) == (1,)
        recorder.record(LABELS[0], second, start_of(LABELS[0], second))
        assert recorder.missing(LABELS[0], task) == (0,)
        assert recorder.missing(LABELS[0], second) == ()
        assert recorder.hmax().sel(parameters="fc").values.tolist()[0] == 1
        assert recorder.hmax().isnull().sum() == 5
        recorder.note(auto_epsilon=0.25)
        prepare(recorder, parameters=("all", "fc"))
        assert recorder.missing(LABELS[0], task) == (0,)
        assert recorder.missing(LABELS[0], Chains(chains=(0, 2))) == (0, 2)
    with recording(store) as recorder:
        prepare(recorder)
        assert recorder.attrs["auto_epsilon"] == 0.25
    assert np.isnan(traces(store).init_loss.values).tolist() == [False, True, True]


def test_a_curvature_that_cannot_be_known_is_asked_for_once(tmp_path: Path) -> None:
    with recording(tmp_path / "net.zarr") as recorder:
        prepare(recorder)
        recorder.record(LABELS[0], Start(), start_of(LABELS[0], Start(), shift=np.nan))
        assert recorder.missing(LABELS[0], Start()) == ()
        recorder.fail(LABELS[1], Start(), "out of memory")
        assert recorder.missing(LABELS[1], Start()) == (0,)
        assert recorder.hmax().isnull().all()


def test_more_chains_draws_and_cells_leave_the_first_ones_as_they_are(store: Path) -> None:
    before = traces(store)
    with recording(store) as recorder:
        prepare(recorder, n_chains=9, epsilons=(1e-5, *EPSILONS), gammas=(10.0, *GAMMAS))
        assert record_all(recorder, n_chains=9) == 3 * 2 * 6
    wider = traces(store)
    assert wider.epsilon.values.tolist() == [1e-5, 1e-4]
    assert wider.gamma.values.tolist() == [1.0, 10.0, 100.0]
    old = wider.sel(epsilon=before.epsilon, gamma=before.gamma, chain=before.chain)
    xr.testing.assert_equal(old, before)
    n_draws = 3 * N_DRAWS
    with recording(store) as recorder:
        prepare(recorder, n_draws=n_draws)
        assert recorder.missing(LABELS[0], Chains(chains=(0, 1))) == (0, 1)
        assert record_all(recorder, n_draws=n_draws) == 3 * 2 * 3
    longer = traces(store).sel(epsilon=before.epsilon, gamma=before.gamma, chain=before.chain)
    np.testing.assert_array_equal(longer.loss[..., :N_DRAWS], before.loss)
    assert (longer.n_draws == n_draws).all()
    with recording(store) as recorder:
        prepare(recorder)  # fewer again
        assert record_all(recorder) == 0
    assert traces(store).sizes["draw"] == n_draws


def test_several_chains_of_a_task_go_where_they_belong(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    with recording(store) as recorder:
        prepare(recorder, n_chains=12)
        task = Chains(gamma=100.0, chains=(1, 4, 10))
        recorder.record(LABELS[1], task, chains_of(LABELS[1], task))
        assert recorder.missing(LABELS[1], Chains(gamma=100.0, chains=(0, 1, 4, 10))) == (0,)
    dataset = traces(store)
    assert int((dataset.status == 1).sum()) == 3
    for chain in task.chains:
        found = loss_of(dataset, LABELS[1], task, chain)
        np.testing.assert_array_equal(found, losses_of(LABELS[1], task, chain))


def test_a_failed_chain_is_sampled_again_and_its_error_goes(store: Path) -> None:
    with recording(store) as recorder:
        prepare(recorder, n_chains=5)
        task = Chains(chains=(0, 3))
        recorder.fail(LABELS[0], task, "out of memory")
        assert recorder.missing(LABELS[0], task) == (3,)  # the first was there
        bad = chains_of(LABELS[0], Chains(chains=(4,)))
        bad["error"][:] = "no gradient"
        said = recorder.record(LABELS[0], Chains(chains=(4,)), bad)
        assert said == [f"{LABELS[0]}, all, epsilon 0.0001, gamma 1, chain 4: failed: no gradient"]
    status = traces(store).status.sel(checkpoint=LABELS[0], gamma=1.0, **CELL)
    assert status.values.tolist() == [1, 1, 1, 3, 3]
    problems: Any = zarr.open_group(store, path=group_path("1", "llc", "llc"), mode="r")[
        "source/problem"
    ]
    assert problems[0, 0, 0, 0, 3:].tolist() == ["failed: out of memory", "failed: no gradient"]
    with recording(store) as recorder:
        prepare(recorder, n_chains=5)
        record_all(recorder, n_chains=5)
    assert (traces(store).status == 1).all()
    assert (problems[:] == "").all()


def test_a_diverged_chain_is_kept_and_named(store: Path) -> None:
    with recording(store) as recorder:
        prepare(recorder, n_chains=4)
        task = Chains(chains=(3,))
        said = recorder.record(LABELS[0], task, chains_of(LABELS[0], task, n_finite=4))
        assert "chain 3: diverged, 4 of 40 losses are finite" in said[0]
        assert recorder.missing(LABELS[0], task) == ()
    chain = traces(store).sel(checkpoint=LABELS[0], gamma=1.0, chain=3, **CELL)
    assert (int(chain.status), int(chain.n_finite)) == (DIVERGED, 4)
    assert np.isfinite(chain.loss.values).sum() == 4


def test_other_settings_under_an_old_name_are_refused(store: Path) -> None:
    before = traces(store)
    data = {**SETTINGS["data"], "fingerprint": "2e"}
    for other, text in (
        ({"nbeta": 12.5, "seed": 1}, r"nbeta \(10.0 there, 12.5 asked for\); seed \(0 there"),
        ({"data": data}, r"data's fingerprint. Give another --name, or --overwrite"),
    ):
        with recording(store, **other) as recorder, pytest.raises(ValueError, match=text):
            prepare(recorder)
    xr.testing.assert_identical(traces(store), before)
    with recording(store, "second", data=data) as recorder:
        prepare(recorder)
    assert dvis.llc_names(store) == ["llc", "second"]
    with recording(store, overwrite=True, data=data) as recorder:
        prepare(recorder)
    assert (traces(store, "llc").status == 0).all()


def test_a_group_without_tags_of_losses_is_grown_still(tmp_path: Path) -> None:
    old = {"loss": "mine:loss", "loss_fingerprint": "5f3a"}
    store = tmp_path / "s.zarr"
    with recording(store, **old) as recorder:
        prepare(recorder)
    for tag in ("", "v1"):
        with recording(store, loss="mine:loss", loss_tag=tag) as recorder:
            prepare(recorder)
    with (
        recording(store, loss="mine:other", loss_tag="") as recorder,
        pytest.raises(ValueError, match=r"loss \(mine:loss there, mine:other asked for\)"),
    ):
        prepare(recorder)
    with recording(store, "named") as recorder:
        prepare(recorder)
    with recording(store, "named", loss_tag="") as recorder:
        prepare(recorder)
    with (
        recording(store, "named", loss_tag="v1") as recorder,
        pytest.raises(ValueError, match=r"loss_tag \(None there, v1 asked for\)"),
    ):
        prepare(recorder)


def test_chains_of_other_weights_are_kept_and_counted(store: Path) -> None:
    before = traces(store)
    moved = {LABELS[0]: 99, LABELS[1]: 12, LABELS[2]: 13}
    with recording(store) as recorder:
        prepare(recorder, fingerprints=moved, n_chains=4, parameters=("all", "fc"))
        assert recorder.n_of_other_weights == 2 * N_CHAINS
        # Nothing of the new weights may be held against the loss of the old.
        assert recorder.missing(LABELS[0], Start(("fc",))) == ()
        assert recorder.missing(LABELS[0], Chains(chains=(3,))) == ()
        assert recorder.missing(LABELS[1], Chains(chains=(3,))) == (3,)
    old = traces(store).sel(chain=before.chain, parameters=["all"])
    xr.testing.assert_equal(old, before)
    with recording(store, overwrite=True) as recorder:
        prepare(recorder, fingerprints=moved)
        assert recorder.missing(LABELS[0], Start()) == (0,)
        recorder.record(LABELS[0], Start(), start_of(LABELS[0], Start(), shift=0.5))
        assert record_all(recorder) == 2 * N_CHAINS
    with recording(store) as recorder:
        prepare(recorder, fingerprints=moved)
        assert recorder.n_of_other_weights == 0
    assert traces(store).init_loss.values.tolist() == [1.5, 2.0, 3.0]


def test_a_start_of_other_weights_without_chains_is_measured_again(tmp_path: Path) -> None:
    with recording(tmp_path / "net.zarr") as recorder:
        prepare(recorder)
        recorder.record(LABELS[0], Start(), start_of(LABELS[0], Start()))
        prepare(recorder, fingerprints={LABELS[0]: 99})
        assert recorder.missing(LABELS[0], Start()) == (0,)
        assert recorder.missing(LABELS[0], Chains()) == (0,)


def test_a_killed_process_leaves_whole_chains_and_is_resumed(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    program = [sys.executable, made_up_chains.__file__, str(store)]
    for n_recorded in (3, len(_chains_of_labels()) + 4):  # the second time, they grow longer
        with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=TESTS) as process:
            assert process.stdout is not None
            for _ in range(n_recorded):
                assert process.stdout.readline() == b"recorded\n"
            time.sleep(0.02)  # in the middle of the next
            process.send_signal(signal.SIGKILL)
        assert _check_whole(store) >= 3
    with recording(store) as recorder:
        prepare(recorder)
        n_there = sum(not recorder.missing(*each) for each in _chains_of_labels())
        assert record_all(recorder) == len(_chains_of_labels()) - n_there
    assert _check_whole(store) == len(_chains_of_labels())
    assert (dvis.llc(store, burn_in=BURN_IN).n_chains == N_CHAINS).all()


def _chains_of_labels() -> list[tuple[str, Chains]]:
    return [(label, task) for label in LABELS for task in all_tasks()]


def _check_whole(store: Path) -> int:
    """Number of chains that count, each of which has all of its losses."""
    if not dvis.llc_names(store):
        return 0  # killed before there was a group
    dataset, n_whole = traces(store), 0
    for label, task in _chains_of_labels():
        chain = dataset.sel(checkpoint=label, gamma=task.gamma, chain=task.chains[0], **CELL)
        if chain.status != 1:
            continue
        n_whole += 1
        n_draws = int(chain.n_draws)
        expected = losses_of(label, task, task.chains[0], n_draws)
        np.testing.assert_array_equal(chain.loss[:n_draws], expected)
        np.testing.assert_allclose(chain.noise_norm[:n_draws], np.sqrt(expected), rtol=1e-6)
        assert chain.mala == np.float32(0.9)
    assert int(dvis.llc(store, burn_in=0).n_chains.sum()) == n_whole
    return n_whole


def test_a_group_that_was_killed_while_it_grew_is_set_right(store: Path) -> None:
    before = traces(store)
    group = zarr.open_group(
        store, path=group_path("1", "llc", "llc"), mode="r+", use_consolidated=False
    )
    for name in ("loss", "status", "epoch"):
        array: Any = group[name]
        array.resize((array.shape[0] + 5, *array.shape[1:]))
    with restructuring(store):
        pass  # as any writer of the store does at its end
    xr.testing.assert_identical(traces(store), before)
    loss: Any = group["loss"]
    loss.resize((*loss.shape[:-1], 1000))
    with recording(store) as recorder:
        prepare(recorder)
        assert record_all(recorder) == 0
    xr.testing.assert_identical(traces(store), before)


def test_names_that_are_not_there_are_answered(store: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="Did you mean 'llc'"):
        dvis.llc_traces(store, name="lc")
    with pytest.raises(KeyError, match="Runs: 1"):
        dvis.llc_traces(store, run="2")
    with recording(store, "calibration-last") as recorder:
        prepare(recorder)
        recorder.note(kind_of_run="calibration")
    assert dvis.llc_traces(store).attrs["name"] == "llc"
    for name in ("seed-1", "seed-2"):
        write_all(tmp_path / "other.zarr", name)
    with pytest.raises(ValueError, match="chains by several names: seed-1, seed-2"):
        dvis.llc_traces(tmp_path / "other.zarr")
    empty = tmp_path / "empty.zarr"
    with recording(empty):
        pass
    with pytest.raises(
        dvis.SchemaError, match="holds no chains yet; make some with `dvis llc estimate`"
    ):
        dvis.llc_traces(empty)
    with pytest.raises(KeyError) as caught:
        dvis.llc_traces(store).sel(parameters="al")
    assert "No parameters 'al' in the Dataset. Parameters: all." in str(caught.value)


def test_check_finds_nothing_in_a_sound_store(store: Path) -> None:
    with recording(store) as recorder:
        prepare(recorder, n_chains=6)
        task = Chains(chains=(3, 4))
        recorder.record(LABELS[0], task, chains_of(LABELS[0], task, n_finite=4))
        recorder.fail(LABELS[0], Chains(chains=(5,)), "out of memory")
    assert dvis.check_store(store) == []


def test_check_marks_chains_that_cannot_be_trusted(store: Path) -> None:
    group = zarr.open_group(
        store, path=group_path("1", "llc", "llc"), mode="r+", use_consolidated=False
    )
    loss, status, weights = (group[name] for name in ("loss", "status", "source/weights"))
    before = traces(store)
    loss[0, 0, 0, 0, 1, 5] = np.nan
    status[1, 0, 0, 1, 0] = 0
    status[1, 0, 0, 1, 1] = 9
    weights[2, 0, 0, 0, 2] = 0
    found = {fault.unit: fault.message for fault in dvis.check_store(store, fix=True)}
    assert "finite losses than it says" in found[(0, 0, 0, 0, 1)]
    assert "a run goes on, or died" in found[(1, 0, 0, 1, 0)]
    assert "none of its kind" in found[(1, 0, 0, 1, 1)]
    assert "of which weights" in found[(2, 0, 0, 0, 2)]
    assert len(found) == 4
    assert dvis.check_store(store) == []
    assert int(dvis.llc(store).n_missing.sum()) == 4
    with recording(store) as recorder:
        prepare(recorder)
        assert record_all(recorder) == 4
    xr.testing.assert_identical(traces(store), before)


def test_check_repairs_what_a_damaged_file_holds(store: Path) -> None:
    before = traces(store)
    file = store / group_path("1", "llc", "llc") / "loss" / "c" / "0" / "0" / "0" / "1" / "0" / "0"
    file.write_bytes(file.read_bytes()[:100])
    faults = dvis.check_store(store, fix=True)
    assert len(faults) == 3 * N_CHAINS
    assert "epsilon 0.0001, gamma 100, chain 0: its loss is damaged" in str(faults[0])
    with recording(store) as recorder:
        prepare(recorder)
        assert record_all(recorder) == 3 * N_CHAINS
    xr.testing.assert_identical(traces(store), before)


def test_info_tells_of_chains(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recording(store) as recorder:
        prepare(recorder, n_chains=4)
        task = Chains(chains=(3,))
        recorder.record(LABELS[0], task, chains_of(LABELS[0], task, n_finite=4))
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(store)])
    expected = (
        "chains of 1: llc, 3 checkpoints, 18 done, 1 diverged; not settled, the pull needs 20,000 "
    )
    assert expected in capsys.readouterr().out
