"""Units at either end of influence by name, with errors that say what there is.

A Dataset of influence in, names, labels, and tables of one unit out.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require, require_whole_numbers
from dvis.kinds.influence.read import halves
from dvis.kinds.influence.words import (
    CHANNEL_FROM,
    CHANNEL_TO,
    LAYER_FROM,
    LAYER_TO,
    PAIR_DIMS,
)
from dvis.plots.selection import at_checkpoint, labels_of, origin_of
from dvis.schema import CHECKPOINT, Status, did_you_mean

MEASURED = ("strength", "share", "direction", "half_difference")


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of influence: its dims, what is known of its layers, and how it is called."""

    layer: str
    channel: str
    n_channels: str
    depth: str
    called: str
    step: int  # along the order of execution, to the layers at the other end

    @property
    def other(self) -> "End":
        """The other end."""
        return FROM if self is TO else TO


FROM = End(
    layer=LAYER_FROM,
    channel=CHANNEL_FROM,
    n_channels="n_channels_from",
    depth="depth_from",
    called="sources",
    step=1,
)
TO = End(
    layer=LAYER_TO,
    channel=CHANNEL_TO,
    n_channels="n_channels_to",
    depth="depth_to",
    called="targets",
    step=-1,
)


def prepared(dataset: xr.Dataset) -> xr.Dataset:
    """A Dataset of influence with all of its dims, of length 1 where they were selected away.

    Raises
    ------
    TypeError, SchemaError, ValueError
        When it is something else, or nothing is left of a dim.
    """
    require(dataset, *MEASURED, "status", labels=PAIR_DIMS, advice="Open one with dvis.influence")
    gone = [dim for dim in PAIR_DIMS if dim not in dataset.dims]
    return dataset.expand_dims(gone) if gone else dataset


def known_unit(
    dataset: xr.Dataset, end: End, layer: str | None, channel: int | None
) -> tuple[str, int]:
    """Layer and channel of a unit at an end, which are named where there are several.

    Raises
    ------
    TypeError, ValueError
        When there is none such, or several and none is named.
    """
    layer = known_layer(dataset, end, layer)
    there = channels_of(dataset, end, layer)
    said = f"Its channels: {there.min()} to {there.max()}" if len(there) else "It has none here"
    require_whole_numbers(channel=channel)
    if channel is None and len(there) != 1:
        raise ValueError(f"Which channel of {layer}? {said}")
    channel = int(there[0]) if channel is None else int(channel)
    if channel not in there:
        raise ValueError(f"No channel {channel} in {layer}. {said}")
    return layer, channel


def known_layer(dataset: xr.Dataset, end: End, layer: str | None) -> str:
    """A layer at an end, which is named where there are several.

    Raises
    ------
    ValueError
        When there is none such, or several and none is named.
    """
    there = labels_of(dataset, end.layer)
    if layer is None and len(there) > 1:
        raise ValueError(f"Which layer? The {end.called} have {', '.join(there[:10])}")
    layer = there[0] if layer is None else str(layer)
    if layer not in there:
        where = f"the {end.called} of {origin_of(dataset) or 'this influence'}"
        raise ValueError(did_you_mean("layer", layer, there, where))
    return layer


def channels_of(dataset: xr.Dataset, end: End, layer: str) -> np.ndarray:
    """Channels that a layer has at an end: the axis is as wide as the widest layer."""
    there: np.ndarray = dataset[end.channel].values
    if end.n_channels not in dataset.coords:
        return there
    return there[there < _of_layers(dataset, end, end.n_channels)[layer]]


def other_layer(dataset: xr.Dataset, end: End, layer: str, asked: str | None = None) -> str:
    """The layer at the other end: as asked, or the nearest that is measured.

    Raises
    ------
    ValueError
        When there is none such, or none before a target (after a source).
    """
    other = end.other
    if asked is not None:
        return known_layer(dataset, other, asked)
    found = nearest(dataset, end, layer)
    if found is None:
        side = "before" if end is TO else "after"
        there = ", ".join(labels_of(dataset, other.layer)[:10])
        raise ValueError(
            f"No layer {side} {layer} is measured; the {other.called} have {there}. Take "
            f"a {'later' if end is TO else 'earlier'} layer, or measure more with `dvis influence`"
        )
    return found


