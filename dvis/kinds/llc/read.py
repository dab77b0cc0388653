"""Traces of sampling chains in a store, and the LLC that they give: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.words import CALIBRATION, EPSILON, GAMMA, KIND
from dvis.store.contents import Entry, StoreLike
from dvis.store.reader import Reader, in_order, store_of


def is_calibration(entry: Entry) -> bool:
    """Whether chains try step sizes at one checkpoint, rather than estimate an LLC."""
    return entry.attrs.get("kind_of_run") == CALIBRATION


def default_chains(entries: Sequence[Entry], _run_attrs: Mapping[str, Any]) -> Entry | None:
    """The only estimate, or the one called `llc`; a calibration where there is nothing else."""
    candidates = [entry for entry in entries if not is_calibration(entry)] or list(entries)
    if len(candidates) == 1:
        return candidates[0]
    return next((entry for entry in candidates if entry.name == KIND), None)


def _ready(traces: xr.Dataset) -> xr.Dataset:
    """Step sizes and localisations in order."""
    return in_order(
        traces, {dim: traces[dim].values.argsort().tolist() for dim in (EPSILON, GAMMA)}
    )


CHAIN_READER = Reader(
    kind=KIND,
    noun="chains",
    made_by="dvis llc estimate",
    default=default_chains,
    ready=_ready,
)


def llc_traces(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Every loss of every sampling chain as a lazy Dataset, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has chains.
    name : str, optional
        Which chains, one of `dvis.llc_names`; by default the only estimate, or the one called
        `llc`.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Dims (checkpoint, parameters, epsilon, gamma, chain, draw) with

        - `loss` (all dims), float64: mean loss of the minibatch at the weights before each step,
          burn-in included; NaN after a divergence, and where nothing is measured;
        - `distance`, `grad_norm`, `noise_norm` (all dims), float32: distance from the checkpoint's
          weights, norm of the minibatch's mean gradient, norm of the noise as it was added; NaN
          at steps without diagnostics;
        - `mala` (..., chain), float32: mean acceptance probability;
        - `status` (..., chain), uint8: 0 to do, 1 done, 2 diverged, 3 failed;
        - `n_draws`, `n_finite` (..., chain), int32: steps that were asked for, and that had finite
          losses;
        - `init_loss`, `init_loss_se` (checkpoint), float64: mean loss over all samples at the
          checkpoint's weights, and its standard error;
        - `hmax` (checkpoint, parameters), float64: largest curvature of that loss;
        - `n_parameters` (parameters), int64: number of weights that are sampled;
        - numbers of the training and coordinates as `dvis.open` has them.

        `attrs` say of what data, loss and settings they are.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several chains and none is named.
    SchemaError
        When the store has no chains, or what is there is no dvis store.
    """
    return CHAIN_READER.open(path_or_url, run, name, chunks=chunks, storage_options=storage_options)


def llc_names(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
) -> list[str]:
    """Names of the chains that a run of a store has; of all runs unless one is named.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    """
    return CHAIN_READER.names(path_or_url, run, storage_options=storage_options)


def llc(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    burn_in: int | None = None,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Local learning coefficient of every checkpoint, with its error, and whether it holds.

    It is `dvis.kinds.llc.analysis.learning_coefficient.llc_of` of what `dvis.llc_traces` gives.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run, name : str, optional
        As `dvis.llc_traces` takes them.
    burn_in : int, optional
        Draws to leave out at the beginning of each chain; by default as many as were meant to be
        when they were measured.
    chunks : optional
        As `dvis.open` takes it; by default it is computed at once.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset, (checkpoint, parameters, epsilon, gamma)
        `llc`, `llc_se`, `rhat`, `ess`, `below_start`, `mala`, `relaxation_draws`, `is_settled`,
        `step_bias`, `n_chains`, `n_diverged`, `n_missing` and `llc_of_chain` (..., chain), with the
        loss at the start and the numbers of the training.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError, SchemaError, ImportError
        As `dvis.llc_traces` does; ValueError also when burn-in leaves no draw.
    """
    traces = llc_traces(path_or_url, run, name, chunks=chunks, storage_options=storage_options)
    return llc_of(traces, burn_in=burn_in)


def traces_of(dataset: xr.Dataset, name: str | None = None, *, chunks: Any = None) -> xr.Dataset:
    """Every loss of every sampling chain of the run that a Dataset is of.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or a selection of it.
    name : str, optional
        Which chains; by default the only estimate, or the one called `llc`.
    chunks : optional
        As `dvis.open` takes it.

    Returns
    -------
    Dataset, (checkpoint, parameters, epsilon, gamma, chain, draw)
        What `dvis.llc_traces` gives: of all checkpoints, whatever the Dataset is a selection of.

    Raises
    ------
    ValueError
        When the Dataset does not know its store, or there are several chains and none is named.
    KeyError
        When there is no such name.
    SchemaError
        When the run has no chains.
    """
    store, found = store_of(dataset, "dvis.llc_traces(STORE)")
    run = dataset.attrs.get("run")
    return CHAIN_READER.open_entry(store, found, CHAIN_READER.choose(found, run, name), chunks)
