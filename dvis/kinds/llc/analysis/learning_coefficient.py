"""The local learning coefficient (LLC) that chains of losses give, and how far to trust it.

Traces in, estimates with their errors and convergence out. Burn-in is chosen here, when reading;
a chain that diverged or is not there yet is left out and counted, never averaged over.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.chain_diagnostics import (
    LEAST_DRAWS,
    effective_sample_size,
    split_rhat,
    standard_error,
)
from dvis.kinds.llc.analysis.settling import (
    is_settled,
    mean_of_known,
    preconditioned_relaxation,
    relaxation_draws,
)
from dvis.kinds.llc.settings import RMSPROP_STEPS
from dvis.kinds.llc.words import CHAIN, DRAW, EPSILON, GAMMA, PRECONDITIONER, ChainStatus
from dvis.schema import SchemaError

_NEEDED = ("loss", "status", "n_draws", "init_loss")
_TRACE_CORES = [[CHAIN, DRAW]] * 3
_CHAIN_CORES = [[CHAIN]] * 3
_CELLS_AT_ONCE = 256  # the diagnostics' Fourier transforms are ten times as large as their draws

_LONG_NAMES = {
    "llc": "local learning coefficient",
    "llc_se": "standard error of the LLC",
    "rhat": "split R-hat, rank-normalised",
    "ess": "effective sample size",
    "below_start": "share of draws below the loss at the start",
    "mala": "MALA acceptance",
    "relaxation_draws": "relaxation time of the pull in draws",
    "is_settled": "whether chains are long enough, agree, and drift no more",
    "step_bias": "what the finite step adds to the LLC",
    "n_chains": "chains that count",
    "n_diverged": "chains that diverged, left out",
    "n_missing": "chains that are not measured yet or failed, left out",
    "llc_of_chain": "local learning coefficient of one chain",
}
_COUNTS = ("n_chains", "n_diverged", "n_missing")
_DTYPES = {"is_settled": "bool", **dict.fromkeys(_COUNTS, "int32")}


def llc_of(traces: xr.Dataset, *, burn_in: int | None = None) -> xr.Dataset:
    r"""LLC of each checkpoint, parameters, epsilon and gamma, from the traces of its chains.

    .. math:: \hat\lambda = n\beta \, (\bar L - L_0)

    of the losses L after burn-in of the chains that count, against the loss :math:`L_0` at the
    checkpoint's weights [1]_. R-hat and effective sample size are those of Vehtari et al. [2]_. The
    standard error is such that the LLC plus and minus twice it covers what longer chains of the
    same epsilon and gamma would give in 95 of 100 cases or more, and three times it nearly always,
    where `is_settled`: that of the draws by their effective number, or that of means of batches
    with Student's t, whichever is larger, and a quarter more. That :math:`L_0` belongs to one set
    of samples is not in it.

    Chains are settled where burn-in covers two and the draws after it five relaxation times of
    the slowest direction that the pull leaves, :math:`2 / (\epsilon \gamma)` draws, there are two
    chains or more, R-hat is at most 1.1, and neither their losses nor their distances from w*
    differ between the halves of their draws (`dvis.kinds.llc.analysis.settling`). What is not known
    counts as not settled.

    Steps of a finite size widen what is sampled. In a stationary chain the mean of
    :math:`|w - w^*|^2` stays as it is, of which follows, for a quadratic loss, with g the gradient
    of a minibatch,

    .. math:: \Delta\lambda = \frac\epsilon 8 (n\beta)^2 \, \overline{|g|^2}
              + \frac{\epsilon\gamma}{4} \hat\lambda

    of which the noise of minibatches in flat directions makes it an upper bound: at vanishing steps
    the LLC would be between `llc` - `step_bias` and `llc`.

    A chain counts that is done, has finite losses throughout, and draws after burn-in. Where
    chains of a cell have different numbers of draws, as while they are made longer, as many count
    of each as the shortest has. An LLC may be negative: the checkpoint is no minimum, and
    `below_start` says how much of the trace lies below it.

    Parameters
    ----------
    traces : Dataset
        What `dvis.llc_traces` gave, or a selection of it.
    burn_in : int, optional
        Draws to leave out at the beginning of each chain; by default those of
        `traces.attrs["burn_in"]`.

    Returns
    -------
    Dataset, (checkpoint, parameters, epsilon, gamma), float64 unless said otherwise
        On dask where the traces are, else computed at once:

        - `llc`, `llc_se`: NaN where no chain counts;
        - `rhat`, `ess`: NaN where a chain has fewer than four draws after burn-in;
        - `below_start`: share, 0 to 1, of minibatch losses below the loss at the start;
        - `mala`: mean acceptance of the chains that count, NaN where that was not measured;
        - `relaxation_draws`: of the pull; of RMSprop an upper bound by the norms of gradients, NaN
          without diagnostics;
        - `is_settled`, bool: see above; false of RMSprop chains of older versions, too, whose LLCs
          came out 8 to 98 % too high on quadratic losses;
        - `step_bias`: at most so much less at smaller steps; NaN without diagnostics, of RMSprop;
        - `n_chains`, `n_diverged`, `n_missing`, int32: chains that count, and that do not;
        - `llc_of_chain` (..., chain): NaN of chains that do not count;
        - whatever of the traces has neither chains nor draws, such as `init_loss`, `train_loss`.

    Raises
    ------
    SchemaError
        When these are no traces.
    ValueError
        When burn-in leaves no draw, is negative, or is not known.

    References
    ----------
    .. [1] E. Lau, Z. Furman, G. Wang, D. Murfet and S. Wei: The local learning coefficient: a
       singularity-aware complexity measure. 2023. https://arxiv.org/abs/2308.12108
    .. [2] A. Vehtari, A. Gelman, D. Simpson, B. Carpenter and P.-C. Bürkner: Rank-normalization,
       folding, and localization: an improved R-hat for assessing convergence of MCMC. Bayesian
       Analysis 16 (2), 2021. https://doi.org/10.1214/20-BA1221

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> loss = 0.5 + 0.1 * np.random.default_rng(0).standard_exponential((2, 400))
    >>> traces = xr.Dataset(
    ...     {"loss": (("chain", "draw"), loss), "status": ("chain", [1, 1]),
    ...      "n_draws": ("chain", [400, 400]), "init_loss": 0.5},
    ...     attrs={"nbeta": 20.0, "burn_in": 100})
    >>> estimate = llc_of(traces)
    >>> estimate.llc.round(1).item(), estimate.llc_se.round(1).item(), int(estimate.n_chains)
    (2.1, 0.4, 2)
    """
    draws = _draws(traces)
    burn_in = _chosen_burn_in(traces, draws, burn_in)
    results = xr.apply_ufunc(
        _estimates,
        *_operands(traces),
        input_core_dims=[*_TRACE_CORES, *_CHAIN_CORES, [], [], []],
        output_core_dims=[[CHAIN] if name == "llc_of_chain" else [] for name in _LONG_NAMES],
        kwargs={
            "draws": draws,
            "burn_in": burn_in,
            "nbeta": float(traces.attrs["nbeta"]),
            "step_rule": _step_rule(traces.attrs),
        },
        dask="parallelized",
        output_dtypes=[_DTYPES.get(name, "float64") for name in _LONG_NAMES],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    named = dict(zip(_LONG_NAMES, results, strict=True))
    of_cells = traces.drop_dims([CHAIN, DRAW], errors="ignore")
    of_cells = of_cells.drop_vars([*_LONG_NAMES, CHAIN], errors="ignore")
    estimates = of_cells.assign(named)
    for name, text in _LONG_NAMES.items():
        estimates[name].attrs = {"long_name": text, "units": "1"}
    return estimates.assign_attrs({**traces.attrs, "burn_in": burn_in})


def _operands(traces: xr.Dataset) -> list[xr.DataArray]:
    """What estimates are made of, NaN where traces lack it: by draw, by chain, by cell."""
    loss, status = traces["loss"], traces["status"]
    by_draw = [loss, *(traces.get(name, loss * np.nan) for name in ("distance", "grad_norm"))]
    mala = traces.get("mala", xr.full_like(status, np.nan, dtype="float64"))
    by_chain = [*by_draw, status, traces["n_draws"], mala]
    if CHAIN not in loss.dims:
        by_chain = [variable.expand_dims(CHAIN) for variable in by_chain]
    unknown = xr.DataArray(np.nan)
    return [
        *by_chain,
        traces["init_loss"],
        *(traces.coords.get(name, unknown) for name in (EPSILON, GAMMA)),
    ]


def _step_rule(attrs: Mapping[str, Any]) -> str:
    """How the chains stepped: sgld, rmsprop, or unknown where that is a biased one of old."""
    method = str(attrs.get("method", "sgld"))
    return "unknown" if method == "rmsprop" and PRECONDITIONER not in attrs else method


def running_llc(traces: xr.Dataset, burn_in: int = 0) -> xr.DataArray:
    """LLC of each chain as it would be if it had ended at each draw.

    Parameters
    ----------
    traces : Dataset
        What `dvis.llc_traces` gave, or a selection of it.
    burn_in : int
        Draws to leave out at the beginning.

    Returns
    -------
    DataArray, dims of `loss`, float64
        From burn-in on; NaN from the first loss that is not finite. On dask where the traces are.

    Raises
    ------
    SchemaError
        When these are no traces.
    ValueError
        When burn-in leaves no draw, or is negative.
    """
    draws = _draws(traces)
    burn_in = _chosen_burn_in(traces, draws, burn_in)
    kept = traces["loss"].isel({DRAW: slice(int(np.searchsorted(draws, burn_in)), None)})
    running: xr.DataArray = xr.apply_ufunc(
        _running,
        kept,
        traces["init_loss"],
        input_core_dims=[[DRAW], []],
        output_core_dims=[[DRAW]],
        kwargs={"nbeta": float(traces.attrs["nbeta"])},
        dask="parallelized",
        output_dtypes=["float64"],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    running.attrs = {"long_name": "running LLC", "units": "1", "burn_in": burn_in}
    return running.transpose(*kept.dims).rename("running_llc")


def _draws(traces: xr.Dataset) -> np.ndarray:
    """Numbers of the traces' draws: those of a selection need not begin at 0."""
    lacking = [name for name in _NEEDED if name not in traces.variables]
    if lacking or "nbeta" not in traces.attrs or DRAW not in traces["loss"].dims:
        raise SchemaError(
            f"These are no traces of chains: they lack {', '.join(lacking) or 'nbeta or draws'}. "
            "Take what `dvis.llc_traces` gives, or a selection of it that keeps the draws"
        )
    if DRAW in traces.coords:
        return np.asarray(traces[DRAW].values)
    return np.arange(traces.sizes[DRAW])


