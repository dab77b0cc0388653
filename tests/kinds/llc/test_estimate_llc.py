"""Chains of every checkpoint into a store: resumed, added to, refused under an old name."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
import numpy as np
import pytest
import torch
import xarray as xr
from tiny_llc import SETTINGS, changed, loaded, options_of_chains, store_of
from tiny_models import write_checkpoints

from dvis.kinds.llc.estimation import estimate_llc
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.read import llc_names
from dvis.models.checkpoints import find_checkpoints
from dvis.sweep.record import GroupRecorder

if TYPE_CHECKING:
    from dvis.models.training import TrainingRun

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(finished_run: "TrainingRun", tmp_path: Path) -> EstimateOptions:
    return options_of_chains(finished_run.folder, tmp_path / "net.zarr")


def test_the_loss_at_the_start_is_that_of_all_training_images(
    options: EstimateOptions, finished_run: "TrainingRun"
) -> None:
    estimate_llc(options)
    # The training measured it on the first twenty images that it drew; all hundred are here.
    expected = finished_run.metrics.train_loss.sel(checkpoint=loaded(options).checkpoint)
    np.testing.assert_allclose(loaded(options).init_loss, expected, atol=0.5)


@pytest.mark.parametrize("n_recorded", [0, 3])
def test_killed_and_resumed_equals_an_unbroken_run(
    options: EstimateOptions, n_recorded: int
) -> None:
    unbroken = replace(options, name="unbroken")
    estimate_llc(unbroken)
    process = multiprocessing.get_context("fork").Process(
        target=_die_recording, args=(options, n_recorded)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert estimate_llc(options).n_measured == 8 - max(0, n_recorded - 2)
    xr.testing.assert_equal(loaded(options), loaded(unbroken))


def _die_recording(options: EstimateOptions, n_recorded: int) -> None:
    left = [n_recorded]  # the starts of both checkpoints among them
    record = GroupRecorder.record

    def dying(self: GroupRecorder, *arguments: Any) -> list[str]:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return record(self, *arguments)

    GroupRecorder.record = dying  # type: ignore[method-assign]  # this process ends
    torch.set_num_threads(1)
    estimate_llc(options)


def test_more_chains_and_draws_later_leave_the_first_unchanged(options: EstimateOptions) -> None:
    estimate_llc(options)
    before = loaded(options)
    assert estimate_llc(replace(options, chains=3)).n_measured == 4
    after = loaded(options)
    assert after.sizes["chain"] == 3
    xr.testing.assert_equal(after.isel(chain=slice(2)).loss, before.loss)
    assert not np.array_equal(after.loss.isel(chain=2), after.loss.isel(chain=1))
    longer = replace(options, settings=replace(SETTINGS, draws=9))
    assert estimate_llc(longer).n_measured == 8
    grown = loaded(options).loss
    xr.testing.assert_equal(grown.isel(chain=slice(2), draw=slice(10)), before.loss)
    assert grown.isel(chain=slice(2)).notnull().all()


def test_checkpoints_are_in_training_order_and_differ(
    options: EstimateOptions, finished_run: "TrainingRun", tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for epoch, path in zip((10, 2, 1), find_checkpoints(finished_run.folder), strict=False):
        folder.mkdir(exist_ok=True)
        name = f"checkpoint_2024-03-25-{epoch:02d}h00_epoch_{epoch}_end_epoch.pth.tar"
        shutil.copy(str(path.path), folder / name)
    estimate_llc(replace(options, checkpoint_path=(folder,), gamma=(10.0,), chains=1))
    traces = loaded(options)
    epochs = [label.split("epoch_")[1].split("_")[0] for label in traces.checkpoint.values]
    assert epochs == ["1", "2", "10"]
    losses = traces.loss.squeeze()
    assert len(np.unique(losses.isel(draw=0))) == 3


def test_other_data_and_settings_under_an_old_name_are_refused(options: EstimateOptions) -> None:
    estimate_llc(options)
    before = loaded(options)
    for other in (
        replace(options, n_images=50),
        replace(options, split="val"),
        replace(options, settings=replace(SETTINGS, seed=1)),
        replace(options, settings=replace(SETTINGS, method="rmsprop")),
    ):
        with pytest.raises(ValueError, match=r"--name, or --overwrite"):
            estimate_llc(other)
    xr.testing.assert_identical(loaded(options), before)
    fewer = replace(options, n_images=50)
    estimate_llc(replace(fewer, name="fewer"))
    assert llc_names(store_of(options)) == ["fewer", "llc"]
    assert estimate_llc(changed(fewer, overwrite=True)).n_measured == 8
    assert json.loads(loaded(options).attrs["data"])["n_samples"] == 50


def test_weights_are_chosen_by_regular_expressions(options: EstimateOptions) -> None:
    estimate_llc(replace(options, parameters=("6", "bias$")))
    assert set(loaded(options).parameters.values) == {"6", "bias$"}
    with pytest.raises((KeyError, ValueError), match="conv9"):
        estimate_llc(replace(options, parameters=("conv9",)))


def test_epsilon_of_auto_is_one_value_for_the_whole_group(options: EstimateOptions) -> None:
    auto = replace(options, epsilon="auto", chains=1, checkpoint_path=options.checkpoint_path[:1])
    first = estimate_llc(auto)
    traces = loaded(auto)
    nbeta = traces.attrs["nbeta"]
    bound = 0.4 / (nbeta * float(traces.hmax.max()) + 100)
    assert 0.9 * bound < first.epsilon[0] <= bound
    assert traces.epsilon.values.tolist() == list(first.epsilon)
    later = estimate_llc(replace(auto, checkpoint_path=options.checkpoint_path, gamma=(1.0,)))
    assert later.epsilon == first.epsilon
    assert loaded(auto).sizes["epsilon"] == 1


def test_dask_gives_the_numbers_of_this_process(options: EstimateOptions) -> None:
    few = replace(options, gamma=(10.0,), chains=1, checkpoint_path=options.checkpoint_path[:1])
    estimate_llc(few)
    # In threads, for a process would load torch first; what is sent is serialised all the same.
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=None,
            processes=False,
            protocol="tcp",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        assert estimate_llc(replace(few, name="dask"), client=client).n_measured == 1
    xr.testing.assert_equal(loaded(few), loaded(few, "dask"))


def test_the_burn_in_of_readers_stays_until_chains_become_longer(options: EstimateOptions) -> None:
    few = replace(options, gamma=(10.0,), chains=1)
    assert estimate_llc(few).burn_in == 4
    for settings in (
        replace(SETTINGS, burn_in=2, draws=8),
        replace(SETTINGS, burn_in=6, draws=4),
        replace(SETTINGS, burn_in=1, draws=3),
    ):
        again = estimate_llc(replace(few, settings=settings))
        assert (again.n_measured, again.burn_in) == (0, 4)
    assert loaded(few).attrs["burn_in"] == 4
    longer = estimate_llc(replace(few, settings=replace(SETTINGS, burn_in=6, draws=6)))
    assert (longer.n_measured, longer.burn_in) == (2, 6)
    assert loaded(few).attrs["burn_in"] == 6


def test_images_are_those_of_the_training_unless_told_otherwise(
    options: EstimateOptions, tmp_path: Path
) -> None:
    write_checkpoints(tmp_path / "foreign", 1)
    foreign = replace(
        options, model="tiny_models:net", checkpoint_path=(tmp_path / "foreign",), name="foreign"
    )
    with pytest.raises(ValueError, match="do not tell what they were trained on"):
        estimate_llc(foreign)
    content = torch.load(options.checkpoint_path[0], weights_only=True)
    content["data"]["fingerprint"] = "recipe-other"
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="are not those that the checkpoints were trained on"):
        estimate_llc(replace(options, checkpoint_path=(tmp_path / "other.pth",)))


def test_a_damaged_checkpoint_fails_alone(options: EstimateOptions, tmp_path: Path) -> None:
    damaged = tmp_path / "checkpoint_2024-03-25-00h00_epoch_0_train_3.pth.tar"
    damaged.write_bytes(options.checkpoint_path[0].read_bytes()[:2000])
    report = estimate_llc(
        replace(options, checkpoint_path=(*options.checkpoint_path, damaged), gamma=(10.0,))
    )
    assert report.n_measured == 4
    assert report.n_failed >= 2
    assert any(damaged.name in note for note in report.notes)
