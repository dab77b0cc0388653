"""Which change points, or births, fall together with the change points of another series.

Change points of units in, and of one series such as a loss; those that are near each other out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.change_points import CHANGE
from dvis.analysis.requirements import require_numbers, require_whole_numbers


def alignment(
    first: xr.Dataset,
    second: xr.Dataset,
    *,
    tolerance_steps: float,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which changes of a first set fall together with those of a second series, with a test.

    A change of the first set is together with the second series where some change of that is at
    most `tolerance_steps` training steps away. It is computed at once, for the test needs all.

    The p-value is :math:`(1 + hits) / (1 + n)`. Each permutation puts the second series' changes at
    checkpoints drawn at random without replacement, and is a hit where at least as many of the
    first set are together with them. The first set stays as it is, so that units which change at
    the same moment for a reason of their own do not count as so many witnesses.

    Parameters
    ----------
    first : Dataset, (..., change) or (...)
        What `change_points` or `births` gave, of any number of units.
    second : Dataset, (change,)
        What `change_points` gave of one series.
    tolerance_steps : float
        How far apart two changes may be, in training steps, 0 or more.
    n_permutations : int, optional
        Permutations of the test.
    seed : int, optional
        Seed of the permutations.

    Returns
    -------
    Dataset
        - `is_together`, bool, dims as the first set's steps: False also where there is no change;
        - `nearest_step`, float64, same dims: the step of the second series' nearest change;
        - `distance`, float64, same dims: the first set's step minus that, in training steps; NaN
          where either has no change;
        - `n_together`, `n_changes`, int64: of how many changes with a known step how many are;
        - `share_together`, float64: NaN where there are none;
        - `p_value`, float64: NaN where either has no change of a known step.

    Raises
    ------
    ValueError
        When the first has neither `step` nor `birth_step`, the second is not of one series, or a
        number is out of its range.

    Examples
    --------
    >>> from dvis.analysis.change_points import change_points
    >>> loss = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0]
    >>> ds = xr.Dataset({"loss": ("checkpoint", loss)}, {"step": ("checkpoint", range(6))})
    >>> drops = change_points(ds, variable="loss")
    >>> alignment(drops, drops, tolerance_steps=0).share_together.item()
    1.0
    """
    require_numbers(tolerance_steps=tolerance_steps)
    require_whole_numbers(n_permutations=n_permutations)
    if not tolerance_steps >= 0:
        raise ValueError(f"tolerance_steps={tolerance_steps} is a distance; give 0 or more")
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations}: a test needs some; 999 is usual")
    steps = _steps(first).compute()
    others = _known(_one_series(second).compute().values)
    nearest = xr.apply_ufunc(_nearest, steps, kwargs={"others": others})
    distance = steps - nearest
    is_together = np.abs(distance) <= tolerance_steps
    known = _known(steps.values)
    n_together = int(is_together.sum())
    p_value = np.nan
    if len(known) and len(others):
        p_value = _p_value(
            known, second, len(others), n_together, tolerance_steps, n_permutations, seed
        )
    found = {
        "is_together": (is_together, "together with a change of the second series"),
        "nearest_step": (nearest, "training step of the second series' nearest change"),
        "distance": (distance, "training steps from it"),
        "n_together": (xr.DataArray(n_together), "changes together"),
        "n_changes": (xr.DataArray(len(known)), "changes"),
        "share_together": (
            xr.DataArray(n_together / len(known) if len(known) else np.nan),
            "share of changes together",
        ),
        "p_value": (xr.DataArray(p_value), "p, changes of the second series moved"),
    }
    return xr.Dataset(
        {
            name: each.assign_attrs(long_name=text, units="1")
            for name, (each, text) in found.items()
        },
        attrs={
            "first": first.attrs.get("variable", ""),
            "second": second.attrs.get("variable", ""),
            "tolerance_steps": tolerance_steps,
            "n_permutations": n_permutations,
            "seed": seed,
        },
    )


def _steps(first: xr.Dataset) -> xr.DataArray:
    """Training steps of change points or of births."""
    for name in ("step", "birth_step"):
        if name in first.data_vars:
            return first[name]
    there = ", ".join(map(str, first.data_vars)) or "nothing"
    raise ValueError(
        f"The first set has neither step nor birth_step, only {there}; give what change_points or "
        "births gave"
    )


def _one_series(second: xr.Dataset) -> xr.DataArray:
    """Training steps of the change points of one series."""
    if "step" not in second.data_vars or "checkpoint_steps" not in second.attrs:
        there = ", ".join(map(str, second.data_vars)) or "nothing"
        raise ValueError(
            f"The second series has {there}, so it is not what change_points gave; give that, of "
            'one series, such as change_points(ds, variable="val_loss")'
        )
    steps = second["step"]
    if steps.dims != (CHANGE,):
        raise ValueError(
            f"The second series has dimensions {steps.dims}, so it is several; take one of them, "
            "such as second.sel(layer=..., channel=...)"
        )
    return steps


def _known(steps: np.ndarray) -> np.ndarray:
    """Steps that are known, in order, (change,)."""
    known: np.ndarray = np.sort(steps[np.isfinite(steps)])
    return known


def _nearest(steps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The nearest of other steps, in order, to each; NaN where there is none."""
    if not len(others):
        return np.full(steps.shape, np.nan)
    after = np.searchsorted(others, steps).clip(0, len(others) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(steps - others[before]) <= np.abs(others[after] - steps)
    return np.where(np.isnan(steps), np.nan, np.where(is_before, others[before], others[after]))


def _p_value(
    known: np.ndarray,
    second: xr.Dataset,
    n_others: int,
    n_together: int,
    tolerance_steps: float,
    n_permutations: int,
    seed: int,
) -> float:
    """Share of random placements of the second series' changes with as many together."""
    least_length = int(second.attrs["least_length"])
    steps = np.asarray(second.attrs["checkpoint_steps"], float)
    # A change lies where segments on both of its sides have room.
    may_change = _known(steps[least_length : len(steps) - least_length + 1])
    # Changes stand at few steps, however many units they are of.
    distinct, counts = np.unique(known, return_counts=True)
    is_near = np.abs(distinct[:, None] - may_change) <= tolerance_steps
    generator = np.random.default_rng(seed)
    hits = 0
    for _ in range(n_permutations):
        drawn = generator.choice(len(may_change), size=n_others, replace=False)
        hits += counts @ is_near[:, drawn].any(axis=1) >= n_together
    return float((1 + hits) / (1 + n_permutations))
