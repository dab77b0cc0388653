"""`ds.dvis`: the short way from a Dataset to analysis and pictures of it."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import xarray as xr

from dvis import plots
from dvis.analysis import births as _births
from dvis.analysis import change_points as _change_points
from dvis.analysis import comparison, order, ranking, units
from dvis.analysis import drift as _drift
from dvis.kinds.features import model_inputs
from dvis.kinds.features import pictures as feature_pictures
from dvis.kinds.llc import pictures as llc_pictures
from dvis.kinds.llc.analysis import llc_and_births as _llc_and_births
from dvis.kinds.llc.read import traces_of
from dvis.kinds.responses import pictures as response_pictures

P = ParamSpec("P")
R = TypeVar("R")


def _method(
    function: Callable[Concatenate[xr.Dataset, P], R],
) -> Callable[Concatenate["DvisAccessor", P], R]:
    """A function of a Dataset as a method, with its signature and docstring less the Dataset."""

    @wraps(function)
    def method(self: "DvisAccessor", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._dataset, *args, **kwargs)

    first, *others = inspect.signature(function).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(function).replace(parameters=[itself, *others])
    method.__signature__ = signature  # type: ignore[attr-defined]
    method.__doc__ = _without_parameter(function.__doc__ or "", first.name)
    return method


def _without_parameter(docstring: str, name: str) -> str:
    """A numpydoc docstring without the entry of its first parameter."""
    # Cleaned, for only from Python 3.13 on does the compiler take the indentation away.
    docstring = inspect.cleandoc(docstring)
    before, heading, entries = docstring.partition("Parameters\n----------\n")
    lines = entries.splitlines(keepends=True)
    if not heading or not lines[0].startswith(name):
        return docstring
    if lines[0].startswith(f"{name}, "):
        return before + heading + lines[0].replace(f"{name}, ", "", 1) + "".join(lines[1:])
    rest = next((i for i, line in enumerate(lines[1:], 1) if line[:1].strip()), len(lines))
    after = "".join(lines[rest:])
    has_others = rest < len(lines) and not lines[rest + 1].startswith("---")
    return before + (heading if has_others else "") + after


@xr.register_dataset_accessor("dvis")  # type: ignore[no-untyped-call]  # xarray gives no types
class DvisAccessor:
    """Methods for a Dataset that `dvis.open` gave; each says on what it works when it is called."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    model_input = _method(model_inputs.model_input)
    llc_traces = _method(traces_of)

    map_units = _method(units.map_units)
    drift = _method(_drift.drift)
    births = _method(_births.births)
    birth_order = _method(order.birth_order)
    change_points = _method(_change_points.change_points)
    rank = _method(ranking.rank)
    summary = _method(ranking.summary)
    compare = _method(comparison.compare)
    births_at_llc_changes = _method(_llc_and_births.births_at_llc_changes)

    trajectory = _method(plots.trajectory)
    trajectories_by_layer = _method(plots.trajectories_by_layer)
    timeline = _method(feature_pictures.timeline)
    development = _method(feature_pictures.development)
    grid = _method(feature_pictures.grid)
    heatmap = _method(plots.heatmap)
    births_by_layer = _method(plots.births_by_layer)
    cross_response = _method(response_pictures.cross_response)
    llc_calibration = _method(llc_pictures.llc_calibration)
    llc_chains = _method(llc_pictures.llc_chains)
    llc_over_training = _method(llc_pictures.llc_over_training)
    llc_by_parameters = _method(llc_pictures.llc_by_parameters)
    llc_and_births = _method(llc_pictures.llc_and_births)
