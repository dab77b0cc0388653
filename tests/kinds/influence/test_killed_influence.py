"""Measuring influence, killed at any write, and resumed."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr
from tiny_influence import options_of

import dvis
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.influence.plan import measure_influence
from dvis.store.group import Group

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", ["ablation", "attribution"])
def test_killed_three_times_and_resumed_equals_an_unbroken_run(tmp_path: Path, method: str) -> None:
    options = options_of(tmp_path, method=method, name="killed")
    _compare(options, [0, 3, 8])


@pytest.mark.slow
def test_killed_twenty_times_and_resumed_equals_an_unbroken_run(tmp_path: Path) -> None:
    _compare(options_of(tmp_path, n_checkpoints=4, name="killed"), [n % 9 for n in range(20)])


def _compare(options: InfluenceOptions, kills: list[int]) -> None:
    assert options.store is not None
    measure_influence(replace(options, name="whole"))
    for n_written in kills:
        process = multiprocessing.get_context("fork").Process(
            target=_die_writing, args=(options, n_written)
        )
        process.start()
        process.join(60)
        assert process.exitcode in (-signal.SIGKILL, 0)
    measure_influence(options)
    killed, whole = (dvis.influence(options.store, name=name) for name in ("killed", "whole"))
    xr.testing.assert_equal(killed, whole)
    assert dvis.check_store(options.store) == []


def _die_writing(options: InfluenceOptions, n_written: int) -> None:
    left, put = [n_written], Group.put

    def dying(self: Group, *arguments: object) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        put(self, *arguments)  # type: ignore[arg-type]

    Group.put = dying  # type: ignore[method-assign]  # this process ends
    torch.set_num_threads(1)
    measure_influence(options)
