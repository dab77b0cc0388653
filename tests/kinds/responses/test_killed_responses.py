"""Measuring responses, killed at any write: resumed, or set right by any writer."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
import zarr
from dying import dies_writing
from slowly import slowly
from tiny_models import write_checkpoints
from tiny_responses import loaded, of_features, options_of_shapes, store_of

import dvis
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.responses.plan import respond
from dvis.store.writer import restructuring

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(run_of_features: Path, tmp_path: Path) -> RespondOptions:
    return options_of_shapes(run_of_features, tmp_path / "own")


@pytest.mark.parametrize("n_written", [5, *map(slowly, (0, 1, 2))])
def test_killed_and_resumed_equals_an_unbroken_run(options: RespondOptions, n_written: int) -> None:
    # The process dies at the n-th write of a variable, so also between data and status.
    cross = of_features(options, "all", name="cross", batch_size=8)
    unbroken = [replace(each, name=f"whole-{i}") for i, each in enumerate((options, cross))]
    for each in unbroken:
        respond(each)
    for each in (options, cross):
        assert dies_writing(respond, each, n_written)
        respond(each)
    for name, whole in (("shapes-val", "whole-0"), ("cross", "whole-1")):
        xr.testing.assert_equal(loaded(options, name), loaded(options, whole))


@pytest.mark.parametrize("n_written", [1, 13, *map(slowly, (7, 18, 20))])
def test_a_group_that_was_killed_while_growing_is_set_right_by_any_writer(
    options: RespondOptions, n_written: int
) -> None:
    # The process dies at the n-th change of an array: of a length, a coordinate, or a label.
    respond(replace(options, layers=("conv1",)))
    before = loaded(options)
    write_checkpoints(options.checkpoint_path[0], 4)
    process = multiprocessing.get_context("fork").Process(
        target=_die_growing, args=(options, n_written)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    xr.testing.assert_identical(loaded(options), before)
    with restructuring(store_of(options)):  # of something else
        pass
    after = loaded(options)
    assert "" not in [*after.checkpoint.values, *after.layer.values]
    assert (after.n_channels > 0).all()
    kept = {dim: before[dim].values for dim in before.response.dims}
    xr.testing.assert_equal(after.response.sel(kept), before.response)
    assert dvis.check_store(store_of(options)) == []
    respond(options)
    assert loaded(options).sizes == {"checkpoint": 4, "layer": 3, "channel": 16, "image": 10}
    assert dvis.check_store(store_of(options)) == []


def _die_growing(options: RespondOptions, n_written: int) -> None:
    left = [n_written]

    def dying(change: Any) -> Any:
        def changed(*arguments: Any) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            change(*arguments)

        return changed

    zarr.Array.resize = dying(zarr.Array.resize)  # type: ignore[method-assign]  # this process ends
    zarr.Array.__setitem__ = dying(zarr.Array.__setitem__)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    respond(options)
