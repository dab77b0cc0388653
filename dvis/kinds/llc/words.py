"""The words of sampling chains: dims, what becomes of a chain, and the arrays of a group.

{run}/llc/{name}/    loss, distance, grad_norm, noise_norm
                                 (checkpoint, parameters, epsilon, gamma, chain, draw)
                     mala, status, n_draws, n_finite      (..., chain)
                     init_loss, init_loss_se (checkpoint), hmax (checkpoint, parameters)
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from dvis.schema import (
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    SOURCE,
    TEXT,
    Mark,
    VariableSpec,
    Words,
    is_equal,
    spec,
    status_spec,
)

KIND = "llc"  # local learning coefficient
# Which weights of a checkpoint move, step size and pull.
PARAMETERS, EPSILON, GAMMA, CHAIN, DRAW = "parameters", "epsilon", "gamma", "chain", "draw"
CELL_DIMS = (CHECKPOINT, PARAMETERS, EPSILON, GAMMA)
CHAIN_DIMS = (*CELL_DIMS, CHAIN)
TRACE_DIMS = (*CHAIN_DIMS, DRAW)
ALL_PARAMETERS = "all"
SHOWN_ERRORS = 2  # standard errors of bands of an LLC, in figures and on the page
PRECONDITIONER = "preconditioner"  # of rmsprop, an attribute that biased chains of old lack
ESTIMATE, CALIBRATION = "estimate", "calibration"  # what a group of chains is for

PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"
START_WEIGHTS, IS_STARTED = f"{SOURCE}/start_weights", f"{SOURCE}/is_started"
TRACES = ("loss", "distance", "grad_norm", "noise_norm")

# A commit rewrites a chunk, and a curve over training reads one: 2 MB of losses.
_TRACE_CHUNK = (64, 1, 1, 1, 8, 512)
_CHAIN_CHUNK = (64, 8, 4, 4, 8)
_LABEL_CHUNK = 4096


class ChainStatus(IntEnum):
    """What became of a chain."""

    TO_DO = 0
    DONE = 1
    DIVERGED = 2
    FAILED = 3


MEASURED = (ChainStatus.DONE, ChainStatus.DIVERGED)


def _layout(dims: tuple[str, ...]) -> dict[str, Any]:
    chunks = {TRACE_DIMS: _TRACE_CHUNK, CHAIN_DIMS: _CHAIN_CHUNK}
    return {"chunks": chunks.get(dims, (_LABEL_CHUNK, 16)[: len(dims)])}


def _number(dims: tuple[str, ...], dtype: str, long_name: str, fill: Any = np.nan) -> VariableSpec:
    return spec(dims, dtype, fill, long_name, layout=_layout(dims), units="1")


def _of_writers(dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str) -> VariableSpec:
    return spec(dims, dtype, fill, long_name, layout=_layout(dims))


def _agrees(attrs: Mapping[str, Any], name: str, asked: Any) -> bool:
    """Whether a group was sampled with what is asked for; of old ones no tag of a loss is known."""
    if name == "loss_tag" and name not in attrs:
        return asked == "" or "loss_fingerprint" in attrs
    return is_equal(attrs, name, asked)


WORDS = Words(
    kind=KIND,
    arrays={
        **CHECKPOINT_COORDINATES,
        PARAMETERS: spec((PARAMETERS,), TEXT, "", "weights that are sampled"),
        EPSILON: spec((EPSILON,), "float64", -1.0, "step size", units="1"),
        GAMMA: spec((GAMMA,), "float64", -1.0, "pull back to the checkpoint's weights", units="1"),
        CHAIN: spec((CHAIN,), "int32", -1, "chain"),
        DRAW: spec((DRAW,), "int32", -1, "step of the chain, burn-in included"),
        "loss": _number(TRACE_DIMS, "float64", "minibatch loss before the step"),
        "distance": _number(TRACE_DIMS, "float32", "distance from the checkpoint's weights"),
        "grad_norm": _number(TRACE_DIMS, "float32", "norm of the minibatch's mean gradient"),
        "noise_norm": _number(TRACE_DIMS, "float32", "norm of the noise that was added"),
        "mala": _number(CHAIN_DIMS, "float32", "mean MALA acceptance probability"),
        "status": status_spec(CHAIN_DIMS, "chain", ChainStatus, _layout(CHAIN_DIMS)),
        "n_draws": _number(CHAIN_DIMS, "int32", "steps that were asked for", 0),
        "n_finite": _number(CHAIN_DIMS, "int32", "steps with finite losses", 0),
        "init_loss": _number((CHECKPOINT,), "float64", "mean loss at the checkpoint's weights"),
        "init_loss_se": _number((CHECKPOINT,), "float64", "standard error of that mean"),
        "hmax": _number(CELL_DIMS[:2], "float64", "largest curvature of the mean loss"),
        "n_parameters": _number((PARAMETERS,), "int64", "number of weights sampled", 0),
        PROBLEM: _of_writers(CHAIN_DIMS, TEXT, "", "what was wrong"),
        WEIGHTS: _of_writers(CHAIN_DIMS, "uint64", 0, "hash of the weights the chain began at"),
        START_WEIGHTS: _of_writers((CHECKPOINT,), "uint64", 0, "hash of the weights of init_loss"),
        IS_STARTED: _of_writers(
            CELL_DIMS[:2], "uint8", 0, "whether init_loss and hmax are measured"
        ),
    },
    marks=(
        Mark(kept=tuple(map(int, MEASURED))),
        Mark(status=IS_STARTED, weights=START_WEIGHTS, problem=""),
    ),
    noun="chains",
    said={"nbeta": (int | float, "what its nbeta is")},
    agrees=_agrees,
)
