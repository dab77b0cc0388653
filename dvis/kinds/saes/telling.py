"""Which latent of an autoencoder tells most, where not all can be shown."""

import numpy as np
import xarray as xr

from dvis.kinds.saes.dims import LATENT, SHUFFLE
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status


def telling_latent(found: xr.Dataset, images: xr.Dataset | None = None) -> int:
    """The latent most selective at the last checkpoint, beyond its null, of the more frequent.

    Parameters
    ----------
    found : Dataset
        What `dvis.latents` gave.
    images : Dataset, optional
        Optimised images of latents. Where some have one, it is one of these.
    """
    last = found.isel({CHECKPOINT: -1})
    if images is not None:
        is_there = images["status"].sel({LAYER: found.attrs["layer"]}) == Status.COMPLETE
        pictured = images[CHANNEL].values[is_there.any(CHECKPOINT).values]
        chosen = last.sel({LATENT: np.isin(last[LATENT], pictured)})
        last = chosen if chosen.sizes[LATENT] else last
    beyond = last["selectivity"] - last["null_selectivity"].max(SHUFFLE)
    frequency = last["frequency"]
    is_frequent = frequency >= frequency.where(frequency > 0).median()
    place = int(beyond.where(is_frequent).fillna(-1).argmax(LATENT))
    return int(last[LATENT][place])
