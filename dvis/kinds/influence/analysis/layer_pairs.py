"""Pairs of layers of influence as matrices of their units, one checkpoint at a time.

Influence and births in, numbers of sources (rows) and targets (columns) out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.requirements import require, require_births
from dvis.analysis.trajectories import labels_of, steps_of
from dvis.kinds.influence.words import (
    CHANNEL_FROM,
    CHANNEL_TO,
    LAYER_FROM,
    LAYER_TO,
    PAIR_DIMS,
)
from dvis.schema import CHANNEL, CHECKPOINT, LAYER

_OPEN_INFLUENCE = "Open some with dvis.influence"
_LEAST_UNITS = 3  # with fewer, nothing is left when rows and columns are centred
_ROUNDS, _SETTLED = 200, 1e-10  # of filling what is missing


@dataclass(frozen=True, kw_only=True)
class LayerPair:
    """Units of two layers between which there is influence.

    Attributes
    ----------
    source, target : str
        Layers.
    rows, columns : ndarray of int
        Places along `channel_from` and `channel_to` of those that count.
    row_units, column_units : ndarray of int
        Places of the same among the units of their layers that are asked about.
    first, last : int
        Places of the first and the last checkpoint at which anything is measured.
    between : Variable, (checkpoint, channel_from, channel_to)
        Strength between all channels of both; lazy where influence is.
    namesakes : ndarray, (source, target), bool
        A channel and its namesake in a layer of as many, which a skip connection may join.
    """

    source: str
    target: str
    rows: np.ndarray
    columns: np.ndarray
    row_units: np.ndarray
    column_units: np.ndarray
    first: int
    last: int
    between: xr.Variable
    namesakes: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Sources and targets."""
        return len(self.rows), len(self.columns)


def require_influence(influence: xr.Dataset) -> None:
    """Raise where something else than a Dataset of influence is given.

    Raises
    ------
    TypeError, SchemaError, ValueError
        When it is no Dataset, has no influence, or a selection left nothing of it.
    """
    require(influence, "strength", labels=PAIR_DIMS, advice=_OPEN_INFLUENCE)


def whole(influence: xr.Dataset) -> xr.DataArray:
    """Strength over all five dims, those that were selected away as dims of one."""
    strength = influence["strength"]
    # A selection such as sel(layer_to=...) leaves a scalar.
    lost = [dim for dim in PAIR_DIMS if dim not in strength.dims]
    return strength.expand_dims(lost).transpose(*PAIR_DIMS)


def births_along(births: xr.Dataset, influence: xr.Dataset) -> dict[str, np.ndarray]:
    """Of each layer that both have, births as places along influence's checkpoints, (channel,).

    NaN where a unit was not born or there are no births of it. A birth at a checkpoint that
    influence lacks is at the first one of it that is not earlier in steps.

    Raises
    ------
    SchemaError, TypeError
        When these are no births.
    ValueError
        When both have no layer in common, or a birth is at a checkpoint that influence lacks and
        has no step.
    """
    require_births(births, "birth_checkpoint", "birth_step", "state", LAYER, CHANNEL)
    strength = whole(influence)
    layers = [*dict.fromkeys((*_labels(strength, LAYER_FROM), *_labels(strength, LAYER_TO)))]
    there = np.atleast_1d(births[LAYER].values).astype(str).tolist()
    common = [layer for layer in layers if layer in there]
    if len(common) < 2:
        raise ValueError(
            f"Births are of {_listed(there)}, influence of {_listed(layers)}; both need two "
            "layers in common. Measure responses of the same layers"
        )
    units = births[["birth_checkpoint", "birth_step", "state"]]
    lost = [dim for dim in (LAYER, CHANNEL) if dim not in units["state"].dims]
    table = units.expand_dims(lost).transpose(LAYER, CHANNEL).compute()
    n_channels = 1 + int(max(strength[CHANNEL_FROM].max(), strength[CHANNEL_TO].max()))
    found = {}
    for layer in common:
        of_layer = table.isel({LAYER: there.index(layer)})
        when = np.full(n_channels, np.nan)
        channels = of_layer[CHANNEL].values.astype(int)
        fits = channels < n_channels
        when[channels[fits]] = _places(of_layer, influence)[fits]
        found[layer] = when
    return found


def _places(of_layer: xr.Dataset, influence: xr.Dataset) -> np.ndarray:
    """Births of a layer as places along influence's checkpoints, NaN where there is none."""
    labels = {label: float(place) for place, label in enumerate(labels_of(influence).tolist())}
    steps = steps_of(influence)
    places = np.full(of_layer.sizes[CHANNEL], np.nan)
    is_born = of_layer["state"].values == BORN
    at, when = of_layer["birth_checkpoint"].values, of_layer["birth_step"].values
    for unit in np.flatnonzero(is_born).tolist():
        known = labels.get(str(at[unit]))
        if known is None and np.isnan([when[unit], *steps]).any():
            raise ValueError(
                f"A unit was born at {at[unit]!r}, which influence does not have, and steps do "
                "not tell where it lies between those that it has. Measure both at the same "
                "checkpoints"
            )
        place = np.searchsorted(steps, when[unit]) if known is None else known
        places[unit] = place if place < len(steps) else np.nan  # influence ends before
    return places


