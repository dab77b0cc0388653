"""The LLC of a run's checkpoints beside what else a Dataset has of them, read when looked at.

What the metadata at a store's root say of groups of chains in; lazy variables out, for
`dvis.open`, which thus costs nothing more where a store has an LLC.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.abc.store import Store

from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.schema import (
    ALL_PARAMETERS,
    CALIBRATION,
    CHECKPOINT,
    EPSILON,
    GAMMA,
    LLC,
    PARAMETERS,
    SchemaError,
)
from dvis.store.steady import open_steady

# Variables of a Dataset by what `llc_of` calls them.
_JOINED = {"llc": "llc", "llc_se": "llc_se", "llc_n_diverged": "n_diverged"}


@dataclass(frozen=True)
class LLCEntry:
    """Chains of a run: their name, the path of their group and its attributes."""

    run: str
    name: str
    group: str
    attrs: Mapping[str, Any]

    @property
    def is_calibration(self) -> bool:
        """Whether they try step sizes at one checkpoint, rather than estimate an LLC."""
        return self.attrs.get("kind_of_run") == CALIBRATION


def default_entry(entries: Iterable[LLCEntry]) -> LLCEntry | None:
    """The one that is meant where none is named: the only estimate, or the one called `llc`."""
    entries = list(entries)
    candidates = [entry for entry in entries if not entry.is_calibration] or entries
    if len(candidates) == 1:
        return candidates[0]
    return next((entry for entry in candidates if entry.name == LLC), None)


def open_traces(
    store: str | Path | Store, entry: LLCEntry, where: str, chunks: Any = None
) -> xr.Dataset:
    """Traces of chains as they lie in the store.

    Raises
    ------
    SchemaError
        When they are half grown.
    """
    try:
        traces = open_steady(store, entry.group, chunks)
    except ValueError as err:
        if "conflicting sizes" not in str(err):
            raise
        raise SchemaError(
            f"The chains {entry.name!r} of {where}, run {entry.run!r}, are half grown: a run was "
            "killed while it made room for them. Run the same `dvis llc` again"
        ) from err
    return traces


def with_llc(
    dataset: xr.Dataset, store: str | Path | Store, entries: Iterable[LLCEntry], where: str
) -> xr.Dataset:
    """The Dataset, and the LLC of its checkpoints by label where there is one.

    Parameters
    ----------
    dataset : Dataset
        With checkpoints.
    store : str, Path or Store
        The store.
    entries : iterable of LLCEntry
        Chains of the Dataset's run.
    where : str
        What the store is called.

    Returns
    -------
    Dataset
        With `llc`, `llc_se` and `llc_n_diverged` (checkpoint), float64, of the default entry and
        of that epsilon, gamma and those parameters that its attribute `shown` names; NaN at
        checkpoints without chains. They are computed when they are looked at.
    """
    entry = default_entry(entries)
    if entry is None or entry.is_calibration:
        return dataset
    labels = tuple(dataset[CHECKPOINT].values.tolist())
    estimates = _Estimates(store, entry, where, labels)
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


@dataclass(frozen=True)
class _Estimates:
    """LLCs in the order of some checkpoints; shared by the variables that show them."""

    store: str | Path | Store
    entry: LLCEntry
    where: str
    labels: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, np.ndarray]:
        traces = open_traces(self.store, self.entry, self.where)
        if 0 in traces["loss"].shape:  # no chain was asked for yet
            return {name: np.full(len(self.labels), np.nan) for name in _JOINED.values()}
        estimates = llc_of(_shown_cell(traces))
        rows = {label: row for row, label in enumerate(traces[CHECKPOINT].values.tolist())}
        order = [rows.get(label, -1) for label in self.labels]
        return {
            name: np.append(estimates[name].values.astype(float), np.nan)[order]
            for name in _JOINED.values()
        }


class _JoinedArray(BackendArray):
    """One variable of some estimates, (checkpoint), for xarray to index before it is computed."""

    def __init__(self, estimates: _Estimates, name: str) -> None:
        self._estimates, self._name = estimates, name
        self.shape, self.dtype = (len(estimates.labels),), np.dtype("float64")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._values
        )

    def _values(self, key: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(self._estimates.by_name[self._name][key])


def _shown_cell(traces: xr.Dataset) -> xr.Dataset:
    """Traces of the parameters, epsilon and gamma that the group shows, else of the first."""
    shown = {PARAMETERS: ALL_PARAMETERS, **traces.attrs.get("shown", {})}
    places = {}
    for dim in (PARAMETERS, EPSILON, GAMMA):
        labels = traces[dim].values.tolist()
        places[dim] = labels.index(shown[dim]) if shown.get(dim) in labels else 0
    return traces.isel(places)
