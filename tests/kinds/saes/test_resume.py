"""A training that is killed goes on, and ends in the bits of an unbroken one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from planted_rows import planted

from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions

PROGRAM = """
import sys
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
steps = PassOptions(n_steps=int(sys.argv[4]), save_every=3, log_every=10)
print("begun", flush=True)
found = train(ArrayRows(x, batch_size=64), options, steps, state=Path(sys.argv[2]))
arrays = {}
for n, one in enumerate(found):
    arrays |= {f"{n}.{name}": log for name, log in one.log.items()}
    for name in ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold"):
        arrays[f"{n}.{name}"] = getattr(one.autoencoder, name)
np.savez(sys.argv[3], **arrays)
"""


def trained_in_a_process(
    folder: Path, name: str, n_steps: int, n_kills: int = 0
) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", planted(2_000, n_channels=16, n_atoms=24, k=2)[1])
    out = folder / f"{name}.npz"
    command = [sys.executable, "-c", PROGRAM, folder / "x.npy", folder / name, out, str(n_steps)]
    for _ in range(n_kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(rng.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    subprocess.run(command, check=True, capture_output=True)
    with np.load(out) as arrays:
        return {key: array.tobytes() for key, array in arrays.items()}


def test_three_kills_leave_the_bits_of_an_unbroken_run(tmp_path: Path) -> None:
    unbroken = trained_in_a_process(tmp_path, "unbroken", 600)
    assert trained_in_a_process(tmp_path, "killed", 600, n_kills=3) == unbroken


@pytest.mark.slow
def test_twenty_kills_leave_the_bits_of_an_unbroken_run(tmp_path: Path) -> None:
    unbroken = trained_in_a_process(tmp_path, "unbroken", 4000)
    assert trained_in_a_process(tmp_path, "killed", 4000, n_kills=20) == unbroken


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
