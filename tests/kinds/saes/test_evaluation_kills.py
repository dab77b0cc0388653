"""A killed evaluation shows nothing half written; evaluated again it is an unbroken one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny_activations import options_of, store_of

import dvis
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.store_options import TrainOptions
from dvis.kinds.saes.words import evaluation_words
from dvis.schema import Status

LAYER, N_CHECKPOINTS = "conv2", 2
# What is written where all is asked for, and what tells that a part of it is there.
MARKS = {"probe_": "probe_accuracy", "null_probe_": "probe_accuracy", "control_": "control_l0"}

# Evaluates in a process of its own for each line that it reads, so that torch is imported once.
PROGRAM = """
import json, os, sys, traceback
from pathlib import Path
import torch
from dvis.kinds.saes.measure import probes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions
torch.set_num_threads(1)
print(0, flush=True)
probes._LEAST = 1
how = dict(layer="conv2", split="all", n_top=3, n_shuffles=4)
for line in sys.stdin:
    if not (child := os.fork()):
        try:
            store, controls = json.loads(line)
            evaluate_saes(EvaluateOptions(store=Path(store), controls=controls, **how))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Evaluations:
    """Evaluations of copies of one store, each in a process, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._n_copies = folder, 0
        options = options_of(folder, N_CHECKPOINTS, layers=(LAYER,), n_images=60)
        keep_activations(options)
        self._trained = store_of(options)
        how = {"k": (2,), "expansion": (2.0,), "tokens": "2k", "batch_size": 256}
        train_saes(TrainOptions(store=self._trained, layer=LAYER, checkpoints=("all",), **how))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == 0  # it has imported all

    def unbroken(self, *, controls: bool) -> tuple[xr.Dataset, float]:
        """What an evaluation finds that nothing kills, and how many seconds it takes."""
        store, began = self.copy(), time.monotonic()
        assert not self.evaluate(store, controls=controls)
        seconds = time.monotonic() - began
        return dvis.latents(store, LAYER).load(), seconds

    def copy(self) -> Path:
        """A store with autoencoders that are not evaluated."""
        self._n_copies += 1
        return Path(shutil.copytree(self._trained, self._folder / f"{self._n_copies}/net.zarr"))

    def evaluate(self, store: Path, *, controls: bool, kill_after: float | None = None) -> bool:
        """Evaluate all; whether it was killed on the way."""
        assert self.process.stdin is not None
        print(json.dumps([str(store), controls]), file=self.process.stdin, flush=True)
        child = self._read()
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        status = self._read()
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def _read(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluations]:
    evaluations = Evaluations(tmp_path_factory.mktemp("evaluations"))
    with evaluations.process:
        yield evaluations


def shown_complete(store: Path, unbroken: xr.Dataset) -> int:
    """How many checkpoints are shown complete, all of which has to be as it should be."""
    try:
        found = dvis.latents(store, LAYER).load()
    except dvis.SchemaError:
        return 0  # killed before there was a group
    words = evaluation_words().arrays
    is_complete = found["status"].values == Status.COMPLETE
    for name in found.data_vars:
        there = is_complete
        if name in words and words[name].is_optional:
            (mark,) = (of for start, of in MARKS.items() if str(name).startswith(start))
            there = is_complete & found[mark].notnull().values.reshape(len(there), -1).any(1)
        labels = found["checkpoint"].values[there]
        xr.testing.assert_equal(
            found[name].sel(checkpoint=labels), unbroken[name].sel(checkpoint=labels)
        )
    return int(is_complete.sum())


def kill_and_evaluate_again(evaluations: Evaluations, n_kills: int, *, controls: bool) -> None:
    """One kill of each of so many evaluations, at random moments of equal shares of its time."""
    generator = np.random.default_rng(n_kills)
    unbroken, seconds = evaluations.unbroken(controls=controls)
    assert np.isfinite(unbroken.probe_accuracy).all()
    complete = []
    for kill in range(n_kills):
        store = evaluations.copy()
        after = (kill + generator.random()) / n_kills * seconds
        while not evaluations.evaluate(store, controls=controls, kill_after=after):
            store, after = evaluations.copy(), after / 2  # it had ended before
        complete.append(shown_complete(store, unbroken))
        assert not evaluations.evaluate(store, controls=controls)
        again = dvis.latents(store, LAYER).load()
        xr.testing.assert_equal(again, unbroken)
        assert again.attrs == unbroken.attrs
        assert dvis.check_store(store) == []
        assert not (store.parent / ".net.zarr.training").exists()
    assert min(complete) < N_CHECKPOINTS


def test_three_kills_leave_what_an_unbroken_evaluation_finds(evaluations: Evaluations) -> None:
    kill_and_evaluate_again(evaluations, 3, controls=False)


@pytest.mark.slow
def test_twenty_kills_leave_what_an_unbroken_evaluation_finds(evaluations: Evaluations) -> None:
    kill_and_evaluate_again(evaluations, 20, controls=True)
