"""The interesting units among thousands: units in order of a score, and layers in few numbers.

A Dataset in, a ranking or a summary of it out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.measures import Measure, development
from dvis.analysis.requirements import (
    require_births,
    require_dataset,
    require_numbers,
    require_same_units,
    require_some,
    require_whole_numbers,
)
from dvis.analysis.trajectories import (
    ORIGIN,
    counted,
    in_one_piece,
    origin,
    positions_beside,
    quantiles,
)
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    LAYER,
    UNIT_DIMS,
    USUAL_VARIABLE,
    Status,
    did_you_mean,
)

RANK, QUANTILE = "rank", "quantile"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SCORES = {
    "growth": "last {} less the first",
    "drift": "mean distance of feature images to those before",
    "instability": "movement of the {} that was undone",
    "final_activation": "last {}",
}


def rank(
    dataset: xr.Dataset,
    by: str | xr.DataArray = "growth",
    *,
    measure: Measure | None = None,
    n: int | None = None,
    lowest_first: bool = False,
) -> xr.Dataset:
    r"""Units in order of a score, the highest first, to find the interesting ones.

    It is computed at once, for an order needs all units. The result selects:

        top = rank(ds, by="growth", n=10)
        ds.activation.sel(layer=top.layer, channel=top.channel)  # (checkpoint, rank)

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave; with `by="drift"` better what `drift` gave, if it is at hand, for
        otherwise all images are read.
    by : {"growth", "drift", "instability", "final_activation"} or DataArray, optional
        The score, over complete checkpoints in the Dataset's order, which `dvis.open` makes that
        of training, by `measure`: "growth", the last activation less the first;
        "final_activation"; "instability", :math:`\sum_t |a_t - a_{t-1}| - |a_{last} - a_{first}|`,
        the movement that was undone; "drift", the mean of `drift`'s `to_previous`. Or any
        (layer, channel) numbers, NaN for units to be left out.
    measure : {"standardised", "correlation", "raw"}, optional
        What activations are taken for, as `births` takes it: by default in standard deviations of
        reference images where these were measured. Raw ones put layers of large gains first.
    n : int, optional
        How many units; all by default.
    lowest_first : bool, optional
        Turn the order round.

    Returns
    -------
    Dataset, (rank,)
        - `score`, float64, in the units of what it is made of;
        - coordinates `rank`, from 0, `layer` and `channel`.

        The attributes have `measure`, and `comment`, what that cannot tell.
        Units without a score are left out; equal ones stand in the Dataset's order.

    Raises
    ------
    KeyError
        When there is no such score, or the Dataset lacks what it is made of.
    ValueError
        When a DataArray has other dimensions than layer and channel, or a selection left nothing,
        or the Dataset does not allow the measure.
    TypeError
        When `by` is neither a name nor a DataArray, or `n` no whole number.

    Examples
    --------
    >>> score = xr.DataArray([[1.0, 3.0]], {"layer": ["layer1"], "channel": [0, 1]})
    >>> rank(xr.Dataset(), by=score).channel.values
    array([1, 0])
    """
    if not isinstance(by, str | xr.DataArray):
        raise TypeError(
            f"by is of type {type(by).__name__}; give one of {', '.join(_SCORES)}, or a DataArray "
            "over layer and channel"
        )
    score = _score(dataset, by, measure) if isinstance(by, str) else by
    require_whole_numbers(n=n)
    missing = [dim for dim in (LAYER, CHANNEL) if dim not in score.coords]
    if missing or not set(score.dims) <= {LAYER, CHANNEL}:
        raise ValueError(
            f"The score has dimensions {score.dims}; a ranking takes labelled (layer, channel). "
            'Reduce it first, such as score.mean("checkpoint")'
        )
    if n is not None and n < 1:
        raise ValueError(f"n={n} is a number of units; give 1 or more, or nothing for all")
    table = score.expand_dims([dim for dim in (LAYER, CHANNEL) if dim not in score.dims])
    table = table.transpose(LAYER, CHANNEL).compute()
    values = table.values.astype(float).ravel()
    layer, channel = np.unravel_index(np.arange(values.size), table.shape)
    order = np.argsort(values if lowest_first else -values, kind="stable")
    order = order[np.isfinite(values[order])][:n]
    name = by if isinstance(by, str) else str(by.name or "")
    called = _SCORES.get(name, name).format(score.attrs.get("long_name", "activation"))
    attrs = {"long_name": called, "units": str(score.attrs.get("units", "1"))}
    told = {key: score.attrs[key] for key in ("measure", "comment") if key in score.attrs}
    return xr.Dataset(
        {"score": (RANK, values[order], attrs)},
        {
            RANK: np.arange(len(order)),
            LAYER: (RANK, table[LAYER].values[layer[order]]),
            CHANNEL: (RANK, table[CHANNEL].values[channel[order]]),
        },
        {**origin(dataset), "by": name, **told, "lowest_first": int(lowest_first)},
    )


def _score(dataset: xr.Dataset, by: str, measure: Measure | None) -> xr.DataArray:
    """A score of each unit by its name, (layer, channel)."""
    if by not in _SCORES:
        raise KeyError(did_you_mean("score", by, _SCORES, "rank"))
    if by == "drift":
        return _mean_drift(dataset)
    require_dataset(dataset)
    require_same_units(dataset)
    trajectories = development(dataset, measure=measure)
    score: xr.DataArray = xr.apply_ufunc(
        _movement,
        trajectories,
        kwargs={"by": by},
        input_core_dims=[[CHECKPOINT]],
        dask="parallelized",
        output_dtypes=["float64"],
    )
    return score.assign_attrs(trajectories.attrs)


def _mean_drift(dataset: xr.Dataset) -> xr.DataArray:
    """Mean distance of neighbouring feature images, (layer, channel)."""
    if "to_previous" not in dataset:
        # It imports dask, which `import dvis` does without.
        from dvis.analysis.drift import drift

        dataset = drift(dataset)
    require_some(dataset, CHECKPOINT)
    distance = dataset["to_previous"]
    return distance.mean(CHECKPOINT).assign_attrs(distance.attrs)


def _movement(values: np.ndarray, by: str) -> np.ndarray:
    """Score of trajectories (..., checkpoint), NaN where too little is counted."""
    is_counted = np.isfinite(values)
    values = np.where(is_counted, values, np.nan).astype(float)
    first = is_counted.argmax(axis=-1)[..., None]
    last = values.shape[-1] - 1 - is_counted[..., ::-1].argmax(axis=-1)[..., None]
    final: np.ndarray = np.take_along_axis(values, last, axis=-1)[..., 0]
    if by == "final_activation":
        return final
    growth: np.ndarray = final - np.take_along_axis(values, first, axis=-1)[..., 0]
    growth[is_counted.sum(axis=-1) < 2] = np.nan
    if by == "growth":
        return growth
    before, _ = positions_beside(is_counted)
    moved = np.abs(values - np.take_along_axis(values, np.maximum(before, 0), axis=-1))
    path = np.where(before >= 0, np.nan_to_num(moved), 0.0).sum(axis=-1)
    undone: np.ndarray = path - np.abs(growth)
    return undone


def summary(
    dataset: xr.Dataset,
    births: xr.Dataset | None = None,
    *,
    measure: Measure | None = None,
    dead_level: float = 0.0,
) -> xr.Dataset:
    """Each layer at each checkpoint in few numbers.

    A unit is dead at a checkpoint where even its own feature image, made to excite it, leaves its
    activation at `dead_level` or below. Behind a rectifier, a unit that no gradient reaches has an
    activation of exactly 0 and a loss that never changes; the activation tells as much as the loss
    curve, and is a hundredth of the bytes. Units whose status is dead are dead; of the others,
    those that are not complete do not count. The result is on dask where the activation is, and
    then nothing is computed.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.
    births : Dataset, (layer, channel), optional
        What `births` gave of the same checkpoints, in the same order.
    measure : {"standardised", "raw"}, optional
        What activations are taken for, as `births` takes it: by default in standard deviations of
        reference images where these were measured.
    dead_level : float, optional
        Raw activation up to which a unit is dead. Layers whose activations may be negative (before
        a rectifier, GELU) can need another.

    Returns
    -------
    Dataset, (checkpoint, layer, quantile)
        - `n_units` (checkpoint, layer), int64: complete units with an activation;
        - `activation` (checkpoint, layer, quantile), float64: quantiles 0.05, 0.25, 0.5, 0.75 and
          0.95 over these by the measure that its attributes name, NaN where there are none;
        - `dead_share` (checkpoint, layer), float64: of these and those whose status is dead, NaN
          where there are none;
        - `born_share` (checkpoint, layer), float64, with `births`: units born by then, of all units
          of which births can tell; NaN where there are none.

    Raises
    ------
    KeyError
        When the Dataset has no activation.
    ValueError
        When the activation has not the dimensions checkpoint, layer and channel, or a selection
        left nothing of one, or the Dataset does not allow the measure.
    SchemaError
        When `births` has no birth and state.

    Examples
    --------
    >>> activation = xr.DataArray([[[0.0, 1.5]]], dims=("checkpoint", "layer", "channel"))
    >>> summary(activation.to_dataset(name="activation")).dead_share.values
    array([[0.5]])
    """
    require_numbers(dead_level=dead_level)
    require_dataset(dataset)
    activation = counted(dataset, str(dataset.attrs.get(USUAL_VARIABLE, "activation")))
    missing = [dim for dim in UNIT_DIMS if dim not in activation.dims]
    if missing:
        raise ValueError(
            f"The activation has no dimension {', '.join(missing)}, only {activation.dims}; a "
            "summary takes all units of a layer: select with lists, such as layer=['layer1']"
        )
    activation = in_one_piece(activation, CHANNEL)
    by_measure = in_one_piece(development(dataset, measure=measure), CHANNEL)
    n_units = activation.notnull().sum(CHANNEL)
    described = {
        "n_units": (n_units, "complete units", "1"),
        "activation": (
            over_channels(by_measure).assign_attrs(
                {name: by_measure.attrs[name] for name in ("measure", "comment")}
            ),
            str(by_measure.attrs.get("long_name", "activation")),
            by_measure.attrs.get("units", "1"),
        ),
        "dead_share": (
            _dead_share(dataset, activation, dead_level),
            "share of dead units",
            "1",
        ),
    }
    attrs: dict[str, object] = {**origin(dataset), "dead_level": dead_level}
    if births is not None:
        described["born_share"] = _born_share(births, activation), "share of units born", "1"
        criterion = {key: value for key, value in births.attrs.items() if key not in ORIGIN}
        attrs |= {f"birth_{key}": value for key, value in criterion.items()}
    return xr.Dataset(
        {
            name: each.assign_attrs(long_name=long_name, units=units)
            for name, (each, long_name, units) in described.items()
        },
        attrs=attrs,
    )


def _dead_share(dataset: xr.Dataset, activation: xr.DataArray, dead_level: float) -> xr.DataArray:
    """Share of units that are dead by their status or their activation, (checkpoint, layer)."""
    is_dead = activation <= dead_level
    is_known = activation.notnull()
    if "status" in dataset and set(dataset["status"].dims) <= set(activation.dims):
        is_told = dataset["status"] == Status.DEAD
        is_dead, is_known = is_dead | is_told, is_known | is_told
    n_known = is_known.sum(CHANNEL)
    share: xr.DataArray = is_dead.sum(CHANNEL) / n_known.where(n_known > 0)
    return share.transpose(CHECKPOINT, LAYER)


def over_channels(values: xr.DataArray) -> xr.DataArray:
    """Quantiles over channels, (checkpoint, layer, quantile)."""
    at = np.array(QUANTILES)
    found: xr.DataArray = xr.apply_ufunc(
        quantiles,
        values,
        kwargs={"at": at},
        input_core_dims=[[CHANNEL]],
        output_core_dims=[[QUANTILE]],
        dask="parallelized",
        output_dtypes=["float64"],
        dask_gufunc_kwargs={"output_sizes": {QUANTILE: len(at)}},
    )
    return found.assign_coords({QUANTILE: at})


def _born_share(births: xr.Dataset, activation: xr.DataArray) -> xr.DataArray:
    """Share of units that were born at a checkpoint or before, (checkpoint, layer)."""
    require_births(births, "birth", "state")
    position = xr.DataArray(np.arange(activation.sizes[CHECKPOINT]), dims=CHECKPOINT)
    position = position.assign_coords({CHECKPOINT: activation[CHECKPOINT]})
    birth = births["birth"]
    n_born = ((birth >= 0) & (birth <= position)).sum(CHANNEL)
    n_told = (births["state"] != "absent").sum(CHANNEL)
    share: xr.DataArray = (n_born / n_told.where(n_told > 0)).transpose(CHECKPOINT, LAYER)
    return share
