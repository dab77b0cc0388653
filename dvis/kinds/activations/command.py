"""The command `activations`."""

from typing import Annotated

import tyro

from dvis.kinds.activations.options import ActivationOptions
from dvis.models.torch_guard import needing_torch


def activations(options: Annotated[ActivationOptions, tyro.conf.arg(name="")]) -> int:
    """Keep what layers give for every sample of an image set, at each checkpoint, in the store.

    Run again, it measures what is missing. Killed or stopped, it loses the block under way.

    Parameters
    ----------
    options
        Whose activations to keep, of which layers and images, and where to.
    """
    with needing_torch("activations"):
        from dvis.kinds.activations.plan import keep_activations

    report = keep_activations(options, progress=True)
    for line in report.notes if options.plan else report.lines():
        print(line)
    return 1 if report.n_failed else 0
