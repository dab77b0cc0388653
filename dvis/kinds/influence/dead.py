"""Units of which influence tells nothing: targets that do not vary, sources that change nothing.

A Dataset of influence in, sentences out.
"""

import numpy as np
import xarray as xr

from dvis.kinds.influence.ends import FROM, nearest
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.schema import CHECKPOINT, Status, counted

_MOST_NAMED = 3


def said_of_dead(influence: xr.Dataset) -> list[str]:
    """How many targets and sources of each layer are dead, over all checkpoints of a group.

    Parameters
    ----------
    influence : Dataset
        As `dvis.influence` gives it. Of sources, their strengths onto the nearest later layer are
        read.
    """
    said = []
    deviations = influence["response_sd"]
    for layer in influence[LAYER_TO].values.tolist():
        of_layer = deviations.sel({LAYER_TO: layer}).load()
        found = _told(of_layer == 0, of_layer.notnull(), CHANNEL_TO, "target", layer)
        why = "what answers the same to all images cannot be influenced"
        said += [f"{found} dead: {why}"] if found else []
    for layer in influence[LAYER_FROM].values.tolist():
        target = nearest(influence, FROM, layer)
        if target is None:
            continue
        pair = influence[["strength", "status"]].sel({LAYER_FROM: layer, LAYER_TO: target})
        places = range(pair.sizes[CHECKPOINT])
        largest = xr.concat([_largest(pair.isel({CHECKPOINT: [at]})) for at in places], CHECKPOINT)
        found = _told(largest == 0, largest.notnull(), CHANNEL_FROM, "source", layer)
        why = f"dead, or nothing of it reaches {target}"
        said += [f"{found} without any effect: {why}"] if found else []
    return said


def _largest(pair: xr.Dataset) -> xr.DataArray:
    """The largest strength of each source; NaN where it, or every target, is not known."""
    loaded = pair.load()
    is_there = loaded["status"] == Status.COMPLETE
    return loaded["strength"].max(CHANNEL_TO).where(is_there)


def _told(is_dead: xr.DataArray, is_known: xr.DataArray, dim: str, unit: str, layer: str) -> str:
    """How many units (checkpoint, dim) are dead, and where all are that are known; "" if none."""
    n_dead, n_known = int(is_dead.sum()), int(is_known.sum())
    if not n_dead:
        return ""
    text = f"{n_dead:,} of {counted(n_known, unit)} of {layer}"
    if int(is_known.any(dim).sum()) > 1:
        text += " over all checkpoints"
    is_all = (is_dead.sum(dim) == is_known.sum(dim)) & is_known.any(dim)
    if bool(is_all.any()):
        labels = is_all[CHECKPOINT].values[np.flatnonzero(is_all.values)].tolist()
        more = ", ..." if len(labels) > _MOST_NAMED else ""
        text += f" (all at {', '.join(labels[:_MOST_NAMED])}{more})"
    return f"{text} {'is' if n_dead == 1 else 'are'}"