def _chosen_burn_in(traces: xr.Dataset, draws: np.ndarray, burn_in: int | None) -> int:
    if burn_in is None:
        burn_in = traces.attrs.get("burn_in")
    if burn_in is None:
        raise ValueError(
            f"These traces of {len(draws)} draws do not say how many are burn-in; give "
            "burn_in=..., such as half of them"
        )
    if burn_in < 0:
        raise ValueError(f"burn_in is {burn_in}; give 0 or more")
    if not (draws >= burn_in).any():
        raise ValueError(
            f"burn_in={burn_in} leaves none of {len(draws)} draws; give less, or measure more"
        )
    return int(burn_in)


class _Chains(NamedTuple):
    """What of each cell's chains counts: (cell, chain), and draws of each chain (cell)."""

    counts: np.ndarray
    is_diverged: np.ndarray
    n_kept: np.ndarray


def _estimates(
    *operands: np.ndarray, draws: np.ndarray, burn_in: int, nbeta: float, step_rule: str
) -> tuple[np.ndarray, ...]:
    """All that `llc_of` gives, of `_operands`."""
    cores = [2] * len(_TRACE_CORES) + [1] * len(_CHAIN_CORES) + [0] * 3
    outer = np.broadcast_shapes(
        *(each.shape[: each.ndim - n] for each, n in zip(operands, cores, strict=True))
    )
    loss, distance, grad_norm, status, n_draws, mala, starts, epsilon, gamma = (
        np.broadcast_to(each, (*outer, *each.shape[each.ndim - n :])).reshape(
            -1, *each.shape[each.ndim - n :]
        )
        for each, n in zip(operands, cores, strict=True)
    )
    n_chains = loss.shape[-2]
    chains = _which_count(loss, status, n_draws, draws, burn_in)
    relaxation = relaxation_draws(epsilon.astype(float), gamma.astype(float))
    found = {name: np.full(len(loss), np.nan) for name in _LONG_NAMES}
    found["llc_of_chain"] = np.full((len(loss), n_chains), np.nan)
    found["is_settled"] = np.zeros(len(loss), bool)
    found["n_chains"] = chains.counts.sum(-1)
    found["n_diverged"] = chains.is_diverged.sum(-1)
    found["n_missing"] = n_chains - found["n_chains"] - found["n_diverged"]
    if step_rule == "sgld":
        found["relaxation_draws"] = relaxation
    first = int(np.searchsorted(draws, burn_in))
    for cells, members, n_kept in _alike(chains):
        of_members = np.ix_(cells, members)
        kept, away = (each[of_members][..., first : first + n_kept] for each in (loss, distance))
        norms = grad_norm[of_members]
        if step_rule == "rmsprop":
            slowed = preconditioned_relaxation(relaxation[cells], norms[..., draws < RMSPROP_STEPS])
            found["relaxation_draws"][cells] = slowed
        with np.errstate(over="ignore", invalid="ignore"):  # finite losses may be huge
            slowest = found["relaxation_draws"][cells]
            for name, values in _of_cells(kept, starts[cells], nbeta, slowest).items():
                found[name][cells] = values
            of_chains = nbeta * (kept.mean(-1) - starts[cells, np.newaxis])
            found["is_settled"][cells] = is_settled(
                slowest, burn_in, kept, away, found["rhat"][cells]
            )
            if step_rule == "sgld":
                of_kept = norms[..., first : first + n_kept].astype(float)
                widened = nbeta**2 / 8 * mean_of_known(of_kept**2).mean(-1)
                pulled = gamma[cells] / 4 * found["llc"][cells]
                found["step_bias"][cells] = epsilon[cells] * (widened + pulled)
        found["llc_of_chain"][of_members] = of_chains
        found["mala"][cells] = mala[of_members].mean(-1)
    return tuple(
        values.reshape((*outer, *values.shape[1:])).astype(_DTYPES.get(name, "float64"))
        for name, values in found.items()
    )


