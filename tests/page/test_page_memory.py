"""What the server's process does without is there for whoever asks for it."""

import subprocess
import sys

_PROGRAM = """
import sys
from dvis.page.memory import give_memory_back, import_dask_alone
import_dask_alone()
assert "dask.array" in sys.modules
assert not [name for name in sys.modules if name.partition(".")[0] == "scipy"]
give_memory_back()
import scipy.sparse
import dask.array
assert dask.array.ones(3).sum().compute() == 3
"""


def test_scipy_is_left_out_and_can_be_had() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reading_a_store_hides_nothing() -> None:
    program = "import sys, dvis, dvis.opening; assert None not in sys.modules.values()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
