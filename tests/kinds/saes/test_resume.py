"""A training that is killed goes on, and ends in the bits of an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from planted_rows import planted

from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions

# Trains in a process of its own for each line that it reads, so that torch is imported once.
PROGRAM = """
import json, os, sys, traceback
from pathlib import Path
import numpy as np
import torch
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions
torch.set_num_threads(1)
x = np.load(sys.argv[1])
options = [SaeOptions(k=2, matryoshka=True), SaeOptions(k=2, resample=True, dead_window=640)]
options.append(SaeOptions(kind="jumprelu", target_l0=3))

def train_all(state, out, n_steps):
    steps = PassOptions(n_steps=n_steps, save_every=3, log_every=10)
    found = train(ArrayRows(x, batch_size=64), options, steps, state=Path(state))
    arrays = {}
    for n, one in enumerate(found):
        arrays |= {f"{n}.{name}": log for name, log in one.log.items()}
        for name in ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold"):
            arrays[f"{n}.{name}"] = getattr(one.autoencoder, name)
    np.savez(out, **arrays)

for line in sys.stdin:
    if not (child := os.fork()):
        try:
            train_all(*json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Trainings:
    """Trainings on the same rows, each in a process, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        np.save(folder / "x.npy", planted(2_000, n_channels=16, n_atoms=24, k=2)[1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder / "x.npy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def trained(self, name: str, n_steps: int, n_kills: int = 0) -> dict[str, bytes]:
        """Bytes of all that comes out of a training that was killed so many times."""
        rng = np.random.default_rng(0)
        out = self._folder / f"{name}.npz"
        for _ in range(n_kills):
            child = self._begin(name, n_steps)
            time.sleep(rng.uniform(0.05, 0.3))
            os.kill(child, signal.SIGKILL)
            assert self._read() == -signal.SIGKILL, "it ended before it was killed"
        self._begin(name, n_steps)
        assert self._read() == 0
        with np.load(out) as arrays:
            return {key: array.tobytes() for key, array in arrays.items()}

    def _begin(self, name: str, n_steps: int) -> int:
        assert self.process.stdin is not None
        order = [str(self._folder / name), str(self._folder / f"{name}.npz"), n_steps]
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path_factory.mktemp("trainings"))
    with trainings.process:
        yield trainings


def test_three_kills_leave_the_bits_of_an_unbroken_run(trainings: Trainings) -> None:
    unbroken = trainings.trained("unbroken", 300)
    assert trainings.trained("killed thrice", 300, n_kills=3) == unbroken


@pytest.mark.slow
def test_twenty_kills_leave_the_bits_of_an_unbroken_run(trainings: Trainings) -> None:
    unbroken = trainings.trained("long", 2000)
    assert trainings.trained("killed often", 2000, n_kills=20) == unbroken


def test_damaged_slot_is_passed_over_and_other_training_refused(tmp_path: Path) -> None:
    rows = ArrayRows(planted(500, n_channels=16, n_atoms=24)[1], batch_size=50)
    steps = PassOptions(n_steps=9, save_every=4)
    (whole,) = train(rows, [SaeOptions(k=2)], steps, state=tmp_path)
    newest = max(tmp_path.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-5])
    (again,) = train(rows, [SaeOptions(k=2)], steps, state=tmp_path)
    assert np.array_equal(whole.autoencoder.decoder, again.autoencoder.decoder)
    with pytest.raises(ValueError, match="the state of another training"):
        train(rows, [SaeOptions(k=3)], steps, state=tmp_path)
