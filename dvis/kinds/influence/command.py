"""The command `influence`."""

from typing import Annotated

import tyro

from dvis.kinds.influence.options import InfluenceOptions
from dvis.models.torch_guard import needing_torch


def influence(options: Annotated[InfluenceOptions, tyro.conf.arg(name="")]) -> int:
    """Measure how much each channel changes each channel of later layers, at each checkpoint.

    Run again, it measures what is missing. Killed or stopped, it loses the task under way.

    Parameters
    ----------
    options
        Whose influence on what to measure, with which images, and where to.
    """
    with needing_torch("influence"):
        from dvis.kinds.influence.plan import measure_influence

    report = measure_influence(options, progress=True)
    for line in report.notes if options.plan else report.lines():
        print(line)
    return 1 if report.n_failed else 0
