"""What a model was shown: the float image behind a stored one."""

import numpy as np
import xarray as xr

from dvis.kinds.features import levels
from dvis.kinds.features.read import parameters_of
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y


def model_input(dataset: xr.Dataset, checkpoint: str, layer: str, channel: int) -> xr.DataArray:
    r"""A unit's feature image as the model takes it, to be fed back into it.

    .. math:: v = v_{min} + \frac{image}{255} (v_{max} - v_{min}), \quad
              input = (v - input\_mean) / input\_std

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.
    checkpoint : str
        Label of the checkpoint.
    layer : str
        Layer.
    channel : int
        Channel.

    Returns
    -------
    DataArray, (rgb, y, x), float32
        It has as many channels as the model takes, one for a model of grey images, though a stored
        image has three. It is computed at once.

    Raises
    ------
    KeyError
        When there is no such checkpoint, layer or channel.
    ValueError
        When the unit has no image, or the values of its levels are not known, as in imported jpgs.
    """
    unit = dataset.sel({CHECKPOINT: checkpoint, LAYER: layer, CHANNEL: channel})
    where = f"{checkpoint}, {layer}, channel {channel}"
    if int(unit.status) != Status.COMPLETE:
        status = Status(int(unit.status)).name.lower()
        raise ValueError(f"{where} is {status}; take a unit whose status is complete")
    low, high = float(unit.value_min), float(unit.value_max)
    if np.isnan(low) or np.isnan(high):
        raise ValueError(
            f"{where} has no value_min and value_max: it is a stretched jpg, which does not give "
            "its activation again. Make it with `dvis visualize`"
        )
    table = parameters_of(dataset)[int(unit.params)]
    image = unit.image.transpose(RGB, Y, X)
    inputs = levels.coloured_input(image.transpose(Y, X, RGB).values, low, high, table)
    image = image.isel({RGB: slice(len(inputs))})
    attrs = {"long_name": "model input", "units": "1"}
    return xr.DataArray(inputs, image.coords, image.dims, "model_input", attrs)