def _which_count(
    losses: np.ndarray, status: np.ndarray, n_draws: np.ndarray, draws: np.ndarray, burn_in: int
) -> _Chains:
    is_measured = draws < n_draws[..., np.newaxis]
    is_whole = (np.isfinite(losses) | ~is_measured).all(-1)
    n_after = (is_measured & (draws >= burn_in)).sum(-1)
    is_done = status == ChainStatus.DONE
    counts = is_done & is_whole & (n_after > 0)
    is_diverged = (status == ChainStatus.DIVERGED) | (is_done & ~is_whole)
    n_kept = np.where(counts, n_after, len(draws)).min(-1, initial=len(draws))
    return _Chains(counts, is_diverged, n_kept)


def _alike(chains: _Chains) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Cells of which the same chains count with as many draws: cells, chains, draws."""
    patterns, pattern_of = np.unique(
        np.column_stack([chains.n_kept, chains.counts]), axis=0, return_inverse=True
    )
    groups = []
    for i, (n_kept, *counts) in enumerate(patterns.tolist()):
        members = np.flatnonzero(counts)
        cells = np.flatnonzero(pattern_of.reshape(-1) == i)
        if len(members):
            blocks = range(0, len(cells), _CELLS_AT_ONCE)
            groups += [(cells[k : k + _CELLS_AT_ONCE], members, int(n_kept)) for k in blocks]
    return groups


def _of_cells(
    kept: np.ndarray, starts: np.ndarray, nbeta: float, relaxation: np.ndarray
) -> dict[str, np.ndarray]:
    """Estimates of cells whose draws (cell, chain, draw) all count."""
    above_start = kept - starts[:, np.newaxis, np.newaxis]
    below_start = np.where(np.isnan(starts), np.nan, (above_start < 0).mean((-2, -1)))
    of_cells = {"llc": nbeta * above_start.mean((-2, -1)), "below_start": below_start}
    if kept.shape[-1] < LEAST_DRAWS:
        return of_cells
    ess = effective_sample_size(kept)
    of_cells["llc_se"] = nbeta * standard_error(kept, ess, relaxation)
    return {**of_cells, "rhat": split_rhat(kept), "ess": ess}


def _running(loss: np.ndarray, init_loss: np.ndarray, *, nbeta: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.cumsum(loss, axis=-1) / np.arange(1, loss.shape[-1] + 1)
        running = nbeta * (means - np.asarray(init_loss)[..., np.newaxis])
    is_finite = np.logical_and.accumulate(np.isfinite(loss), axis=-1)
    return np.where(is_finite, running, np.nan)
