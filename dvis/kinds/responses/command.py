"""The command `respond`."""

from typing import Annotated

import tyro

from dvis.kinds.responses.options import RespondOptions
from dvis.models.torch_guard import needing_torch


def respond(options: Annotated[RespondOptions, tyro.conf.arg(name="")]) -> int:
    """Measure how units respond to fixed images at each checkpoint, into the model's store.

    Run again, it measures what is missing. Killed or stopped, it loses the task under way.

    Parameters
    ----------
    options
        Whose responses to measure, to which images, and where to.
    """
    with needing_torch("respond"):
        from dvis.kinds.responses.plan import respond as measure

    report = measure(options, progress=True)
    for line in report.lines():
        print(line)
    return 1 if report.n_failed else 0
