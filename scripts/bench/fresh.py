"""What a call or an import costs in a process of its own, its children included.

A function of a module in this folder and plain arguments in, times and memory out.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one call cost: seconds by the clock and of processors, megabytes of memory."""

    wall_s: float
    cpu_s: float  # user and system, of the process and its children
    peak_mb: float  # of the process, and of its largest child
    added_mb: float  # peak of the process above what it had after its imports


def cost_of(function: Callable[..., object], *arguments: str | int) -> Cost:
    """Cost of one call in a fresh process, after the imports of the function's module."""
    asked = json.dumps([function.__module__, function.__name__, *arguments])
    done = subprocess.run(
        [sys.executable, __file__, asked],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def import_cpu_s(module: str) -> float:
    """User and system seconds of a fresh Python that imports one module and ends."""
    child = subprocess.Popen([sys.executable, "-c", f"import {module}"], env=_environment())
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"`import {module}` ended with status {status}")
    child.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _environment() -> dict[str, str]:
    """Environment in which bytecode is kept, as in every usual installation.

    Where it is not, imports compile all of dask and take three times as long.
    """
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/dvis-bench-pycache", **kept}


def _measure(module: str, name: str, arguments: list[Any]) -> Cost:
    """Cost of one call in this process."""
    function = getattr(importlib.import_module(module), name)
    before_mb, cpu_before, start = _memory_mb("VmRSS"), _cpu_s(), time.perf_counter()
    function(*arguments)
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - cpu_before
    peak_mb = _memory_mb("VmHWM")
    children_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    return Cost(
        wall_s=wall_s, cpu_s=cpu_s, peak_mb=peak_mb + children_mb, added_mb=peak_mb - before_mb
    )


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory_mb(field: str) -> float:
    """A field of the process's status: VmRSS, what it has, or VmHWM, the most it ever had."""
    # ru_maxrss of the process itself would hold the peak of its parent before exec.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / MB
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    asked_module, asked_name, *asked_arguments = json.loads(sys.argv[1])
    print(json.dumps(asdict(_measure(asked_module, asked_name, asked_arguments))))
