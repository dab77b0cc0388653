"""Deaths: at how many checkpoints nothing that was tried moved a unit, and whether that lasted.

`status` over checkpoints in, numbers of each unit out.
"""

import xarray as xr

from dvis.schema import CHECKPOINT, UNIT_DIMS, Status


def deaths(dataset: xr.Dataset) -> xr.Dataset | None:
    """At how many checkpoints each unit is dead, and whether it is so at the last one.

    A unit is dead at a checkpoint where from no start a gradient reached its image. That tells of
    these starts: it may answer the same to everything, or be driven by images that nobody tried.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, its checkpoints in the order of training.

    Returns
    -------
    Dataset, (layer, channel), or None
        - `n_dead`, `n_known`, int64: checkpoints at which the unit is dead, and at which it is dead
          or complete;
        - `is_throughout`, bool: it is dead at all of these;
        - `is_alive_at_last`, bool: it is complete at the last of these.

        None where the Dataset has no status of units over checkpoints.
    """
    status = dataset.get("status")
    if status is None or CHECKPOINT not in status.dims or not set(UNIT_DIMS) <= set(status.coords):
        return None
    is_dead, is_complete = (status == each for each in (Status.DEAD, Status.COMPLETE))
    is_known = is_dead | is_complete
    n_dead, n_known = is_dead.sum(CHECKPOINT), is_known.sum(CHECKPOINT)
    place = xr.DataArray(range(1, status.sizes[CHECKPOINT] + 1), dims=CHECKPOINT)
    last = (is_known * place).max(CHECKPOINT)
    found = {
        "n_dead": n_dead,
        "n_known": n_known,
        "is_throughout": (n_dead == n_known) & (n_known > 0),
        "is_alive_at_last": ((place == last) & is_complete).any(CHECKPOINT),
    }
    return xr.Dataset(found)
