"""The command `sizes`."""

from typing import Annotated

import tyro

from dvis.kinds.sizes.options import SizeOptions
from dvis.models.torch_guard import needing_torch


def sizes(options: Annotated[SizeOptions, tyro.conf.arg(name="")]) -> int:
    """Measure how much of the image moves each unit at each checkpoint, into the model's store.

    Run again, it measures what is missing. Killed or stopped, it loses the task under way.

    Parameters
    ----------
    options
        Whose receptive fields to measure, and on which images.
    """
    with needing_torch("sizes"):
        from dvis.kinds.sizes.plan import measure_sizes

    report = measure_sizes(options, progress=True)
    for line in report.lines():
        print(line)
    return 1 if report.n_failed else 0
