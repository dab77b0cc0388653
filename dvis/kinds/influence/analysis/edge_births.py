"""Births of edges: when a channel begins to drive another as it does at the end.

Influence or shares over checkpoints in, a birth for each pair of channels out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.births import births
from dvis.analysis.requirements import require_dataset
from dvis.analysis.trajectories import in_one_piece, of_complete_units
from dvis.schema import CHECKPOINT, SchemaError

_STRENGTH, _SHARE = "strength", "share"


def edge_births(
    dataset: xr.Dataset,
    *,
    fraction: float = 0.5,
    n_last: int = 1,
    tolerance: float = 0.0,
    patience: int = 0,
    least_stay: int = 2,
    max_losses: int = 1,
) -> xr.Dataset:
    """When each edge between two channels became as strong as it is at the end.

    An edge is born at the first checkpoint from which its strength stays at or above a fraction of
    its final strength. Of shares, which are signed, what counts is the share in the direction of
    the final one: an edge that inhibits at first and excites at the end is not born before it
    excites. The result is on dask where the Dataset is, and then nothing is computed.

    Parameters
    ----------
    dataset : Dataset
        Of `dvis.influence`, whose `strength` is taken, or of `dvis.edges`, whose `share` is.
    fraction, n_last, tolerance, patience, least_stay, max_losses : optional
        As `ds.dvis.births` takes them.

    Returns
    -------
    Dataset, (layer_from, channel_from, layer_to, channel_to) or (layer, channel, input_channel)
        What `ds.dvis.births` gives of units: `birth`, int32, -1 where there is none,
        `birth_checkpoint`, `birth_step`, `state` ("never" of an edge without strength at the end,
        "absent" of a pair that is not measured), `final_level` in the units of the strength, ...

        Strengths are relative to the target's spread at each checkpoint, so that an edge is not
        born because all activations grow; of a target that loses another input they rise with it.

    Raises
    ------
    SchemaError
        When the Dataset has neither strengths nor shares.
    ValueError, TypeError
        As `ds.dvis.births` does.

    Examples
    --------
    >>> strength = xr.DataArray([[0.0], [0.1], [0.8], [0.9]], dims=("checkpoint", "channel_to"))
    >>> edge_births(strength.to_dataset(name="strength")).birth.values
    array([2], dtype=int32)
    """
    require_dataset(dataset)
    if _STRENGTH not in dataset and _SHARE not in dataset:
        there = ", ".join(map(str, dataset.data_vars)) or "nothing"
        raise SchemaError(
            f"This Dataset has neither strengths nor shares of edges, only {there}. Open one with "
            "dvis.influence or dvis.edges"
        )
    variable = dataset[_STRENGTH if _STRENGTH in dataset else _SHARE]
    strength = of_complete_units(dataset, variable)
    if _STRENGTH not in dataset:
        strength = _towards_final(strength)
    found = births(
        dataset,
        variable=strength,
        fraction=fraction,
        n_last=n_last,
        tolerance=tolerance,
        patience=patience,
        least_stay=least_stay,
        max_losses=max_losses,
    )
    found["state"].attrs["long_name"] = "whether the edge was born"
    return found


def _towards_final(share: xr.DataArray) -> xr.DataArray:
    """Shares with a minus where the final one has one."""
    result: xr.DataArray = xr.apply_ufunc(
        _with_final_sign,
        in_one_piece(share, CHECKPOINT),
        input_core_dims=[[CHECKPOINT]],
        output_core_dims=[[CHECKPOINT]],
        dask="parallelized",
        output_dtypes=[share.dtype],
        keep_attrs=True,
    )
    return result.transpose(*share.dims)


def _with_final_sign(values: np.ndarray) -> np.ndarray:
    """Values (..., checkpoint) times the sign of the last that is known."""
    last = values.shape[-1] - 1 - np.isfinite(values)[..., ::-1].argmax(-1)
    sign = np.sign(np.take_along_axis(values, last[..., None], -1))
    result: np.ndarray = values * sign
    return result
