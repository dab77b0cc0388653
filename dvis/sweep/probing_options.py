"""Which run is probed with which fixed images: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass

from dvis.models.probe_options import ProbeOptions
from dvis.sweep.place import RunOptions


@dataclass(frozen=True, kw_only=True)
class ProbeRunOptions(RunOptions, ProbeOptions):
    """Which model is measured at which checkpoints, and on which images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_probe()
