"""The command `attributes`."""

from typing import Annotated

import tyro

from dvis.kinds.attributes.options import AttributeOptions
from dvis.models.torch_guard import needing_torch


def attributes(options: Annotated[AttributeOptions, tyro.conf.arg(name="")]) -> int:
    """Show layers pairs of drawn images that differ in one attribute, at each checkpoint.

    Run again, it measures what is missing. Killed or stopped, it loses the checkpoint under way.

    Parameters
    ----------
    options
        Which attributes, and which layers.
    """
    with needing_torch("attributes"):
        from dvis.kinds.attributes.plan import measure_attributes

    report = measure_attributes(options, progress=True)
    for line in report.lines():
        print(line)
    return 1 if report.n_failed else 0
