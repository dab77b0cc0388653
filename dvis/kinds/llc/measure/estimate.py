"""Chains around the weights of one model, in one call and without a store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from dvis.kinds.llc.analysis.settling import with_length
from dvis.kinds.llc.measure.losses import Loss, loss_name
from dvis.kinds.llc.measure.measurement import ChainTask, LocalLearning, StartTask
from dvis.kinds.llc.measure.samples import samples_of
from dvis.kinds.llc.measure.weights import Choice, labelled_choices
from dvis.kinds.llc.options import check_numbers
from dvis.kinds.llc.settings import ChainSettings, epsilon_bound
from dvis.kinds.llc.words import CHAIN, DRAW, EPSILON, GAMMA, PARAMETERS
from dvis.models.option_numbers import at_least
from dvis.progress import progress_bar

DIMS = (PARAMETERS, EPSILON, GAMMA, CHAIN, DRAW)


def estimate(
    model: nn.Module,
    samples: Any,
    *,
    loss: str | Loss = "cross_entropy",
    epsilon: str | float | Sequence[float] = "auto",
    gamma: float | Sequence[float] = 100.0,
    chains: int = 4,
    parameters: Choice | Mapping[str, Choice] = None,
    settings: ChainSettings | None = None,
    batched: bool | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Sample chains around a model's weights, for its local learning coefficient.

    Parameters
    ----------
    model : nn.Module
        The model at the weights w*; nothing of it is changed.
    samples : Samples, ImageSet, FixedImages, tuple of Tensor, or Dataset
        Of which the mean loss is; see `samples_of`.
    loss : {"cross_entropy", "mse"} or callable
        A callable takes model and batch, and returns the loss of each sample.
    epsilon : "auto", float or sequence of float
        Step sizes. "auto" is the largest one at which the stiffest weights are sampled well, for
        all parameters and gammas (`epsilon_bound`).
    gamma : float or sequence of float
        Strengths of localisation.
    chains : int
        Chains of each combination.
    parameters : None, str, mapping of masks, or mapping of label to one of these
        Weights that are sampled: all, those in whose names a regular expression is found, those
        where masks are true.
    settings : ChainSettings, optional
        How chains are sampled.
    batched : bool, optional
        Whether chains are sampled together; see `LocalLearning`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Dataset
        Dims (parameters, epsilon, gamma, chain, draw) with `loss` and the other traces, `init_loss`
        and `init_loss_se`, `hmax` and `n_parameters` by parameters. `llc_of` makes learning
        coefficients of it.

    Raises
    ------
    KeyError, ValueError, TypeError
        When the model has no such weights, the data is random or no data, or no step size follows
        from the curvature.
    """
    at_least("chains", chains, 1, is_needed=True)
    if not isinstance(epsilon, str):
        check_numbers("epsilon", np.atleast_1d(epsilon).tolist(), is_positive=True)
    check_numbers("gamma", np.atleast_1d(gamma).tolist())
    given = samples_of(samples)
    settings = settings or ChainSettings()
    choices = labelled_choices(parameters)
    measurement = LocalLearning(
        samples=given, loss=loss, settings=settings, parameters=choices, batched=batched
    )
    start = measurement.measure(model, StartTask(tuple(choices)))
    gammas = [float(value) for value in np.atleast_1d(gamma)]
    epsilons = _epsilons(epsilon, measurement, start, max(gammas))
    settings = with_length(settings, epsilons, gammas)
    measurement = replace(measurement, settings=settings)
    cells = list(product(choices, epsilons, gammas))
    results = []
    with progress_bar(len(cells) * chains, "chains", type(model).__name__, shown=progress) as bar:
        for label, size, strength in cells:
            task = ChainTask(label, size, strength, tuple(range(chains)))
            result = measurement.measure(model, task).drop_vars("error")
            results.append(
                result.expand_dims({PARAMETERS: [label], EPSILON: [size], GAMMA: [strength]})
            )
            bar.update(chains)
    traces = xr.combine_by_coords(results, combine_attrs="drop")
    assert isinstance(traces, xr.Dataset)
    labels = list(choices)
    traces = traces.reindex({PARAMETERS: labels, EPSILON: epsilons, GAMMA: gammas})
    return (
        traces.merge(start)
        .transpose(*DIMS)
        .assign_attrs(
            settings.attributes(len(given)),
            loss=loss_name(loss),
            data={"fingerprint": given.fingerprint, "n_samples": len(given)},
            burn_in=settings.burn_in,
        )
    )


def _epsilons(
    epsilon: str | float | Sequence[float],
    measurement: LocalLearning,
    start: xr.Dataset,
    gamma: float,
) -> list[float]:
    if not isinstance(epsilon, str):
        return [float(value) for value in np.atleast_1d(epsilon)]
    if epsilon != "auto":
        raise ValueError(f"epsilon is {epsilon!r}; give a number, numbers, or auto")
    method = measurement.settings.method
    hmaxes = [float(value) for value in start["hmax"]]
    return [min(epsilon_bound(measurement.nbeta, hmax, gamma, method) for hmax in hmaxes)]
