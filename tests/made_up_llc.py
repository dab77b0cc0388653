"""Made-up traces of the local learning coefficient, of chains with a known answer."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

NBETA = 64 / np.log(64)
TRACE_DIMS = ("checkpoint", "parameters", "epsilon", "gamma", "chain", "draw")
DONE, DIVERGED = 1, 2


def traces_of(
    loss: np.ndarray,
    *,
    epsilon: Sequence[float],
    gamma: Sequence[float],
    init_loss: Sequence[float],
    steps: Sequence[int] | None = None,
    parameters: Sequence[str] = ("all",),
    mala: np.ndarray | float = 0.95,
    burn_in: int = 200,
    **variables: np.ndarray,
) -> xr.Dataset:
    """Traces of these losses, (checkpoint, parameters, epsilon, gamma, chain, draw).

    A chain with a loss that is not finite is diverged, one whose losses are all NaN from the first
    is not measured.
    """
    n_finite = np.isfinite(loss).sum(axis=-1).astype("int32")
    status = np.where(n_finite == loss.shape[-1], DONE, np.where(n_finite, DIVERGED, 0))
    n_draws = np.where(status, loss.shape[-1], 0).astype("int32")
    steps = list(range(loss.shape[0])) if steps is None else list(steps)
    labels = [f"checkpoint_2024-03-25-10h{i:02d}_epoch_{i}_end.pth.tar" for i in range(len(steps))]
    cell = TRACE_DIMS[:5]
    return xr.Dataset(
        {
            "loss": (TRACE_DIMS, loss),
            "distance": (TRACE_DIMS, np.full(loss.shape, np.nan, "float32")),
            "mala": (cell, np.broadcast_to(mala, status.shape).astype("float32")),
            "status": (cell, status.astype("uint8")),
            "n_draws": (cell, n_draws),
            "n_finite": (cell, n_finite),
            "init_loss": ("checkpoint", np.asarray(init_loss, float)),
            "init_loss_se": ("checkpoint", np.full(len(steps), 1e-3)),
            "n_parameters": ("parameters", np.full(len(parameters), 1000)),
            **variables,
        },
        {
            "checkpoint": labels,
            "step": ("checkpoint", np.asarray(steps, float)),
            "parameters": list(parameters),
            "epsilon": np.asarray(epsilon, float),
            "gamma": np.asarray(gamma, float),
            "chain": np.arange(loss.shape[4]),
        },
        {
            "dvis_kind": "llc",
            "model": "made_up",
            "run": "1",
            "name": "llc",
            "nbeta": NBETA,
            "burn_in": burn_in,
        },
    )


def sampled_traces(
    *,
    epsilon: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    gamma: Sequence[float] = (1.0, 10.0, 100.0),
    n_chains: int = 2,
    n_draws: int = 400,
    burn_in: int = 200,
    curvatures: np.ndarray | None = None,
    batch_noise: float = 0.03,
    init_loss: float = 0.1,
    seed: int = 0,
) -> xr.Dataset:
    """Traces of SGLD on a quadratic loss: calibration of one checkpoint, with a closed form.

    `curvatures` are those of the modes, some of them below 0 where the checkpoint is no minimum;
    `batch_noise` is the standard deviation of a minibatch's loss.
    """
    h = np.geomspace(0.3, 60, 24) if curvatures is None else np.asarray(curvatures, float)
    rng = np.random.default_rng(seed)
    eps, pull = np.meshgrid(epsilon, gamma, indexing="ij")
    eps, a = eps[..., None, None], NBETA * h + pull[..., None, None]
    w = np.zeros((*eps.shape[:2], n_chains, len(h)))
    loss = np.empty((*w.shape[:3], n_draws))
    distance, accepted = np.empty_like(loss), np.zeros(w.shape[:3])
    with np.errstate(over="ignore", invalid="ignore"):
        for draw in range(n_draws):
            loss[..., draw] = init_loss + 0.5 * (h * w**2).sum(-1)
            distance[..., draw] = np.sqrt((w**2).sum(-1))
            noise = rng.standard_normal(w.shape)
            new = w - eps / 2 * a * w + np.sqrt(eps) * noise
            there = (new - w + eps / 2 * a * w) ** 2
            back = (w - new + eps / 2 * a * new) ** 2
            log_ratio = (a * (w**2 - new**2) / 2 + (there - back) / (2 * eps)).sum(-1)
            accepted += np.exp(np.minimum(np.nan_to_num(log_ratio, nan=-np.inf), 0))
            w = new
    loss[loss > 1e6] = np.inf
    is_lost = np.logical_or.accumulate(~np.isfinite(loss), axis=-1)
    loss = np.where(is_lost, np.nan, loss + batch_noise * rng.standard_normal(loss.shape))
    return traces_of(
        loss[None, None],
        epsilon=epsilon,
        gamma=gamma,
        init_loss=[init_loss],
        mala=accepted[None, None] / n_draws,
        burn_in=burn_in,
        distance=(TRACE_DIMS, np.where(is_lost, np.nan, distance)[None, None].astype("float32")),
    )


def traces_with(
    llc: np.ndarray,
    *,
    steps: Sequence[int] | None = None,
    gamma: Sequence[float] = (10.0, 100.0),
    parameters: Sequence[str] = ("all",),
    n_chains: int = 4,
    n_draws: int = 60,
    spread: float = 0.1,
    seed: int = 0,
    **variables: np.ndarray,
) -> xr.Dataset:
    """Traces of which the LLC is this, (checkpoint, parameters, gamma), with normal noise.

    `spread` is the standard deviation of a draw as a share of the largest LLC.
    """
    llc = np.asarray(llc, float)
    init_loss = np.linspace(2.3, 0.2, len(llc))
    rng = np.random.default_rng(seed)
    shape = (*llc.shape[:2], 1, llc.shape[2], n_chains, n_draws)
    noise = spread * np.abs(llc).max() * rng.standard_normal(shape)
    loss = init_loss[(slice(None), *[None] * 5)] + (llc[:, :, None, :, None, None] + noise) / NBETA
    return traces_of(
        loss,
        epsilon=[1e-4],
        gamma=gamma,
        init_loss=init_loss,
        steps=steps,
        parameters=parameters,
        burn_in=0,
        **variables,
    )
