"""The strongest inputs of each target of a pair of layers, over checkpoints.

Influence and a pair of layers in, trajectories of few edges out: one checkpoint is read at a time.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from dvis.analysis.births import births
from dvis.kinds.influence.analysis.layer_pairs import LayerPair, centred_logs, strengths
from dvis.schema import CHECKPOINT


@dataclass(frozen=True, kw_only=True)
class TopEdges:
    """The strongest inputs of targets.

    Attributes
    ----------
    logs : ndarray, (source, target)
        Centred log strength at the last checkpoint, 0 where it is not known.
    first_logs : ndarray, (source, target)
        The same at the first.
    hubs : ndarray, (source,)
        Mean log strength of each source at the last.
    inputs : ndarray, (input, target), int
        Sources by centred log strength at the last checkpoint, the strongest first.
    strength : ndarray, (checkpoint, input, target)
        NaN where nothing is measured.
    centred : ndarray, (checkpoint, target)
        Mean of the inputs' centred log strength.
    rise : ndarray, (target,)
        Place from which that stays above half of its rise, NaN where there is none.
    zeros : tuple of float
        Shares of strengths that are 0, at the last checkpoint and at the first.
    """

    logs: np.ndarray
    first_logs: np.ndarray
    hubs: np.ndarray
    inputs: np.ndarray
    strength: np.ndarray
    centred: np.ndarray
    rise: np.ndarray
    zeros: tuple[float, float]


def top_edges(pair: LayerPair, k: int) -> TopEdges:
    """The k strongest inputs of each target, half of the sources at most."""
    last = strengths(pair, pair.last)
    logs = centred_logs(last)
    n_inputs = max(1, min(k, pair.shape[0] // 2))
    ranked = np.argsort(np.where(np.isfinite(last), -logs, np.inf), axis=0, kind="stable")
    inputs = ranked[:n_inputs]
    of_inputs, of_centred, first_logs = [], [], logs
    for time in range(pair.between.sizes[CHECKPOINT]):
        now = strengths(pair, time)
        centred = centred_logs(now)
        first_logs = centred if time == pair.first else first_logs
        at = np.take_along_axis(now, inputs, axis=0)
        mean = np.take_along_axis(centred, inputs, axis=0).mean(0)
        of_inputs.append(at)
        of_centred.append(np.where(np.isfinite(at).any(0), mean, np.nan))
    return TopEdges(
        logs=logs,
        first_logs=first_logs,
        hubs=_hubs(last),
        inputs=inputs,
        strength=np.array(of_inputs),
        centred=np.array(of_centred),
        rise=born_at(np.array(of_centred), "first"),
        zeros=(_share_of_zeros(last), _share_of_zeros(strengths(pair, pair.first))),
    )


def _share_of_zeros(strength: np.ndarray) -> float:
    return float((strength == 0).sum() / max(int(np.isfinite(strength).sum()), 1))


def _hubs(strength: np.ndarray) -> np.ndarray:
    """Mean log strength of sources; of those without any, less than that of all others."""
    with np.errstate(divide="ignore"):
        logs = np.log(strength)
    is_there = np.isfinite(logs)
    means = np.where(is_there, logs, 0).sum(1) / np.maximum(is_there.sum(1), 1)
    return np.where(is_there.any(1), means, -np.inf)


def born_at(trajectories: np.ndarray, baseline: Literal["zero", "first"]) -> np.ndarray:
    """Places from which trajectories (checkpoint, ...) stay above half, as `births` has them.

    NaN where there is none.
    """
    dims = [CHECKPOINT, *(f"dim_{i}" for i in range(trajectories.ndim - 1))]
    array = xr.DataArray(trajectories, {CHECKPOINT: np.arange(len(trajectories))}, dims)
    found = births(array.to_dataset(name="given"), variable=array, baseline=baseline)["birth"]
    return np.asarray(found.where(found >= 0).values, float)
