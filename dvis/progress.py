"""Progress of long work, a bar on a terminal or a line now and then in a log; and what it takes."""

import sys
from typing import Any

from tqdm.auto import tqdm

_LOG_INTERVAL_S = 10.0
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_TIMES = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))


def progress_bar(total: int, unit: str, title: str, *, shown: bool) -> Any:
    """A tqdm bar, which counts in silence unless it is to be shown."""
    return tqdm(
        total=total,
        unit=f" {unit}",
        desc=title,
        disable=not shown,
        mininterval=0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S,
    )


def in_bytes(n_bytes: float) -> str:
    """A number of bytes in words, by powers of 1000.

    Examples
    --------
    >>> in_bytes(30_300_000_000_000), in_bytes(512)
    ('30.3 TB', '512 bytes')
    """
    for size, unit in _UNITS:
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} bytes"


def in_time(seconds: float) -> str:
    """A time in words.

    Examples
    --------
    >>> in_time(0.25), in_time(5400)
    ('0.25 seconds', '1.5 hours')
    """
    for size, unit in _TIMES:
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"
