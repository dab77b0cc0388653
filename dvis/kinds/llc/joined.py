"""The LLC of a run's checkpoints beside what else a Dataset has of them, read when looked at.

What the metadata at a store's root say of groups of chains in; lazy variables out, for
`dvis.open`, which thus costs nothing more where a store has an LLC.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.read import CHAIN_READER, default_chains, is_calibration
from dvis.kinds.llc.words import ALL_PARAMETERS, EPSILON, GAMMA, KIND, PARAMETERS
from dvis.schema import CHECKPOINT
from dvis.store.contents import Contents, Entry, StoreLike
from dvis.store.portable import nested

# Variables of a Dataset by what `llc_of` calls them.
_JOINED = {
    "llc": "llc",
    "llc_se": "llc_se",
    "llc_n_diverged": "n_diverged",
    "llc_is_settled": "is_settled",
    "llc_step_bias": "step_bias",
}
_MISSING = {"is_settled": False}  # of others NaN


def with_llc(dataset: xr.Dataset, store: StoreLike, found: Contents, run: str) -> xr.Dataset:
    """The Dataset, and the LLC of its checkpoints by label where there is one.

    Parameters
    ----------
    dataset : Dataset
        With checkpoints.
    store : str, Path or Store
        The store.
    found : Contents
        What it holds.
    run : str
        The Dataset's run.

    Returns
    -------
    Dataset
        With `llc`, `llc_se`, `llc_n_diverged` and `llc_step_bias` (checkpoint), float64, and
        `llc_is_settled`, bool, of the default entry and of that epsilon, gamma and those parameters
        that its attribute `shown` names; NaN and false at checkpoints without chains. They are
        computed when they are looked at.
    """
    entry = shown_entry(found, run)
    if entry is None:
        return dataset
    labels = tuple(dataset[CHECKPOINT].values.tolist())
    estimates = _Estimates(store, found, entry, labels)
    attrs = {
        "units": "1",
        "name": entry.name,
        **{key: entry.attrs[key] for key in ("nbeta", "burn_in") if key in entry.attrs},
        **dict(entry.attrs.get("shown", {})),
    }
    long_names = {
        "llc": "local learning coefficient",
        "llc_se": "standard error of the LLC",
        "llc_n_diverged": "chains that diverged, left out of the LLC",
        "llc_is_settled": "whether the LLC's chains are long enough, agree, and drift no more",
        "llc_step_bias": "what the finite step adds to the LLC at most",
    }
    return dataset.assign(
        {
            name: xr.Variable(
                CHECKPOINT,
                indexing.LazilyIndexedArray(_JoinedArray(estimates, variable)),
                {"long_name": long_names[name], **attrs},
            )
            for name, variable in _JOINED.items()
        }
    )


def shown_entry(found: Contents, run: str) -> Entry | None:
    """The chains whose LLC is shown of a run; None where it has none, or calibrations alone."""
    entries = found.of(KIND, run)
    entry = default_chains(entries, {}) if entries else None
    return None if entry is None or is_calibration(entry) else entry


def shown_estimates(store: StoreLike, found: Contents, entry: Entry) -> xr.Dataset | None:
    """The LLC of a group of chains, (checkpoint), at the cell that is shown of it.

    None where no chain was asked for yet.
    """
    traces = CHAIN_READER.open_entry(store, found, entry)
    return None if 0 in traces["loss"].shape else llc_of(_shown_cell(traces))


def estimates_by_gamma(store: StoreLike, found: Contents, entry: Entry) -> xr.Dataset | None:
    """The LLC of a group of chains, (gamma, checkpoint): that which is shown, then other gammas.

    None where no chain was asked for yet.
    """
    traces = CHAIN_READER.open_entry(store, found, entry)
    if 0 in traces["loss"].shape:
        return None
    places = _shown_places(traces)
    shown = places.pop(GAMMA)
    others = [place for place in range(traces.sizes[GAMMA]) if place != shown]
    of_cells = llc_of(traces.isel(places).isel({GAMMA: [shown, *others]}))
    return of_cells.transpose(GAMMA, CHECKPOINT, ...)


@dataclass(frozen=True)
class _Estimates:
    """LLCs in the order of some checkpoints; shared by the variables that show them."""

    store: StoreLike
    found: Contents
    entry: Entry
    labels: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, np.ndarray]:
        estimates = shown_estimates(self.store, self.found, self.entry)
        if estimates is None:
            return {name: np.full(len(self.labels), _missing(name)) for name in _JOINED.values()}
        rows = {label: row for row, label in enumerate(estimates[CHECKPOINT].values.tolist())}
        order = [rows.get(label, -1) for label in self.labels]
        return {
            name: np.append(estimates[name].values.astype(type(_missing(name))), _missing(name))[
                order
            ]
            for name in _JOINED.values()
        }


def _missing(name: str) -> float | bool:
    """What a checkpoint without chains has."""
    return _MISSING.get(name, np.nan)


class _JoinedArray(BackendArray):
    """One variable of some estimates, (checkpoint), for xarray to index before it is computed."""

    def __init__(self, estimates: _Estimates, name: str) -> None:
        self._estimates, self._name = estimates, name
        self.shape, self.dtype = (len(estimates.labels),), np.dtype(type(_missing(name)))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._values
        )

    def _values(self, key: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(self._estimates.by_name[self._name][key])


def _shown_cell(traces: xr.Dataset) -> xr.Dataset:
    """Traces of the parameters, epsilon and gamma that the group shows, else of the first."""
    return traces.isel(_shown_places(traces))


def _shown_places(traces: xr.Dataset) -> dict[str, int]:
    shown = {PARAMETERS: ALL_PARAMETERS, **nested(traces.attrs.get("shown", {}))}
    places = {}
    for dim in (PARAMETERS, EPSILON, GAMMA):
        labels = traces[dim].values.tolist()
        places[dim] = labels.index(shown[dim]) if shown.get(dim) in labels else 0
    return places
