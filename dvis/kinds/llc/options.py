"""Whose local learning coefficient is estimated, on which data: the options of `dvis llc`.

Free of torch, so that the command line can name the options where torch is absent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dvis.kinds.llc.settings import ChainSettings
from dvis.schema import ALL_PARAMETERS, DEFAULT_RUN

AUTO: Literal["auto"] = "auto"
DEFAULT_NAME = "llc"
DEFAULT_GAMMA = 100.0
_SWEPT_EPSILON = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_SWEPT_GAMMA = (1.0, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Labelled images on which the loss is measured.

    Parameters
    ----------
    dataset
        A labelled image set: imagenet1k, folder, cifar10, mnist, emnist, dsprites, digits, shapes
        (default: the images that the checkpoints were trained on, where they tell).
    data_path
        Where the set lies (default: where the training found it).
    split
        The set's training or validation images. They are never augmented.
    n_images
        So many images of the set, at random (default: all).
    image_size
        Side in pixels to which images are brought (default: what the checkpoints were trained on,
        else 224).
    """

    dataset: str | None = None
    data_path: Path | None = None
    split: Literal["train", "val"] = "train"
    n_images: int | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_images", "image_size"):
            _at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where the chains are sampled, and where to they go.

    Parameters
    ----------
    device
        Where to compute: cpu, cuda, cuda:1, mps.
    store
        The store (default: stores/MODEL.zarr).
    run
        The run's name in the store.
    scheduler
        Address of a dask scheduler, such as tcp://node7:8786, on whose workers to compute. They
        read the image files of a set themselves.
    workers
        Workers of a dask cluster on this machine; 0 computes in this process (default: a process
        for each core on a CPU, this process on a GPU).
    overwrite
        Sample again what is of other data, other settings or other weights under the same name.
    """

    device: str = "cpu"
    store: Path | None = None
    run: str = DEFAULT_RUN
    scheduler: str | None = None
    workers: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        _at_least("workers", self.workers, 0)
        if not self.run.strip():
            raise ValueError("run is empty; give the run a name, or leave --run out")
        if self.scheduler is not None and self.workers is not None:
            raise ValueError("give --scheduler or --workers, not both")


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """Whose local learning coefficient is estimated, over which checkpoints and weights.

    Parameters
    ----------
    model
        Name of a torchvision classification model, or package.module:function of a factory.
    checkpoint_path
        Checkpoint files, or folders of them (default: torchvision's pretrained weights).
    epsilon
        Step size; several for several estimates. Of auto it is the largest that is stable at all
        checkpoints, from their largest curvature; later runs of the same name keep that value.
    gamma
        Strength of the pull back to the checkpoint's weights; several for several estimates.
    chains
        Chains at each checkpoint, epsilon and gamma.
    parameters
        Regular expressions over names of weights: the others stay as they are, and each expression
        gives an estimate of its own. `all` stands for all weights (default).
    per_layer
        An estimate restricted to each top-level module that has weights.
    name
        Name of the estimates in the store.
    data
        On which images.
    settings
        How a chain is sampled.
    place
        Where to compute, and where to keep what comes of it.
    """

    model: str
    checkpoint_path: tuple[Path, ...] = ()
    epsilon: Literal["auto"] | tuple[float, ...] = AUTO
    gamma: tuple[float, ...] = (DEFAULT_GAMMA,)
    chains: int = 4
    parameters: tuple[str, ...] = ()
    per_layer: bool = False
    name: str = DEFAULT_NAME
    data: Annotated[DataOptions, tyro.conf.arg(name="")] = field(default_factory=DataOptions)
    settings: Annotated[ChainSettings, tyro.conf.arg(name="")] = field(
        default_factory=ChainSettings
    )
    place: Annotated[PlaceOptions, tyro.conf.arg(name="")] = field(default_factory=PlaceOptions)

    def __post_init__(self) -> None:
        _at_least("chains", self.chains, 1)
        if self.epsilon != AUTO:
            _check_positive("epsilon", self.epsilon)
        _check_not_negative("gamma", self.gamma)
        _check_name(self.name)
        if self.parameters and self.per_layer:
            raise ValueError("give --parameters or --per-layer, not both")
        if not all(self.parameters):
            raise ValueError(
                "a regular expression of --parameters is empty; leave --parameters out, or give "
                "`all`, for all weights"
            )


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """At which checkpoint, and over which step sizes and localisations, sampling is tried.

    Parameters
    ----------
    model
        Name of a torchvision classification model, or package.module:function of a factory.
    checkpoint
        The checkpoint's file (default: torchvision's pretrained weights). A late one tells most.
    epsilon
        Step sizes that are tried.
    gamma
        Strengths of the pull back to the checkpoint's weights that are tried, each with each step
        size.
    cell_chains
        Chains of each step size and strength.
    chains
        Chains of the pick, with which its convergence is judged.
    parameters
        Regular expression over names of weights: the others stay as they are (default: all
        weights).
    name
        Name of the calibration in the store (default: calibration-CHECKPOINT).
    data
        On which images.
    settings
        How a chain is sampled.
    place
        Where to compute, and where to keep what comes of it.
    """

    model: str
    checkpoint: Path | None = None
    epsilon: tuple[float, ...] = _SWEPT_EPSILON
    gamma: tuple[float, ...] = _SWEPT_GAMMA
    cell_chains: int = 1
    chains: int = 4
    parameters: str = ALL_PARAMETERS
    name: str | None = None
    data: Annotated[DataOptions, tyro.conf.arg(name="")] = field(default_factory=DataOptions)
    settings: Annotated[ChainSettings, tyro.conf.arg(name="")] = field(
        default_factory=ChainSettings
    )
    place: Annotated[PlaceOptions, tyro.conf.arg(name="")] = field(default_factory=PlaceOptions)

    def __post_init__(self) -> None:
        _at_least("cell_chains", self.cell_chains, 1)
        _at_least("chains", self.chains, 1)
        _check_positive("epsilon", self.epsilon)
        _check_not_negative("gamma", self.gamma)
        if self.name is not None:
            _check_name(self.name)
        if not self.parameters:
            raise ValueError("--parameters is empty; leave it out for all weights")


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")


def _check_positive(name: str, values: Sequence[float]) -> None:
    _check_given(name, values)
    for value in values:
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; give a number above 0")


def _check_not_negative(name: str, values: Sequence[float]) -> None:
    _check_given(name, values)
    for value in values:
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; give 0 or more")


def _check_given(name: str, values: Sequence[float]) -> None:
    if not values:
        raise ValueError(f"{name} names no value; give one or more, or leave --{name} out")


def _check_name(name: str) -> None:
    if not name or "/" in name:
        raise ValueError(f"name is {name!r}; give one without a slash, such as {DEFAULT_NAME}")
