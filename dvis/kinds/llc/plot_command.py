"""The subcommand `llc plot`: which picture, of which estimates."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import xarray as xr
from tyro.conf import Positional

from dvis import plots
from dvis.kinds.llc import pictures as llc_pictures
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.read import llc_names, llc_traces
from dvis.kinds.llc.words import ALL_PARAMETERS, CALIBRATION, EPSILON, GAMMA, PARAMETERS
from dvis.models.option_numbers import bounded
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.store.portable import nested

LLCPlotKind = Literal["training", "parameters", "calibration", "chains"]


@dataclass(frozen=True, kw_only=True)
class LLCPlotOptions:
    """Draw the local learning coefficient over training, beside the losses.

    Parameters
    ----------
    store
        A store's folder or URL.
    kind
        What to draw: the coefficient over training with its band; that of each set of weights, such
        as layers; the grid of a calibration; or the chains of one checkpoint.
    out
        File for the picture; its ending (.png, .pdf, .svg) tells the format.
    run
        Training run (default: the store's).
    name
        Name of the estimates in the store (default: llc, or the only ones; the only calibration
        where that is drawn).
    checkpoint
        Checkpoint whose chains are drawn (default: the last).
    parameters
        Of which weights the chains are (default: all).
    epsilon
        Step size (default: that of the last run).
    gamma
        Localisation (default: each of them over training, else that of the last run).
    burn_in
        Draws at the start of each chain that do not count (default: as they were estimated).
    x
        What the picture runs over.
    xscale
        Linear or logarithmic steps or epochs.
    """

    store: Positional[str]
    kind: LLCPlotKind = "training"
    out: Path = Path("llc.png")
    run: str | None = None
    name: str | None = None
    checkpoint: str | None = None
    parameters: str | None = None
    epsilon: float | None = None
    gamma: float | None = None
    burn_in: int | None = None
    x: plots.XAxis = "step"
    xscale: plots.Scale = "auto"

    def __post_init__(self) -> None:
        bounded(self)


def plot_llc(options: LLCPlotOptions) -> int:
    """Draw one picture, and print its path."""
    import matplotlib

    matplotlib.use("agg")
    traces = llc_traces(options.store, options.run, _name(options))
    {
        "training": _draw_training,
        "parameters": _draw_parameters,
        "calibration": _draw_cells,
        "chains": _draw_chains,
    }[options.kind](traces, options)
    print(options.out)
    return 0


def _name(options: LLCPlotOptions) -> str | None:
    """Name of the chains that are drawn; the only calibration needs none to be found."""
    if options.name is not None or options.kind != "calibration":
        return options.name
    names = llc_names(options.store, options.run)
    found = [name for name in names if name.startswith(CALIBRATION)]
    if len(found) > 1:
        raise ValueError(f"{options.store} has several calibrations: give --name, one of {found}")
    return found[0] if found else None


def _draw_training(traces: xr.Dataset, options: LLCPlotOptions) -> None:
    llc_pictures.llc_over_training(
        _over_training(traces, options),
        parameters=options.parameters,
        x=options.x,
        xscale=options.xscale,
        path=options.out,
    )


def _draw_parameters(traces: xr.Dataset, options: LLCPlotOptions) -> None:
    _refuse(options, (PARAMETERS,))
    labels = traces[PARAMETERS].values.tolist()
    if len(labels) == 1:
        raise ValueError(
            f"{options.store} has LLCs of one set of weights, {labels[0]}; estimate those of "
            "layers with `dvis llc estimate --per-layer`"
        )
    estimates = _over_training(traces, options)
    llc_pictures.llc_by_parameters(estimates, x=options.x, xscale=options.xscale, path=options.out)


def _draw_cells(traces: xr.Dataset, options: LLCPlotOptions) -> None:
    _refuse(options, ("x", "xscale", EPSILON, GAMMA))
    cells = _at_checkpoint(traces, options)
    llc_pictures.llc_calibration(cells, burn_in=options.burn_in, path=options.out)


def _draw_chains(traces: xr.Dataset, options: LLCPlotOptions) -> None:
    _refuse(options, ("x", "xscale"))
    cell = _shown(_at_checkpoint(traces, options), options, (EPSILON, GAMMA))
    llc_pictures.llc_chains(cell, burn_in=options.burn_in, path=options.out)


def _over_training(traces: xr.Dataset, options: LLCPlotOptions) -> xr.Dataset:
    """LLCs at all checkpoints, of one epsilon, and of each gamma where none is asked for."""
    _refuse(options, (CHECKPOINT,))
    dims = (EPSILON,) if options.gamma is None else (EPSILON, GAMMA)
    return llc_of(_shown(traces, options, dims), burn_in=options.burn_in)


def _refuse(options: LLCPlotOptions, names: Sequence[str]) -> None:
    """Raise where an option is given that the kind of picture has no use for."""
    for item in fields(options):
        if item.name in names and getattr(options, item.name) != item.default:
            raise ValueError(f"{options.kind} takes no --{item.name}; leave it out")


def _at_checkpoint(traces: xr.Dataset, options: LLCPlotOptions) -> xr.Dataset:
    """Traces of one checkpoint and one set of weights."""
    labels = [str(label) for label in traces[CHECKPOINT].values]
    asked = options.checkpoint or labels[-1]
    if asked not in labels:
        raise KeyError(did_you_mean(CHECKPOINT, asked, labels, options.store))
    return _of_parameters(traces.sel({CHECKPOINT: asked}), options)


def _of_parameters(dataset: xr.Dataset, options: LLCPlotOptions) -> xr.Dataset:
    """One set of weights: that asked for, else all of them, else the first."""
    labels = [str(label) for label in dataset[PARAMETERS].values]
    default = ALL_PARAMETERS if ALL_PARAMETERS in labels else labels[0]
    asked = options.parameters or default
    if asked not in labels:
        raise KeyError(did_you_mean(PARAMETERS, asked, labels, options.store))
    return dataset.sel({PARAMETERS: asked})


def _shown(traces: xr.Dataset, options: LLCPlotOptions, dims: Sequence[str]) -> xr.Dataset:
    """One epsilon or gamma: that asked for, else the one that the last run showed."""
    shown = nested(traces.attrs.get("shown", {}))
    for dim in dims:
        values = traces[dim].values.tolist()
        asked = getattr(options, dim)
        if asked is None:
            asked = shown.get(dim, values[-1])
        if asked not in values:
            there = ", ".join(f"{value:g}" for value in values)
            raise ValueError(f"no {dim} {asked:g} in {options.store}; there are {there}")
        traces = traces.sel({dim: asked})
    return traces
