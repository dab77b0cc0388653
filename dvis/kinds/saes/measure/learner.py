"""One autoencoder in training: its weights, Adam's moments, who is dead, and its log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from dvis.kinds.saes.measure.autoencoder import UNSET_THRESHOLD, Autoencoder
from dvis.kinds.saes.measure.objective import Outcome, objective
from dvis.kinds.saes.measure.parameters import (
    Weights,
    autoencoder_of,
    first_weights,
    weights_of,
)
from dvis.kinds.saes.options import SaeOptions
from dvis.kinds.saes.words import LOGGED

LOG_NAMES = tuple(LOGGED)
_SLOWEST = 0.999  # share of the threshold that a step keeps, once there were many
_FORGETS = 10  # and before, what was seen in the last tenth of the steps counts most
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(kw_only=True)
class Learner:
    """One autoencoder in training.

    Parameters
    ----------
    options : SaeOptions
        What it is.
    scale : float
        Of the rows, in which it trains.
    n_steps, batch_size : int
        Length of its training.
    weights : dict of Tensor
        Parameters.
    threshold : float
        Running mean of the batches' smallest active codes.
    """

    options: SaeOptions
    scale: float
    n_steps: int
    batch_size: int
    weights: Weights
    threshold: float = UNSET_THRESHOLD
    step: int = 0
    silent: Tensor = field(init=False)
    moments: dict[str, tuple[Tensor, Tensor]] = field(init=False)
    log: list[tuple[float, ...]] = field(default_factory=list)
    sums: Tensor = field(
        default_factory=lambda: torch.zeros(len(LOG_NAMES) + 1, dtype=torch.double)
    )

    def __post_init__(self) -> None:
        bias = self.weights["encoder_bias"]
        self.silent = torch.zeros(len(bias), dtype=torch.int64, device=bias.device)
        for name in self._learned():
            self.weights[name].requires_grad_(True)
        self.moments = {
            name: (torch.zeros_like(self.weights[name]), torch.zeros_like(self.weights[name]))
            for name in self._learned()
        }

    @classmethod
    def start(
        cls,
        options: SaeOptions,
        sample: Tensor,
        mean: Tensor,
        scale: float,
        *,
        n_steps: int,
        batch_size: int,
        warm: Autoencoder | None = None,
        device: torch.device | None = None,
    ) -> "Learner":
        """One that has not learned yet, from rows (row, channel) or from another's weights."""
        threshold = UNSET_THRESHOLD
        if warm is None:
            weights = first_weights(sample, mean, scale, options)
        else:
            weights, threshold = weights_of(warm, scale)
        return cls(
            options=options,
            scale=scale,
            n_steps=n_steps,
            batch_size=batch_size,
            weights={name: weight.to(device or "cpu") for name, weight in weights.items()},
            threshold=threshold,
        )

    @property
    def window(self) -> int:
        """Rows without firing after which a latent is dead."""
        return self.options.rows_until_dead(self.n_steps * self.batch_size)

    def learn(self, rows: Tensor, mean: Tensor, log_every: int) -> None:
        """Take one step on rows, (row, channel), whose running mean is `mean`, both scaled."""
        dead = (self.silent >= self.window).nonzero().squeeze(1)
        variance = (rows - mean).square().sum()
        pressure = self.options.pressure_at(self.step, self.n_steps)
        outcome = objective(
            rows, self.weights, self.options, variance=variance, dead=dead, pressure=pressure
        )
        learned = self._learned()
        found = torch.autograd.grad(
            outcome.loss, [self.weights[name] for name in learned], allow_unused=True
        )
        gradients = {
            name: torch.zeros_like(self.weights[name]) if gradient is None else gradient
            for name, gradient in zip(learned, found, strict=True)
        }
        norm = self._tame(gradients)
        rate = self.options.rate_at(self.step, self.n_steps, len(self.silent))
        self._move(gradients, rate)
        self._count(outcome, len(rows))
        self.step += 1
        self._resample(rows, dead)
        self._note((outcome.fvu, len(outcome.pattern.latents) / len(rows), len(dead), rate, norm))
        if self.step % log_every == 0 or self.step == self.n_steps:
            self._write_log()

    def autoencoder(self) -> Autoencoder:
        """What it has learned, in the units of the rows."""
        return autoencoder_of(self.weights, self.scale, self.threshold, self.options)

    def state(self) -> dict[str, Tensor]:
        """All that its next steps depend on."""
        state = {f"weights.{name}": weight.detach() for name, weight in self.weights.items()}
        for name, (first, second) in self.moments.items():
            state |= {f"first.{name}": first, f"second.{name}": second}
        scalars = torch.tensor([self.scale, self.threshold, self.step], dtype=torch.double)
        log = torch.tensor(self.log, dtype=torch.double).reshape(-1, len(LOG_NAMES))
        return state | {"silent": self.silent, "scalars": scalars, "log": log, "sums": self.sums}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state of `state`."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[f"weights.{name}"])
            for name, (first, second) in self.moments.items():
                first.copy_(state[f"first.{name}"])
                second.copy_(state[f"second.{name}"])
        self.silent.copy_(state["silent"])
        self.sums = state["sums"].clone()
        self.scale, self.threshold, step = state["scalars"].tolist()
        self.step = int(step)
        self.log = [tuple(row) for row in state["log"].tolist()]

    def _learned(self) -> list[str]:
        frozen = {
            "nothing": set[str](),
            "encoder": {"encoder", "encoder_bias"},
            "decoder": {"decoder"},
        }[self.options.freeze]
        if not self.options.decoder_bias:
            frozen.add("decoder_bias")
        if self.options.kind != "jumprelu":
            frozen.add("threshold")
        return [name for name in self.weights if name not in frozen]

    @torch.no_grad()
    def _tame(self, gradients: Weights) -> float:
        """Take the parallel part out, clip; the norm before it was clipped."""
        if self.options.remove_parallel and "decoder" in gradients:
            rows = functional.normalize(self.weights["decoder"], dim=1)
            gradient = gradients["decoder"]
            gradient.sub_(rows.mul_((gradient * rows).sum(1, keepdim=True)))
        squares = torch.stack([gradient.square().sum() for gradient in gradients.values()])
        norm = float(squares.sum().sqrt())
        if 0 < self.options.clip < norm:
            torch._foreach_mul_(list(gradients.values()), self.options.clip / norm)
        return norm

    @torch.no_grad()
    def _move(self, gradients: Weights, rate: float) -> None:
        """One step of Adam, and unit rows."""
        first, second = _BETAS
        n = self.step + 1
        unbiased = (1 - second**n) ** 0.5
        for name, gradient in gradients.items():
            mean, square = self.moments[name]
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            spread = square.sqrt().div_(unbiased).add_(_EPSILON)
            self.weights[name].addcdiv_(mean, spread, value=-rate / (1 - first**n))
        if "threshold" in gradients:
            self.weights["threshold"].clamp_(min=0)
        if self.options.unit_rows and "decoder" in gradients:
            weight = self.weights["decoder"]
            weight.div_(weight.norm(dim=1, keepdim=True).clamp(min=_EPSILON))

    def _count(self, outcome: Outcome, n_rows: int) -> None:
        self.silent += n_rows
        self.silent[outcome.pattern.counts > 0] = 0
        if self.options.kind == "batchtopk":
            least = outcome.least if len(outcome.pattern.latents) else 0.0
            kept = min(_SLOWEST, self.step / (self.step + _FORGETS)) if self.threshold >= 0 else 0.0
            self.threshold = kept * self.threshold + (1 - kept) * least

    @torch.no_grad()
    def _resample(self, rows: Tensor, dead: Tensor) -> None:
        """Put dead latents on the residuals of the rows that are reconstructed worst."""
        every = max(1, self.window // self.batch_size)
        is_time = self.step % every == 0 and self.step < (1 - self.options.decay) * self.n_steps
        if not (self.options.resample and is_time and len(dead)):
            return
        codes = self.autoencoder()
        array = (rows / self.scale).cpu().numpy()
        x_hat = torch.from_numpy(codes.decode(codes.encode(array))).to(rows)
        residual = rows - x_hat * self.scale
        chosen = residual.square().sum(1).topk(min(len(dead), len(rows))).indices
        dead = dead[: len(chosen)]
        points = functional.normalize(residual[chosen], dim=1)
        for name, value in (("encoder", points), ("decoder", points), ("encoder_bias", 0.0)):
            if name in self.moments:
                self.weights[name][dead] = value
                for moment in self.moments[name]:
                    moment[dead] = 0
        self.silent[dead] = 0

    def _note(self, values: tuple[float, ...]) -> None:
        self.sums += torch.tensor([*values, 1.0], dtype=torch.double)

    def _write_log(self) -> None:
        *totals, n = self.sums.tolist()
        self.log.append(tuple(total / n for total in totals))
        self.sums.zero_()
