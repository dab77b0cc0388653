"""What is said of units that no start moved: at how many checkpoints, and what that can tell.

Statuses and answers to reference images in, sentences out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.deaths import deaths
from dvis.kinds.features.words import OF_REFERENCE
from dvis.schema import CHANNEL, LAYER, Status

NOTE_OF_DEAD = "dead: "  # how the note of a dead unit begins
_NOT_REACHED = "from no start did a gradient reach the image"
_UNKNOWN = "it may answer the same to everything, or other images may drive it"
_MEAN, _SD, _ = OF_REFERENCE
_LEAST_SPREAD = 1e-6  # of the answers themselves, below which they differ by rounding
_MOST_NAMED = 5  # channels of a layer


def notes_of_dead(units: xr.Dataset, is_dead: np.ndarray) -> np.ndarray:
    """What is noted of each unit at a checkpoint, (channel,), "" of those that are not dead."""
    unknown = np.full(len(is_dead), np.nan)
    mean, spread = (units[each].values if each in units else unknown for each in (_MEAN, _SD))
    notes = [_noted(*each) for each in zip(mean.tolist(), spread.tolist(), strict=True)]
    return np.where(is_dead, np.array(notes, object), "").astype(object)


def _noted(mean: float, spread: float) -> str:
    """What is noted of a dead unit, by its answers to reference images.

    Examples
    --------
    >>> _noted(0.5, 0.0)
    'dead: from no start did a gradient reach the image; it answers 0.5 to all reference images'
    """
    if np.isnan(spread) or np.isnan(mean):
        return f"{NOTE_OF_DEAD}{_NOT_REACHED}; {_UNKNOWN}"
    if spread <= _LEAST_SPREAD * abs(mean):
        return f"{NOTE_OF_DEAD}{_NOT_REACHED}; it answers {mean:.4g} to all reference images"
    return f"{NOTE_OF_DEAD}{_NOT_REACHED}, but reference images move it: others can drive it"


def said_of_deaths(dataset: xr.Dataset, variant: str, layer: str, channels: list[int]) -> list[str]:
    """How many of a layer's units are dead, and whether at all checkpoints; nothing where none is.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives a variant.
    variant : str
        What it is called.
    layer : str
        The layer.
    channels : list of int
        The units that were asked for.
    """
    units = dataset.sel({LAYER: layer, CHANNEL: channels})
    status = units["status"].load()
    found = deaths(units)
    if found is None or not bool(found["n_dead"].any()):
        return []
    is_throughout, is_alive = found["is_throughout"], found["is_alive_at_last"]
    is_some = (found["n_dead"] > 0) & ~is_throughout
    groups = [
        (is_throughout, f"dead {_throughout(found.where(is_throughout, drop=True))}"),
        (is_some & is_alive, "dead at some checkpoints and alive at the last"),
        (is_some & ~is_alive, "alive at some checkpoints and dead at the last"),
    ]
    told = [
        f"{int(chosen.sum()):,} {text} (channel {_named(chosen)})"
        for chosen, text in groups
        if bool(chosen.any())
    ]
    text = f"{variant}, {layer}: of {len(channels):,} units {'; '.join(told)}"
    return [text, *_what_that_tells(units, status == Status.DEAD)]


def _throughout(found: xr.Dataset) -> str:
    n_known = found["n_known"].values
    if not n_known.size or n_known.max() == 1:
        return "at the only checkpoint where they were tried"
    if n_known.min() < n_known.max():
        return "at all checkpoints where they were tried"
    return f"at all {int(n_known.max())} checkpoints"


def _named(chosen: xr.DataArray) -> str:
    numbers = [str(number) for number in chosen[CHANNEL].values[chosen.values].tolist()]
    more = ", ..." if len(numbers) > _MOST_NAMED else ""
    return ", ".join(numbers[:_MOST_NAMED]) + more


def _what_that_tells(units: xr.Dataset, is_dead: xr.DataArray) -> list[str]:
    """What "dead" says of these units, by their answers to reference images where these are."""
    text = f"dead says that {_NOT_REACHED}"
    if not {_MEAN, _SD} <= set(units):
        return [f"{text}; {_UNKNOWN}"]
    mean, spread = (units[name].where(is_dead).values for name in (_MEAN, _SD))
    is_known = np.isfinite(mean) & np.isfinite(spread)
    if not is_known.any():
        return [f"{text}; {_UNKNOWN}"]
    is_moved = is_known & (spread > _LEAST_SPREAD * np.abs(mean))
    is_constant = is_known & ~is_moved & (mean != 0)
    n_known = int(is_known.sum())
    counts = [
        (int(is_moved.sum()), "reference images move it, so that others can drive it"),
        (int(is_constant.sum()), "it answers the same, other than 0, to all reference images"),
        (n_known - int((is_moved | is_constant).sum()), "it answers 0 to all reference images"),
    ]
    told = ", ".join(f"{n:,} times {what}" for n, what in counts if n)
    return [f"{text}; {told}"]
