"""The command `sae` and its subcommands: train."""

from typing import Annotated

import tyro
from tyro.conf import OmitSubcommandPrefixes

from dvis.kinds.saes.options import TrainOptions
from dvis.models.torch_guard import needing_torch

Command = Annotated[TrainOptions, tyro.conf.subcommand("train")]


def sae(command: OmitSubcommandPrefixes[Command]) -> int:
    """Sparse autoencoders of activations: train."""
    with needing_torch("sae"):
        from dvis.kinds.saes.plan import train_saes
    report = train_saes(command, progress=True)
    for line in report.lines():
        print(line)
    return 0
