"""The command `chimera`."""

from typing import Annotated

import tyro

from dvis.kinds.chimera.options import ChimeraOptions
from dvis.models.torch_guard import needing_torch


def chimera(options: Annotated[ChimeraOptions, tyro.conf.arg(name="")]) -> int:
    """Measure how networks answer whose lower or upper layers are of the last checkpoint.

    Run again, it measures what is missing. Killed or stopped, it loses the task under way.

    Parameters
    ----------
    options
        Whose chimeras to make, where to cut, and on which images to look at them.
    """
    with needing_torch("chimera"):
        from dvis.kinds.chimera.plan import make_chimeras

    report = make_chimeras(options, progress=True)
    for line in report.lines():
        print(line)
    return 1 if report.n_failed else 0
