"""Traces of sampling chains in a store: their words, and how their arrays are made and grown.

{run}/llc/{name}/    loss, distance, grad_norm, noise_norm
                                 (checkpoint, parameters, epsilon, gamma, chain, draw)
                     mala, status, n_draws, n_finite      (..., chain)
                     init_loss, init_loss_se (checkpoint), hmax (checkpoint, parameters)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from dvis.kinds.llc.settings import ChainStatus
from dvis.names import CheckpointName
from dvis.schema import (
    CELL_DIMS,
    CHAIN,
    CHAIN_DIMS,
    CHECKPOINT,
    COORDINATES,
    DRAW,
    EPSILON,
    GAMMA,
    LLC,
    PARAMETERS,
    SOURCE,
    TEXT,
    TRACE_DIMS,
    VariableSpec,
    group_path,
    run_group,
)
from dvis.store.growth import resize

PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"
START_WEIGHTS, IS_STARTED = f"{SOURCE}/start_weights", f"{SOURCE}/is_started"
_COORDINATE_NAMES = ("epoch", "phase", "batch", "step", "time")
COORDINATE_NAMES = " ".join(_COORDINATE_NAMES)

# A commit rewrites a chunk, and a curve over training reads one: 2 MB of losses.
_TRACE_CHUNK = (64, 1, 1, 1, 8, 512)
_CHAIN_CHUNK = (64, 8, 4, 4, 8)
_LABEL_CHUNK = 4096


def llc_group(run: str, name: str) -> str:
    """Path of the group of some chains inside a store."""
    return f"{run_group(run)}/{LLC}/{group_path(name, 'name')}"


def array_specs() -> dict[str, VariableSpec]:
    """All arrays of a group of chains by their path in it."""
    flags = {
        "flag_values": [int(status) for status in ChainStatus],
        "flag_meanings": " ".join(status.name.lower() for status in ChainStatus),
    }
    return {
        **{name: COORDINATES[name] for name in (CHECKPOINT, *_COORDINATE_NAMES)},
        PARAMETERS: _spec((PARAMETERS,), TEXT, "", "weights that are sampled"),
        EPSILON: _spec((EPSILON,), "float64", -1.0, "step size", units="1"),
        GAMMA: _spec((GAMMA,), "float64", -1.0, "pull back to the checkpoint's weights", units="1"),
        CHAIN: _spec((CHAIN,), "int32", -1, "chain"),
        DRAW: _spec((DRAW,), "int32", -1, "step of the chain, burn-in included"),
        "loss": _number(TRACE_DIMS, "float64", "minibatch loss before the step"),
        "distance": _number(TRACE_DIMS, "float32", "distance from the checkpoint's weights"),
        "grad_norm": _number(TRACE_DIMS, "float32", "norm of the minibatch's mean gradient"),
        "noise_norm": _number(TRACE_DIMS, "float32", "norm of the noise that was added"),
        "mala": _number(CHAIN_DIMS, "float32", "mean MALA acceptance probability"),
        "status": _spec(CHAIN_DIMS, "uint8", 0, "status of the chain", **flags),
        "n_draws": _spec(CHAIN_DIMS, "int32", 0, "steps that were asked for", units="1"),
        "n_finite": _spec(CHAIN_DIMS, "int32", 0, "steps with finite losses", units="1"),
        "init_loss": _number((CHECKPOINT,), "float64", "mean loss at the checkpoint's weights"),
        "init_loss_se": _number((CHECKPOINT,), "float64", "standard error of that mean"),
        "hmax": _number(CELL_DIMS[:2], "float64", "largest curvature of the mean loss"),
        "n_parameters": _spec((PARAMETERS,), "int64", 0, "number of weights sampled", units="1"),
        PROBLEM: _spec(CHAIN_DIMS, TEXT, "", "what was wrong"),
        WEIGHTS: _spec(CHAIN_DIMS, "uint64", 0, "hash of the weights the chain began at"),
        START_WEIGHTS: _spec((CHECKPOINT,), "uint64", 0, "hash of the weights of init_loss"),
        IS_STARTED: _spec(CELL_DIMS[:2], "uint8", 0, "whether init_loss and hmax are measured"),
    }


def create(group: zarr.Group) -> None:
    """Make the arrays of a group, empty."""
    for name, spec in array_specs().items():
        group.create_array(
            name,
            shape=(0,) * len(spec.dims),
            dtype=spec.dtype,
            chunks=_chunks(spec.dims),
            fill_value=spec.fill,
            dimension_names=spec.dims,
            attributes=dict(spec.attrs),
        )


class LLCArrays:
    """The arrays of a settled group of chains, open for the one process that writes it.

    `rows` tells by dimension at which place each label is.
    """

    def __init__(self, group: zarr.Group) -> None:
        self._arrays: dict[str, Any] = {name: group[name] for name in array_specs()}
        self._read_labels()

    def __getitem__(self, name: str) -> Any:
        """One of the arrays, `source/...` included."""
        return self._arrays[name]

    def read(self, name: str) -> np.ndarray:
        """All values of an array."""
        return np.asarray(self._arrays[name][:])

    def grow(
        self, checkpoints: Sequence[CheckpointName], labels: Mapping[str, Sequence[Any]]
    ) -> None:
        """Make room: data first, coordinates after it, labels last; the caller is `restructuring`.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        labels : mapping of str to sequence
            Labels by every other dimension.
        """
        wanted = {CHECKPOINT: [name.label for name in checkpoints], **labels}
        new = {
            dim: [label for label in dict.fromkeys(given) if label not in self.rows[dim]]
            for dim, given in wanted.items()
        }
        start = {dim: len(self.rows[dim]) for dim in new}
        sizes = {dim: start[dim] + len(added) for dim, added in new.items()}
        resize(self._arrays, array_specs(), sizes)
        of_new = [name for name in checkpoints if name.label in new[CHECKPOINT]]
        if of_new:
            places = slice(start[CHECKPOINT], None)
            times = np.array([name.time for name in of_new], "datetime64[s]").astype("int64")
            self["time"][places] = times
            self["phase"][places] = np.array([name.phase for name in of_new], TEXT)
            for column in ("epoch", "batch"):
                self[column][places] = np.array([getattr(name, column) for name in of_new])
        for dim, added in new.items():
            if added:
                self[dim][start[dim] :] = np.array(added, array_specs()[dim].dtype)
        self._read_labels()

    def _read_labels(self) -> None:
        self.rows: dict[str, dict[Any, int]] = {
            dim: {label: place for place, label in enumerate(self.read(dim).tolist())}
            for dim in TRACE_DIMS
        }


def _chunks(dims: tuple[str, ...]) -> tuple[int, ...]:
    if dims == TRACE_DIMS:
        return _TRACE_CHUNK
    if dims == CHAIN_DIMS:
        return _CHAIN_CHUNK
    return (_LABEL_CHUNK, 16)[: len(dims)]


def _spec(
    dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str, **attrs: Any
) -> VariableSpec:
    return VariableSpec(dims=dims, dtype=dtype, fill=fill, attrs={"long_name": long_name, **attrs})


def _number(dims: tuple[str, ...], dtype: str, long_name: str) -> VariableSpec:
    return _spec(dims, dtype, np.nan, long_name, units="1")
