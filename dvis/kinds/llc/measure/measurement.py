"""Learning coefficients as a measurement: one model and a task in, one labelled Dataset out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.kinds.llc.measure.batch_norm import copy_for_sampling
from dvis.kinds.llc.measure.batched import ManyWalkers, is_faster_batched
from dvis.kinds.llc.measure.chains import ChainTraces, OneWalker, sample
from dvis.kinds.llc.measure.curvature import largest_curvature
from dvis.kinds.llc.measure.dynamics import Posterior
from dvis.kinds.llc.measure.losses import Loss, loss_function, per_sample
from dvis.kinds.llc.measure.noise import chain_seed, own_randomness
from dvis.kinds.llc.measure.samples import Samples
from dvis.kinds.llc.measure.weights import Choice, chosen, count, digest, labelled_choices
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.llc.words import (
    CHAIN,
    DRAW,
    EPSILON,
    GAMMA,
    IS_STARTED,
    PARAMETERS,
    TRACES,
    ChainStatus,
)
from dvis.schema import did_you_mean

_EVALUATED_TOGETHER = 256


@dataclass(frozen=True)
class StartTask:
    """What does not depend on chains: the loss at the weights, curvatures, numbers of weights.

    Parameters
    ----------
    parameters : tuple of str
        Labels of the choices of weights.
    positions : tuple of int, optional
        Which of them; all by default.
    """

    parameters: tuple[str, ...]
    positions: tuple[int, ...] | None = None

    mark = IS_STARTED

    @property
    def labels(self) -> dict[str, Any]:
        """The choice of weights of each part."""
        return {PARAMETERS: self.wanted}

    @property
    def parts(self) -> tuple[int, ...]:
        """Positions of the labels: a sweep counts and records them one by one."""
        return tuple(range(len(self.parameters))) if self.positions is None else self.positions

    @property
    def wanted(self) -> list[str]:
        """The labels that are asked for."""
        return [self.parameters[position] for position in self.parts]

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same labels, of which others are asked for."""
        return replace(self, positions=parts)

    def __str__(self) -> str:
        return f"loss and curvature of {', '.join(self.wanted)}"


