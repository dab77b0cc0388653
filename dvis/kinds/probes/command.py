"""The command `probe`."""

from typing import Annotated

import tyro

from dvis.kinds.probes.options import LinearProbeOptions
from dvis.models.torch_guard import needing_torch


def probe(options: Annotated[LinearProbeOptions, tyro.conf.arg(name="")]) -> int:
    """Train linear probes of layers at each checkpoint, into the model's store.

    Run again, it trains what is missing. Killed or stopped, it loses the checkpoint under way.

    Parameters
    ----------
    options
        What is read off which layers, and on which images.
    """
    with needing_torch("probe"):
        from dvis.kinds.probes.plan import train_probes

    report = train_probes(options, progress=True)
    for line in report.lines():
        print(line)
    return 1 if report.n_failed else 0
