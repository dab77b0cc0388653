"""The checkpoints nearest to a step or an epoch of training."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from dvis.schema import CHECKPOINT


def at(
    dataset: xr.Dataset,
    *,
    step: float | Sequence[float] | None = None,
    epoch: float | Sequence[float] | None = None,
) -> xr.Dataset:
    """Selection of the checkpoint that is nearest to a training step, or to an epoch.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open`, or another reader of checkpoints, gave.
    step, epoch : float or sequence of float
        One of the two. Where two checkpoints are as near, the one later in training is taken: of
        an epoch its end.

    Returns
    -------
    Dataset
        At one checkpoint, or at as many as were asked for, along `checkpoint`; the coordinates
        `checkpoint`, `step` and `epoch` say which.

    Raises
    ------
    TypeError
        When what is asked for is, or holds, no number.
    ValueError
        When both or neither are given, one is not a number (NaN), or the Dataset's checkpoints
        do not tell theirs.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"checkpoint": ["a", "b", "c"]})
    >>> ds = ds.assign_coords(step=("checkpoint", [0, 10, 100]))
    >>> ds.dvis.at(step=30).checkpoint.item(), ds.dvis.at(step=[0, 90]).step.values.tolist()
    ('b', [0, 100])
    """
    given = {name: asked for name, asked in (("step", step), ("epoch", epoch)) if asked is not None}
    if len(given) != 1:
        raise ValueError("Give a step or an epoch, and only one of them: at(step=1000)")
    ((name, asked),) = given.items()
    try:
        wanted = np.asarray(asked, float)
    except (TypeError, ValueError) as err:
        raise TypeError(f"{name} is {asked!r}; give a number, or a list of numbers") from err
    if wanted.ndim > 1 or np.isnan(wanted).any():
        raise ValueError(f"{name} is {asked!r}; give a number, or a list of numbers")
    known = _known(dataset, name)
    # Of equal distances the last counts, hence from behind.
    distance = np.abs(known[::-1] - wanted[..., np.newaxis])
    return dataset.isel({CHECKPOINT: len(known) - 1 - np.nanargmin(distance, -1)})


def _known(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Steps or epochs of a Dataset's checkpoints, of which some are known."""
    if CHECKPOINT not in dataset.dims:
        raise ValueError("This Dataset has no dim 'checkpoint' along which there is a choice")
    known = {
        each: np.asarray(dataset[each].values, float)
        for each in ("step", "epoch")
        if each in dataset.coords and dataset[each].dims == (CHECKPOINT,)
    }
    told = [each for each, values in known.items() if np.isfinite(values).any()]
    if name not in told:
        last = str(dataset[CHECKPOINT].values[-1])
        instead = f"Give {told[0]}=..., which is known, or choose" if told else "Choose"
        raise ValueError(
            f"No checkpoint of this Dataset has a known {name}. {instead} by name: "
            f"ds.sel(checkpoint={last!r})"
        )
    return known[name]
