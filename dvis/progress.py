"""Progress of long work: a bar with a rate on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm.auto import tqdm

_LOG_INTERVAL_S = 10.0


def progress_bar(total: int, unit: str, title: str, *, shown: bool) -> Any:
    """A tqdm bar, which counts in silence unless it is to be shown."""
    return tqdm(
        total=total,
        unit=f" {unit}",
        desc=title,
        disable=not shown,
        mininterval=0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S,
    )
