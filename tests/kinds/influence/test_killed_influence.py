"""Measuring influence and shares of edges, killed at any write, and resumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from dying import dies_writing
from tiny_influence import edges_options_of, options_of

import dvis
from dvis.kinds.edges.plan import measure_edges
from dvis.kinds.influence.plan import measure_influence

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", ["ablation", "attribution"])
def test_killed_three_times_and_resumed_equals_an_unbroken_run(tmp_path: Path, method: str) -> None:
    options = options_of(tmp_path, method=method, name="killed")
    assert _compare("influence", measure_influence, options, [0, 3, 8]) == 3


def test_edges_killed_and_resumed_or_by_two_workers_equal_an_unbroken_run(tmp_path: Path) -> None:
    options = edges_options_of(tmp_path, n_checkpoints=4, name="killed")
    assert _compare("edges", measure_edges, options, [0, 1, 3, 4]) == 4
    measure_edges(replace(options, name="by two", workers=2))
    by_two, whole = (dvis.edges(options.store, name=name) for name in ("by two", "whole"))
    xr.testing.assert_equal(by_two, whole)


@pytest.mark.slow
def test_killed_twenty_times_and_resumed_equals_an_unbroken_run(tmp_path: Path) -> None:
    options = options_of(tmp_path, n_checkpoints=12, name="killed")
    kills = [n % 9 for n in range(20)]
    assert _compare("influence", measure_influence, options, kills) == 20


def _compare(kind: str, measure: Callable[..., object], options: Any, kills: Sequence[int]) -> int:
    """How many kills fell; what the last left, gone on with, is the same as never killed."""
    measure(replace(options, name="whole"))
    n_killed = sum(dies_writing(measure, options, n_written) for n_written in kills)
    measure(options)
    killed, whole = (dvis.open(options.store, kind=kind, name=n) for n in ("killed", "whole"))
    xr.testing.assert_equal(killed, whole)
    assert dvis.check_store(options.store) == []
    return n_killed
