"""Which run is probed with which fixed images: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from dvis.models.probe_options import ProbeOptions
from dvis.sweep.place import RunOptions


@dataclass(frozen=True, kw_only=True)
class ProbedRun(RunOptions, ProbeOptions):
    """Which model is looked at with which images, at which checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_probe()


@dataclass(frozen=True, kw_only=True)
class ProbeRunOptions(ProbedRun):
    """Which layers of a model are measured at which checkpoints, and on which images.

    Parameters
    ----------
    layers
        Layers by their dotted names.
    name
        Name of what is measured in the store (default: from the images).
    """

    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer-names"])] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as shapes")
