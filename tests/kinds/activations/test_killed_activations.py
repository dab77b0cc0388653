"""Activations that are killed while they are measured, and go on to the same bytes."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forked import fill_the_disk, run_command
from slowly import slowly
from tiny_activations import LAYERS, loaded, options_of, small_blocks, store_of, value_files

import dvis
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.activations.value_files import ValueFiles
from dvis.schema import SchemaError
from dvis.store.datasets import DATASETS, has_dataset, open_dataset
from dvis.store.group import Group
from dvis.store.writer import restructuring

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivationOptions:
    small_blocks(monkeypatch)
    return options_of(tmp_path, n_checkpoints=3)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> ActivationOptions:
    """What no kill has broken, of the same checkpoints."""
    whole = options_of(tmp_path_factory.mktemp("unbroken"), n_checkpoints=3)
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_blocks(monkeypatch)
        keep_activations(whole)
    return whole


def assert_same(options: ActivationOptions, unbroken: ActivationOptions) -> None:
    assert value_files(store_of(options)) == value_files(store_of(unbroken))
    for layer in LAYERS:
        xr.testing.assert_equal(loaded(options, layer), loaded(unbroken, layer))
    assert dvis.check_store(store_of(options)) == []


@pytest.mark.parametrize("n_written", [2, 9, *map(slowly, (0, 1, 40))])
def test_killed_at_a_write_and_resumed_equals_an_unbroken_run(
    options: ActivationOptions, unbroken: ActivationOptions, n_written: int
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_die_writing, args=(options, n_written)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    keep_activations(options)
    assert_same(options, unbroken)


def _die_writing(options: ActivationOptions, n_written: int) -> None:
    """Be killed at the n-th write of an array's part or of a file, so also between the two."""
    left = [n_written]

    def dying(write: Any) -> Any:
        def written(*arguments: Any) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            write(*arguments)

        return written

    Group.put = dying(Group.put)  # type: ignore[method-assign]  # this process ends
    ValueFiles.write = dying(ValueFiles.write)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    keep_activations(options)


@pytest.mark.parametrize("n_kills", [5, slowly(20)])
def test_killed_often_and_resumed_equals_an_unbroken_run(
    options: ActivationOptions, unbroken: ActivationOptions, tmp_path: Path, n_kills: int
) -> None:
    started = time.monotonic()
    keep_activations(replace(options, store=tmp_path / "timed.zarr"))
    whole = time.monotonic() - started
    rng = np.random.default_rng(0)
    n_killed = 0
    for _ in range(n_kills):
        process = multiprocessing.get_context("fork").Process(target=_run, args=(options,))
        process.start()
        process.join(rng.uniform(0.05, 0.05 + whole / 4))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            n_killed += 1
        process.join()
    keep_activations(options)
    assert n_killed >= n_kills // 2
    assert_same(options, unbroken)


def test_a_set_whose_maker_was_killed_before_it_was_shown_is_shown(
    options: ActivationOptions,
) -> None:
    store = store_of(options)
    keep_activations(options)
    (folder,) = (each for each in (store / DATASETS).iterdir() if each.is_dir())
    aside = store.with_name("aside")
    folder.rename(aside)
    with restructuring(store):
        pass  # which shows the store without it
    aside.rename(folder)
    assert has_dataset(store, folder.name)
    with pytest.raises(SchemaError, match="no image set"):
        open_dataset(store, folder.name)
    assert keep_activations(options).n_measured == 0
    assert open_dataset(store, folder.name).sizes["sample"] == options.n_images


def test_a_full_disk_ends_it_and_the_same_call_goes_on(
    options: ActivationOptions, tmp_path: Path
) -> None:
    assert options.checkpoint_path is not None
    arguments = [
        *("activations", "--model", options.model, "--layers", *options.layers),
        *("--checkpoint-path", str(options.checkpoint_path[0]), "--dataset", "shapes"),
        *("--n-images", str(options.n_images), "--workers", "0", "--store"),
    ]
    store, unbroken = store_of(options), tmp_path / "unbroken.zarr"
    full = run_command(*arguments, store, before=partial(fill_the_disk, 20_000))
    assert full.returncode == 2, full.stderr
    assert "Make space and run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    assert dvis.check_store(store) == []
    for each in (store, unbroken):
        assert run_command(*arguments, each).returncode == 0
    assert value_files(store) == value_files(unbroken)


def _run(options: ActivationOptions) -> None:
    torch.set_num_threads(1)
    keep_activations(options)


def test_a_missing_block_reads_as_nothing_and_is_refused(options: ActivationOptions) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_writing, args=(options, 12))
    process.start()
    process.join(60)
    with pytest.raises(ValueError, match=r"blocks of 9 of the activations .* are not there"):
        loaded(options, "conv1")
    partial = loaded(options, "conv1", allow_partial=True)
    lacks = partial["status"].values != 1
    block = np.repeat(np.arange(3), 8)[: partial.sizes["sample"]]
    assert lacks.any()
    for row, number in np.argwhere(lacks):
        values = partial["values"].values[row, block == number]
        assert np.isnan(values).all() or np.isfinite(values).all()
