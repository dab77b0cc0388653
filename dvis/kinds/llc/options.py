"""Whose local learning coefficient is estimated, on which data: the options of `dvis llc`.

Free of torch, so that the command line can name the options where torch is absent.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dvis.kinds.llc.settings import AUTO, ChainSettings
from dvis.kinds.llc.words import ALL_PARAMETERS
from dvis.models.data_options import DataOptions
from dvis.models.option_numbers import at_least, is_number
from dvis.sweep.place import ModelOptions, RunOptions

DEFAULT_NAME = "llc"
DEFAULT_GAMMA = 100.0
_SWEPT_EPSILON = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_SWEPT_GAMMA = (1.0, 10.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class ChainOptions(ModelOptions, DataOptions):
    """On which labelled images the loss is measured, and how a chain is sampled.

    Parameters
    ----------
    dataset
        A labelled image set: imagenet1k, folder, cifar10, mnist, emnist, dsprites, digits, shapes
        (default: the images that the checkpoints were trained on, where they tell).
    data_path
        Where the set lies (default: where the training found it).
    settings
        How a chain is sampled.
    """

    split: Literal["train", "val"] = "train"
    settings: Annotated[ChainSettings, tyro.conf.arg(name="")] = field(
        default_factory=ChainSettings
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_images", "image_size"):
            at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class EstimateOptions(ChainOptions, RunOptions):
    """Whose local learning coefficient is estimated, over which checkpoints and weights.

    Parameters
    ----------
    epsilon
        Step size; several for several estimates. Of auto it is the largest that is stable at all
        checkpoints, from their largest curvature; later runs of the same name keep that value.
    gamma
        Strength of the pull back to the checkpoint's weights; several for several estimates. Give
        two, such as 100 300, for figures to be shown: what differs is the pull's.
    chains
        Chains at each checkpoint, epsilon and gamma.
    parameters
        Regular expressions over names of weights: the others stay as they are, and each expression
        gives an estimate of its own. `all` stands for all weights (default).
    per_layer
        An estimate restricted to each top-level module that has weights.
    name
        Name of the estimates in the store.
    """

    epsilon: Literal["auto"] | tuple[float, ...] = AUTO
    gamma: tuple[float, ...] = (DEFAULT_GAMMA,)
    chains: int = 4
    parameters: tuple[str, ...] = ()
    per_layer: bool = False
    name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("chains", self.chains, 1, is_needed=True)
        if self.epsilon != AUTO:
            check_numbers("epsilon", self.epsilon, is_positive=True, words=[AUTO])
        check_numbers("gamma", self.gamma)
        _check_name(self.name)
        if self.parameters and self.per_layer:
            raise ValueError("give --parameters or --per-layer, not both")
        if not all(self.parameters):
            raise ValueError(
                "a regular expression of --parameters is empty; leave --parameters out, or give "
                "`all`, for all weights"
            )


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ChainOptions):
    """At which checkpoint, and over which step sizes and localisations, sampling is tried.

    Parameters
    ----------
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
    """

    checkpoint: Path | None = None
    epsilon: tuple[float, ...] = _SWEPT_EPSILON
    gamma: tuple[float, ...] = _SWEPT_GAMMA
    cell_chains: int = 1
    chains: int = 4
    parameters: str = ALL_PARAMETERS
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("cell_chains", self.cell_chains, 1, is_needed=True)
        at_least("chains", self.chains, 1, is_needed=True)
        check_numbers("epsilon", self.epsilon, is_positive=True)
        check_numbers("gamma", self.gamma)
        if self.settings.draws == AUTO:
            raise ValueError(
                "--draws is auto, but a calibration holds chains of one length against each other; "
                "give a number"
            )
        if self.name is not None:
            _check_name(self.name)
        if not self.parameters:
            raise ValueError("--parameters is empty; leave it out for all weights")


def check_numbers(
    name: str, values: Any, *, is_positive: bool = False, words: Sequence[str] = ()
) -> None:
    """Raise where values of an option are not all finite numbers from 0 on, or above it.

    Raises
    ------
    ValueError
        With what was given, and what may be.
    """
    wanted = "above 0" if is_positive else "of 0 or more"
    if isinstance(values, str) or not isinstance(values, Iterable):
        choices = ", or ".join([f"numbers {wanted}", *words])
        raise ValueError(f"{name} is {values!r}; give {choices}")
    given = list(values)
    if not given:
        raise ValueError(f"{name} names no value; give one or more, or leave --{name} out")
    for value in given:
        if not (is_number(value) and 0 <= value < math.inf) or (is_positive and value == 0):
            raise ValueError(f"{name} is {value!r}; give a number {wanted}")


def _check_name(name: str) -> None:
    if not name or "/" in name:
        raise ValueError(f"name is {name!r}; give one without a slash, such as {DEFAULT_NAME}")