def _labels(strength: xr.DataArray, dim: str) -> list[str]:
    return [str(label) for label in strength[dim].values]


def _listed(layers: list[str]) -> str:
    return ", ".join(layers[:10]) or "none"


def pairs_of(
    strength: xr.DataArray, asked: Mapping[str, np.ndarray] | None = None
) -> Iterator[LayerPair]:
    """Pairs of layers with three sources and three targets or more, in the order of layers.

    Parameters
    ----------
    strength : DataArray, (checkpoint, layer_from, channel_from, layer_to, channel_to)
        Of influence.
    asked : mapping of str to ndarray, (channel,), optional
        Of each layer a number for each channel, NaN where it is not asked about; by default all.
    """
    for source in _labels(strength, LAYER_FROM):
        for target in _labels(strength, LAYER_TO):
            if asked is None or (source in asked and target in asked):
                pair = _pair(strength, source, target, asked)
                if pair is not None and min(pair.shape) >= _LEAST_UNITS:
                    yield pair


def _pair(
    strength: xr.DataArray, source: str, target: str, asked: Mapping[str, np.ndarray] | None
) -> LayerPair | None:
    """Units of two layers that are measured at the last checkpoint with anything, and asked about.

    Of units asked about, those without any influence, or that none reaches, are dead. None where
    nothing is measured.
    """
    between = strength.sel({LAYER_FROM: source, LAYER_TO: target}).variable
    places = range(strength.sizes[CHECKPOINT])
    last = next((place for place in reversed(places) if _is_measured(between, place)), None)
    if last is None:
        return None
    first = next(place for place in places if _is_measured(between, place))
    values = np.asarray(between[last].values)
    counts: np.ndarray = np.isfinite(values) if asked is None else values > 0
    channels = [strength[dim].values.astype(int) for dim in (CHANNEL_FROM, CHANNEL_TO)]
    rows, row_units = _counted(channels[0], source, np.asarray(counts.any(1)), asked)
    # A target that loses every source that counts has no row to be centred by.
    columns, column_units = _counted(channels[1], target, np.asarray(counts[rows].any(0)), asked)
    is_same = channels[0][rows][:, None] == channels[1][columns]
    return LayerPair(
        source=source,
        target=target,
        rows=rows,
        columns=columns,
        row_units=row_units,
        column_units=column_units,
        first=first,
        last=last,
        between=between,
        namesakes=is_same & _is_square(strength, source, target),
    )


def _is_measured(between: xr.Variable, place: int) -> bool:
    return bool(np.isfinite(between[place].values).any())


def _counted(
    channels: np.ndarray,
    layer: str,
    is_measured: np.ndarray,
    asked: Mapping[str, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Places of channels that count, and among those of the layer that are asked about."""
    if asked is None:
        places = np.flatnonzero(is_measured)
        return places, places
    is_asked = np.isfinite(asked[layer])
    places = np.flatnonzero(is_measured & is_asked[channels])
    return places, (np.cumsum(is_asked) - 1)[channels[places]]


def _is_square(strength: xr.DataArray, source: str, target: str) -> bool:
    """Whether both layers have as many channels; where that is not known, they may."""
    if not {"n_channels_from", "n_channels_to"} <= set(strength.coords):
        return True
    n_from = np.atleast_1d(strength["n_channels_from"].sel({LAYER_FROM: source}).values)
    n_to = np.atleast_1d(strength["n_channels_to"].sel({LAYER_TO: target}).values)
    return bool(n_from[0] == n_to[0])


def strengths(pair: LayerPair, time: int) -> np.ndarray:
    """Strength between the units of a pair at a checkpoint, (source, target), float64.

    NaN between namesakes.
    """
    found = pair.between[time].values[np.ix_(pair.rows, pair.columns)].astype(float)
    return np.where(pair.namesakes, np.nan, found)


def centred_logs(strength: np.ndarray) -> np.ndarray:
    r"""Log strength without what its source and its target account for, (source, target).

    .. math:: I_{cd} - \bar I_{c \cdot} - \bar I_{\cdot d} + \bar I

    A strength of 0 counts as half the smallest positive one. What is not known is 0: what the rest
    of its row and column account for.
    """
    is_known = np.isfinite(strength)
    is_positive = is_known & (strength > 0)
    if not is_positive.any():
        return np.zeros(strength.shape)
    least = strength[is_positive].min() / 2
    logs = np.log(np.where(is_positive, strength, least))
    if is_known.all():
        return double_centred(logs)
    filled = np.where(is_known, logs, logs[is_known].mean())
    for _ in range(_ROUNDS):
        fit = filled - double_centred(filled)
        change = np.abs(fit - filled)[~is_known].max()
        filled = np.where(is_known, logs, fit)
        if change < _SETTLED:
            break
    return np.where(is_known, double_centred(filled), 0.0)


def double_centred(values: np.ndarray) -> np.ndarray:
    """A matrix less the means of its rows and columns, which makes them all 0."""
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    centred: np.ndarray = values - rows - columns + values.mean()
    return centred
