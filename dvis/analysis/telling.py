"""Which units of a run tell most of it, where not all can be shown."""

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.schema import CHANNEL, LAYER


def telling_units(dataset: xr.Dataset, births: xr.Dataset) -> dict[str, int]:
    """Of each layer, the channel that grows most among those that are born, if one is.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.
    births : Dataset, (layer, channel)
        What `births` gave of it, loaded.
    """
    growth = births["final_level"] - births["first_level"]  # of one measure, whichever it is
    born = growth.where(births["state"] == BORN).dropna(LAYER, how="all")
    channels = born.fillna(-np.inf).argmax(CHANNEL)
    places = zip(born[LAYER].values.tolist(), channels.values.tolist(), strict=True)
    return {layer: int(dataset[CHANNEL][place]) for layer, place in places}