@dataclass(frozen=True)
class ChainTask:
    """Some chains of one choice of weights, at one step size and one strength of localisation."""

    parameters: str
    epsilon: float
    gamma: float
    chains: tuple[int, ...]

    mark = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """Weights, step size and localisation, and the chain of each part."""
        return {
            PARAMETERS: self.parameters,
            EPSILON: float(self.epsilon),
            GAMMA: float(self.gamma),
            CHAIN: list(self.chains),
        }

    @property
    def parts(self) -> tuple[int, ...]:
        """The chains: a sweep counts and records them one by one."""
        return self.chains

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same but for the chains."""
        return replace(self, chains=parts)

    def __str__(self) -> str:
        numbers = ", ".join(str(number) for number in self.chains)
        return f"{self.parameters}, epsilon {self.epsilon:g}, gamma {self.gamma:g}, chain {numbers}"


@dataclass(frozen=True, kw_only=True)
class LocalLearning:
    """Chains around a model's weights, and the loss and curvature that they start from.

    Parameters
    ----------
    samples : Samples
        Of which the mean loss is; made by `samples_of`.
    loss : {"cross_entropy", "mse"} or callable
        Model and batch to losses (sample,).
    settings : ChainSettings
        How chains are sampled.
    parameters : mapping of str to choice
        Weights that are sampled, by label: None for all, a regular expression, or masks by name.
    batched : bool, optional
        Whether the chains of a task are sampled together. By default those of small models are on
        a CPU, and none on an accelerator.
    """

    samples: Samples
    loss: str | Loss = "cross_entropy"
    settings: ChainSettings = field(default_factory=ChainSettings)
    parameters: Mapping[str, Choice] = field(default_factory=lambda: labelled_choices(None))
    batched: bool | None = None

    def forget(self) -> None:
        """Let go of the samples that this process has loaded."""
        let_go = getattr(self.samples, "forget", None)
        if let_go is not None:
            let_go()

    @property
    def nbeta(self) -> float:
        """Inverse temperature times number of samples."""
        return self.settings.resolve_nbeta(len(self.samples))

    def measure(
        self, model: nn.Module, task: StartTask | ChainTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """The result of a task.

        Parameters
        ----------
        model : nn.Module
            The model. Nothing of it is changed: weights, buffers, modes, gradients.
        task : StartTask or ChainTask
            What is asked for.
        start : None
            Not used.

        Returns
        -------
        Dataset
            Of a StartTask: `init_loss` and `init_loss_se`, and by parameters `hmax` (NaN where the
            model cannot be differentiated twice) and `n_parameters`. Of a ChainTask: dims (chain,
            draw) with `loss`, `distance`, `grad_norm`, `noise_norm`, and by chain `mala`, `status`,
            `n_draws`, `n_finite` and `error`.

        Raises
        ------
        KeyError, ValueError
            When the model has no such weights, or the loss gives anything but one number a sample.
        """
        weights = digest(model)
        if isinstance(task, StartTask):
            return self._measure_start(model, task, weights)
        return self._measure_chains(model, task, weights)

    def _measure_start(self, model: nn.Module, task: StartTask, weights: str) -> xr.Dataset:
        loss = loss_function(self.loss)
        choices = [self._choice(label) for label in task.wanted]
        n_weights = [count(model, choice) for choice in choices]
        with own_randomness(chain_seed(self.settings.seed, weights), _device(model)):
            copied = self._copy(model, weights)
            losses = self._losses(copied)
            hmax = [
                largest_curvature(
                    copied,
                    chosen(copied, choice),
                    loss,
                    self.samples,
                    batch_size=self.settings.batch_size,
                    n_iterations=self.settings.n_curvature_iterations,
                )
                for choice in choices
            ]
        error = losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else np.nan
        return xr.Dataset(
            {
                "init_loss": losses.mean(),
                "init_loss_se": error,
                "hmax": (PARAMETERS, np.array(hmax)),
                "n_parameters": (PARAMETERS, np.array(n_weights, np.int64)),
            },
            {PARAMETERS: np.array(task.wanted, object)},
        )

    def _losses(self, model: nn.Module) -> np.ndarray:
        """Losses (sample,) of all samples, each once, in an order that mixes classes.

        With the statistics of minibatches, these are as large as when chains are sampled, so that
        the last one is filled up with samples that were there.
        """
        n_samples, loss = len(self.samples), loss_function(self.loss)
        order = np.random.default_rng(chain_seed("losses")).permutation(n_samples)
        of_batch_norm = min(self.settings.batch_size, n_samples)
        size = of_batch_norm if self.settings.mode == "batch" else _EVALUATED_TOGETHER
        kept = np.full(n_samples, np.nan)
        like = next(model.parameters())
        with torch.no_grad():
            for first in range(0, n_samples, size):
                is_short = self.settings.mode == "batch" and first + size > n_samples
                places = order[-size:] if is_short else order[first : first + size]
                batch = self.samples.batch(places, like)
                losses = per_sample(loss, model, batch, len(places)).double().cpu().numpy()
                is_new = np.isnan(kept[places]) if is_short else np.ones(len(places), bool)
                kept[places[is_new]] = losses[is_new]
        return kept

    def _measure_chains(self, model: nn.Module, task: ChainTask, weights: str) -> xr.Dataset:
        seeds = [
            chain_seed(
                self.settings.seed, weights, task.epsilon, task.gamma, task.parameters, number
            )
            for number in task.chains
        ]
        is_batched = self.batched
        if is_batched is None:
            n_weights = count(model, self._choice(task.parameters))
            is_batched = is_faster_batched(n_weights, len(seeds), _device(model))
        groups = [seeds] if is_batched else [[seed] for seed in seeds]
        traces = [self._walk(model, task, weights, group, is_batched) for group in groups]
        return _labelled(task, traces, self.settings.n_steps)

    def _walk(
        self,
        model: nn.Module,
        task: ChainTask,
        weights: str,
        seeds: Sequence[int],
        is_batched: bool,
    ) -> ChainTraces:
        posterior = Posterior(nbeta=self.nbeta, gamma=task.gamma, epsilon=task.epsilon)
        loss = loss_function(self.loss)
        with own_randomness(seeds[0], _device(model)):
            copied = self._copy(model, weights)
            masks = chosen(copied, self._choice(task.parameters))
            walkers = (
                ManyWalkers(copied, masks, loss, self.samples, len(seeds))
                if is_batched
                else OneWalker(copied, masks, loss, self.samples)
            )
            return sample(walkers, masks, posterior, self.settings, len(self.samples), seeds)

    def _choice(self, label: str) -> Choice:
        if label not in self.parameters:
            where = "the parameters of this measurement"
            raise KeyError(did_you_mean("label", label, self.parameters, where))
        return self.parameters[label]

    def _copy(self, model: nn.Module, weights: str) -> nn.Module:
        return copy_for_sampling(
            model,
            self.settings.mode,
            self.samples,
            loss_function(self.loss),
            batch_size=self.settings.batch_size,
            weights=weights,
        )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _labelled(task: ChainTask, traces: Sequence[ChainTraces], n_steps: int) -> xr.Dataset:
    """Traces of groups of chains as one Dataset."""
    by_chain = ("mala", "status", "n_finite")
    joined = {
        name: np.concatenate([getattr(group, name) for group in traces])
        for name in (*TRACES, *by_chain)
    }
    n_chains = len(task.chains)
    notes = [
        f"diverged, {n_finite} of {n_steps} losses are finite"
        if status == ChainStatus.DIVERGED
        else ""
        for status, n_finite in zip(joined["status"], joined["n_finite"], strict=True)
    ]
    return xr.Dataset(
        {
            **{name: ((CHAIN, DRAW), joined[name]) for name in TRACES},
            **{name: (CHAIN, joined[name]) for name in by_chain},
            "n_draws": (CHAIN, np.full(n_chains, n_steps, np.int32)),
            "error": (CHAIN, np.full(n_chains, "", object)),
            "note": (CHAIN, np.array(notes, object)),
        },
        {CHAIN: np.array(task.chains)},
    )