def checkpoint_of(
    dataset: xr.Dataset, checkpoint: str | int | None, layer_from: str, layer_to: str
) -> str:
    """A checkpoint's label: as asked, or the last at which a pair of layers is measured.

    Raises
    ------
    ValueError
        When there is no such checkpoint.
    """
    if checkpoint is None:
        pair = dataset["status"].sel({LAYER_FROM: layer_from, LAYER_TO: layer_to})
        is_there = (pair == Status.COMPLETE).any(CHANNEL_FROM).values
        checkpoint = int(np.flatnonzero(is_there)[-1]) if is_there.any() else None
    return str(at_checkpoint(dataset, checkpoint)[CHECKPOINT].item())


def nearest(dataset: xr.Dataset, end: End, layer: str) -> str | None:
    """The nearest layer at the other end that something is measured of; None where there is none.

    One that is not at this end has none.
    """
    if layer not in labels_of(dataset, end.layer):
        return None
    other = end.other
    own = _of_layers(dataset, end, end.depth)[layer]
    depths = _of_layers(dataset, other, other.depth)
    away = {name: end.step * (depth - own) for name, depth in depths.items()}
    status = dataset["status"].sel({end.layer: layer})
    is_there = (status == Status.COMPLETE).any([dim for dim in status.dims if dim != other.layer])
    measured = dict(zip(labels_of(dataset, other.layer), is_there.values.tolist(), strict=True))
    near = [name for name, distance in away.items() if distance > 0 and measured[name]]
    return min(near, key=lambda name: away[name], default=None)


def influence_of(
    dataset: xr.Dataset, end: End, layer: str, channel: int | Sequence[int], layer_beyond: str
) -> xr.Dataset:
    """What is measured between a unit, or several, and a layer at the other end.

    Returns
    -------
    Dataset, (checkpoint, channel at the other end), and that at this end where several are given
        In memory, float32: `strength`, `share`, `direction`, `strength_even`, `strength_odd`.
    """
    other = end.other
    places: dict[Hashable, Any] = {
        end.layer: layer,
        end.channel: channel,
        other.layer: layer_beyond,
        other.channel: channels_of(dataset, other, layer_beyond),
    }
    table = dataset[[*MEASURED]].sel(places).load().astype(np.float32)
    even, odd = halves(table)
    return table.drop_vars("half_difference").assign(strength_even=even, strength_odd=odd)


def n_measured(dataset: xr.Dataset, layer_from: str, layer_to: str) -> tuple[int, int]:
    """How many channels of a layer are measured onto another, at any checkpoint, and how many are.

    Of a Dataset of one checkpoint, at that.
    """
    pair = dataset["status"].sel({LAYER_FROM: layer_from, LAYER_TO: layer_to})
    is_there = pair == Status.COMPLETE
    channels = channels_of(dataset, FROM, layer_from)
    if CHECKPOINT in is_there.dims:
        is_there = is_there.any(CHECKPOINT)
    return int(is_there.sel({CHANNEL_FROM: channels}).sum()), len(channels)


def strongest(strength: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest, the largest first; those that are not known are none of them."""
    order = np.argsort(-np.nan_to_num(strength, nan=-np.inf), kind="stable")
    return np.asarray(order[np.isfinite(strength[order])][:k])


def why_nothing(dataset: xr.Dataset, end: End, unit: tuple[str, int], layers: Sequence[str]) -> str:
    """Why a unit has no influence at the Dataset's one checkpoint: it is dead, or not measured."""
    name, label = f"{unit[0]}, channel {unit[1]}", dataset[CHECKPOINT].item()
    pair = dataset["status"].sel({LAYER_FROM: layers[0], LAYER_TO: layers[1]})
    if end is TO and bool((pair == Status.COMPLETE).any()):
        return (
            f"{name} is dead at {label}: it answers the same to all images, and nothing can "
            "influence that. Take another checkpoint or channel"
        )
    return (
        f"No influence of {name} is measured at {label}; take another checkpoint, or measure it "
        "with `dvis influence`"
    )


def _of_layers(dataset: xr.Dataset, end: End, name: str) -> dict[str, int]:
    """A coordinate of the layers at an end, by their names."""
    values = np.atleast_1d(dataset[name].values).tolist()
    return dict(zip(labels_of(dataset, end.layer), values, strict=True))
