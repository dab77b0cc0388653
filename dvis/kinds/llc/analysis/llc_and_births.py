"""Whether features are born where the local learning coefficient changes.

A Dataset with units and the LLC of its checkpoints in, births beside the LLC's changes out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.births import births as find_births
from dvis.analysis.change_points import change_points
from dvis.analysis.requirements import require
from dvis.analysis.together import alignment
from dvis.analysis.trajectories import counted, labels_of, steps_of
from dvis.schema import CHECKPOINT, LAYER, UNIT

_LEAST_CHECKPOINTS = 4  # two segments of two
_GIVE_LLC = "Estimate it with `dvis llc estimate`, or give it: llc=dvis.llc(...).llc.sel(...)"


def births_at_llc_changes(
    dataset: xr.Dataset,
    *,
    llc: str | xr.DataArray = "llc",
    variable: str | xr.DataArray | None = None,
    births: xr.Dataset | None = None,
    changes: xr.Dataset | None = None,
    tolerance: float = 1,
    window: int | None = None,
    n_permutations: int = 9_999,
    seed: int = 0,
) -> xr.Dataset:
    """Which features are born near an abrupt change of the LLC, with a test.

    Births and changes are compared by `dvis.analysis.together.alignment`: a birth is together with
    the LLC where some change of that is at most `tolerance` of the LLC's checkpoints away, and the
    test moves each change of the LLC by up to `window` checkpoints. It says whether births crowd at
    the changes more than at checkpoints nearby: not that one causes the other, nor which is first;
    and with the few changes of one run it seldom can. It is computed at once, for the test needs
    all.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, with `llc` where the store has it. Checkpoints without an LLC are
        passed over.
    llc : str or DataArray, (checkpoint,), optional
        The LLC, of one epsilon, gamma and choice of parameters.
    variable : str or DataArray, (checkpoint, ...), optional
        Trajectories whose births are taken where none are given, as `ds.dvis.births` takes them.
    births : Dataset, optional
        What `ds.dvis.births` gave; by default the births of `variable`, by its own defaults.
    changes : Dataset, (change,), optional
        What `ds.dvis.change_points` gave of the LLC; by default by its own defaults, with the
        standard errors of the LLC (`llc_se`) as the noise where the Dataset has them.
    tolerance, window, n_permutations, seed : optional
        As `alignment` takes them.

    Returns
    -------
    Dataset
        What `alignment` gives: `is_together`, `nearest_step`, `distance` of each unit,
        `n_together`, `n_changes` (here births of a known step), `share_together`, `n_pairs`,
        `null_n_pairs`, `p_value`. And

        - `llc` (checkpoint), float64, of all checkpoints; NaN where there is none;
        - `is_llc_change` (checkpoint), bool: the first checkpoint with an LLC after a change;
        - `n_born` (checkpoint, layer), int64: births at each of them.

    Raises
    ------
    KeyError
        When the Dataset has no such variable.
    SchemaError
        When the Dataset has no LLC.
    ValueError
        When the LLC runs over more than checkpoints or is known at fewer than four of them, their
        training steps are not known, or a number is out of its range.
    """
    of_checkpoints = _known_llc(dataset, llc)
    if births is None:
        births = find_births(dataset, variable=variable)
    if changes is None:
        known = xr.Dataset({"llc": of_checkpoints})
        errors = f"{llc}_se"
        if isinstance(llc, str) and errors in dataset:
            known["llc_se"] = counted(dataset, errors).sel({CHECKPOINT: known[CHECKPOINT]})
        changes = change_points(known, variable="llc")
    together = alignment(
        births,
        changes,
        tolerance=tolerance,
        window=window,
        n_permutations=n_permutations,
        seed=seed,
    )
    everywhere = _at_all_checkpoints(of_checkpoints, dataset)
    labels = labels_of(everywhere)
    is_change = np.isin(labels, changes[CHECKPOINT].values)
    series = xr.Dataset(
        {
            "llc": everywhere,
            "is_llc_change": (CHECKPOINT, is_change, {"long_name": "change of the LLC"}),
            "n_born": _births_at(births, everywhere),
        }
    )
    return together.drop_vars(CHECKPOINT, errors="ignore").merge(series, combine_attrs="override")


def _known_llc(dataset: xr.Dataset, llc: str | xr.DataArray) -> xr.DataArray:
    """The LLC at the checkpoints where it is known, with their labels and steps."""
    if isinstance(llc, str):
        require(dataset, llc, labels=(CHECKPOINT,), advice=_GIVE_LLC)
    series = counted(dataset, llc).compute()
    others = [str(dim) for dim in series.dims if dim != CHECKPOINT]
    if others:
        raise ValueError(
            f"{series.name} runs over {', '.join(others)} too; choose one of each, such as "
            f"llc.isel({others[0]}=0)"
        )
    n_checkpoints = series.sizes[CHECKPOINT]
    series = series.astype(float).where(np.isfinite(series)).dropna(CHECKPOINT)
    if series.sizes[CHECKPOINT] < _LEAST_CHECKPOINTS:
        raise ValueError(
            f"The LLC is known at {series.sizes[CHECKPOINT]} of {n_checkpoints} checkpoints; "
            f"changes need {_LEAST_CHECKPOINTS} or more. Estimate it at more of them"
        )
    if not np.isfinite(steps_of(series)).all():
        raise ValueError(
            "The training steps of the LLC's checkpoints are not known, by which births and "
            "changes are compared; give the Dataset a coordinate `step`"
        )
    return series


def _at_all_checkpoints(series: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """The LLC at all checkpoints of a Dataset, where its own are among them."""
    known = labels_of(series).tolist()
    places = {label: place for place, label in enumerate(labels_of(dataset).tolist())}
    if not set(known) <= set(places):
        return series
    values = np.full(len(places), np.nan)
    values[[places[label] for label in known]] = series.values
    coords = {name: c for name, c in dataset.coords.items() if c.dims == (CHECKPOINT,)}
    return xr.DataArray(values, coords, (CHECKPOINT,), series.name, series.attrs)


def _births_at(births: xr.Dataset, series: xr.DataArray) -> xr.DataArray:
    """Number of births at each checkpoint of a series, (checkpoint, layer)."""
    places = {label: place for place, label in enumerate(labels_of(series).tolist())}
    n_places = len(places)
    labels = births["birth_checkpoint"].compute()

    def counts_of(names: np.ndarray) -> np.ndarray:
        """Counts (..., checkpoint) of labels (..., unit)."""
        rows = names.reshape(-1, names.shape[-1])
        known, which = np.unique(rows, return_inverse=True)
        place = np.array([places.get(label, n_places) for label in known.tolist()], int)
        of_rows = [
            np.bincount(row, minlength=n_places + 1)[:n_places]
            for row in place[which].reshape(rows.shape)
        ]
        return np.array(of_rows).reshape(*names.shape[:-1], n_places)

    others = [dim for dim in labels.dims if dim != LAYER]
    units = labels.stack({UNIT: others}, create_index=False) if others else labels.expand_dims(UNIT)
    counts: xr.DataArray = xr.apply_ufunc(
        counts_of, units, input_core_dims=[[UNIT]], output_core_dims=[[CHECKPOINT]]
    )
    attrs = {"long_name": "births", "units": "1"}
    return (
        counts.transpose(CHECKPOINT, ...)
        .assign_attrs(attrs)
        .drop_vars([name for name in counts.coords if name != LAYER])
    )
