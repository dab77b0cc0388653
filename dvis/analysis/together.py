"""Which change points, or births, fall together with the change points of another series.

Change points of units in, and of one series such as a loss; those that are near each other out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.change_points import CHANGE
from dvis.analysis.requirements import require_numbers, require_whole_numbers
from dvis.analysis.resampling import BOUND, MIDDLE
from dvis.analysis.trajectories import quantiles

_WINDOWS, _LEAST_WINDOW = 6, 2  # windows in all checkpoints, by simulation; checkpoints
_LEAST_CHECKPOINTS = 21  # of fewer a planted alignment is found in 1 % (docs/levels.md)
_CANNOT_TELL = (
    "that one causes the other, nor which is first; of one run's few changes it seldom says "
    "anything"
)
_LONG_NAMES = {
    "is_together": "together with a change of the second series",
    "nearest_step": "training step of the second series' nearest change",
    "distance": "checkpoints from it",
    "n_together": "changes together",
    "n_changes": "changes",
    "share_together": "share of changes together",
    "n_pairs": "pairs of changes together",
    "null_n_pairs": "95 % of pairs together, changes of the second series jittered",
    "p_value": "p, changes of the second series jittered",
}


def alignment(
    first: xr.Dataset,
    second: xr.Dataset,
    *,
    tolerance: float = 1,
    window: int | None = None,
    n_permutations: int = 9_999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which changes of a first set fall together with those of a second series, with a test.

    A change of the first set is together with the second series where some change of that is at
    most `tolerance` checkpoints away. Distances are counted along the second series' checkpoints,
    between which steps are interpolated. It is computed at once, for the test needs all.

    Much of training happens in its middle, in both series, for no reason that they share. So the
    test keeps the trend of each and moves only what is faster: each change of the second series
    goes to a place drawn evenly from those at most `window` checkpoints away (jitter, Amarasingham
    et al. 2012), and the first set stays as it is, so that units which change at the same moment
    for a reason of their own do not count as so many witnesses. What is counted is pairs of a
    change of each that are together, for changes that stand close to each other would share
    witnesses. The p-value is :math:`(1 + hits) / (1 + n)`, a hit being a jitter with as many pairs
    or more. A trend faster than the window is taken for more than a trend, and a single change can
    have no p much below `(2 * tolerance + 1) / (2 * window + 1)`. `docs/levels.md` has the rates at
    which the test finds something where there is nothing.

    Parameters
    ----------
    first : Dataset, (..., change) or (...)
        What `change_points` or `births` gave, of any number of units.
    second : Dataset, (change,)
        What `change_points` gave of one series.
    tolerance : float, optional
        How far apart two changes may be, in checkpoints, 0 or more.
    window : int, optional
        How far the test moves changes, in checkpoints; by default a sixth of all checkpoints, and
        2 at least.
    n_permutations : int, optional
        Jitters of the test.
    seed : int, optional
        Seed of the jitters.

    Returns
    -------
    Dataset
        - `is_together`, bool, dims as the first set's steps: False also where there is no change;
        - `nearest_step`, float64, same dims: the step of the second series' nearest change;
        - `distance`, float64, same dims: how far from it, in checkpoints, positive where the first
          set's is later; NaN where either has no change, or the step lies outside of the series;
        - `n_together`, `n_changes`, int64: of how many changes with a known step how many are;
        - `share_together`, float64: NaN where there are none;
        - `n_pairs`, int64: pairs of changes that are together;
        - `null_n_pairs` (bound), float64: where 95 % of the jitters' pairs lie;
        - `p_value`, float64: NaN where either has no change of a known step, or the second series
          has 20 checkpoints or fewer, of which the test finds nothing that is there;
          `attrs["why_no_p"]` says so.

    Raises
    ------
    ValueError
        When the first has neither `step` nor `birth_step`, the second is not of one series, or a
        number is out of its range.

    References
    ----------
    Amarasingham, Harrison, Hatsopoulos and Geman (2012), Conditional modeling and the jitter method
    of spike resampling, doi:10.1152/jn.00633.2011.

    Examples
    --------
    >>> from dvis.analysis.change_points import change_points
    >>> loss = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0]
    >>> ds = xr.Dataset({"loss": ("checkpoint", loss)}, {"step": ("checkpoint", range(6))})
    >>> drops = change_points(ds, variable="loss")
    >>> alignment(drops, drops, tolerance=0).share_together.item()
    1.0
    """
    require_numbers(tolerance=tolerance)
    require_whole_numbers(n_permutations=n_permutations, window=window)
    if not tolerance >= 0:
        raise ValueError(f"tolerance={tolerance} is a distance in checkpoints; give 0 or more")
    if window is not None and window < 1:
        raise ValueError(f"window={window}: a test moves changes by 1 checkpoint or more")
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations}: a test needs some; 999 is usual")
    steps = _steps(first).compute()
    of_second = _one_series(second).compute().values
    axis = np.sort(np.asarray(second.attrs["checkpoint_steps"], float))
    axis = axis[np.isfinite(axis)]
    window = max(_LEAST_WINDOW, len(axis) // _WINDOWS) if window is None else window

    # Both along the second series' checkpoints, in units of these.
    places = xr.apply_ufunc(_places, steps, kwargs={"axis": axis})
    others = _places(np.sort(of_second[np.isfinite(of_second)]), axis)
    nearest = xr.apply_ufunc(_nearest, places, kwargs={"others": others})
    distance = places - nearest
    is_together = np.abs(distance) <= tolerance
    known = places.values[np.isfinite(places.values)]
    pairs = np.zeros(1)
    if len(known) and len(others):
        room = int(second.attrs["least_length"])
        n_near = (np.abs(known[:, None] - np.arange(len(axis))) <= tolerance).sum(axis=0)
        bounds = room, len(axis) - room
        pairs = n_near[_jittered(others.astype(int), bounds, window, n_permutations, seed)].sum(1)
    n_together, n_changes = int(is_together.sum()), int(np.isfinite(steps).sum())
    why = _why_no_p(len(pairs) > 1, len(axis))
    found = {
        "is_together": is_together,
        "nearest_step": xr.apply_ufunc(_steps_at, nearest, kwargs={"axis": axis}),
        "distance": distance,
        "n_together": n_together,
        "n_changes": n_changes,
        "share_together": n_together / n_changes if n_changes else np.nan,
        "n_pairs": int(pairs[0]),
        "null_n_pairs": (BOUND, quantiles(pairs[1:], MIDDLE)),
        "p_value": np.nan if why else float((pairs >= pairs[0]).mean()),
    }
    result = xr.Dataset(
        found,
        {BOUND: ["lower", "upper"]},
        {
            "first": first.attrs.get("variable", ""),
            "second": second.attrs.get("variable", ""),
            "exchangeable": "places of a change of the second series within the window",
            "null": "changes of the two have no more in common than trends slower than the window",
            "why_no_p": why,
            "cannot_tell": _CANNOT_TELL,
            "tolerance": tolerance,
            "window": window,
            "n_permutations": n_permutations,
            "seed": seed,
        },
    )
    for name, long_name in _LONG_NAMES.items():
        result[name].attrs = {"long_name": long_name, "units": "1"}
    return result


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


def _why_no_p(is_tested: bool, n_checkpoints: int) -> str:
    """Why there is no p, "" where there is one."""
    if not is_tested:
        return "one of the two has no change of a known step"
    if n_checkpoints < _LEAST_CHECKPOINTS:
        return (
            f"with {n_checkpoints} checkpoints the test has no power: it takes "
            f"{_LEAST_CHECKPOINTS} or more"
        )
    return ""


def _places(steps: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Places along checkpoints with these steps, in order; NaN outside of them."""
    if not len(axis):
        return np.full(np.shape(steps), np.nan)
    places: np.ndarray = np.interp(steps, axis, np.arange(len(axis)), left=np.nan, right=np.nan)
    return places


def _steps_at(places: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Steps of whole places along checkpoints; NaN where there is none."""
    padded = np.append(axis, np.nan)
    found: np.ndarray = padded[np.nan_to_num(places, nan=len(axis)).astype(int)]
    return found


def _nearest(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The nearest of other places, in order, to each; NaN where there is none."""
    if not len(others):
        return np.full(places.shape, np.nan)
    after = np.searchsorted(others, places).clip(0, len(others) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(places - others[before]) <= np.abs(others[after] - places)
    return np.where(np.isnan(places), np.nan, np.where(is_before, others[before], others[after]))


def _jittered(
    places: np.ndarray, room: tuple[int, int], window: int, n: int, seed: int
) -> np.ndarray:
    """Places moved within a window and within the room that changes have, (1 + jitter, change).

    The first are those that there are.
    """
    first, last = np.minimum(room[0], places), np.maximum(room[1], places)
    low, high = np.maximum(places - window, first), np.minimum(places + window, last)
    generator = np.random.default_rng(seed)
    moved = generator.integers(low, high + 1, (n, len(places)))
    return np.concatenate([places[None], moved])
