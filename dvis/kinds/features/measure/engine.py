"""Activation maximisation of many units as one batch.

A model and objectives in, one image each out. Image i belongs to objective i and is optimised as
if it were alone: the loss is a sum over images, noise is an image's own, each stops by itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import Objective, check_objectives
from dvis.kinds.features.measure.parametrisations import Parametrisation
from dvis.kinds.features.measure.prepared import Prepared, prepare
from dvis.kinds.features.measure.steps import optimiser
from dvis.kinds.features.measure.transforms import blur, draw_views, view
from dvis.kinds.features.options import FeatureSettings
from dvis.models.hooks import LayerOutput, as_maps, trace_layers


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How the model takes values: (value - mean) / std, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, values: Tensor) -> Tensor:
        """Model input of values (image, channel, y, x)."""
        mean = values.new_tensor(self.mean)[:, None, None]
        return (values - mean) / values.new_tensor(self.std)[:, None, None]


@dataclass
class Optimised:
    """One image's optimisation: candidates (channel, y, x) to keep, and how it went.

    `note` is what is to be said of all images of the model.
    """

    last: Tensor
    best: Tensor
    losses: list[float]
    is_dead: bool = True
    error: str = ""
    note: str = ""

    @property
    def stop_step(self) -> int:
        """Steps that were made."""
        return len(self.losses)


def maximise(
    model: nn.Module,
    objectives: Sequence[Objective],
    param: Parametrisation,
    normalisation: Normalisation,
    settings: FeatureSettings,
    *,
    seeds: Sequence[int],
    start: Tensor | None = None,
    groups: Sequence[int] | None = None,
    outputs: Mapping[str, LayerOutput] | None = None,
    autocast: torch.dtype | None = None,
    on_stop: Callable[[int], None] | None = None,
) -> list[Optimised]:
    """Optimise an image for each objective.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode, on the device and in the number type of `param`; it is not touched.
    objectives : sequence of Objective, (image,)
        What each image is to maximise.
    param : Parametrisation
        What is optimised.
    normalisation : Normalisation
        How the model takes the values of `param`.
    settings : FeatureSettings
        Options.
    seeds : sequence of int, (image,)
        Seed of each image.
    start : Tensor, (image, channel, y, x), optional
        Values to start from; NaN throughout for images that start at random.
    groups : sequence of int, (image,), optional
        Images of one number are those of a unit, which are to differ and stop together.
    outputs : mapping of str to LayerOutput, optional
        What `trace_layers` says of the model at this image size, where the caller knows it.
    autocast : torch.dtype, optional
        Half precision of the forward pass, for a GPU that has it.
    on_stop : callable, optional
        Called with the number of images that have just stopped.

    Returns
    -------
    list of Optimised, (image,)
        One an image; one whose numbers were not finite has an error instead of a good image.

    Raises
    ------
    KeyError, ValueError
        When the model does not have what an objective names.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    parameters = param.start(generators)
    if start is not None:
        given = ~start.flatten(1).isnan().any(1)
        parameters[given] = param.encode(start[given].to(parameters))
    views = draw_views(settings, generators)
    sample = normalisation(param.decode(parameters[:1]))
    outputs = outputs or trace_layers(model, sample)
    check_objectives(objectives, outputs, type(model).__name__)
    groups = list(range(len(objectives))) if groups is None else groups
    is_diverse = settings.diversity_weight > 0 and len(set(groups)) < len(groups)
    dims = {layer: output.channel_dim for layer, output in outputs.items()}
    objective = prepare(model, outputs, objectives, sample, is_whole=is_diverse)
    run = _Run(objective, dims, param, normalisation, settings, groups, autocast)
    return run(parameters, views, on_stop)


class _Run:
    """The loop of one batch."""

    def __init__(
        self,
        objective: Prepared,
        channel_dims: dict[str, int],
        param: Parametrisation,
        normalisation: Normalisation,
        settings: FeatureSettings,
        groups: Sequence[int],
        autocast: torch.dtype | None,
    ) -> None:
        self.objective, self.channel_dims = objective, channel_dims
        self.param, self.normalisation, self.settings = param, normalisation, settings
        self.groups, self.autocast = groups, autocast

    def __call__(
        self, start: Tensor, views: Tensor | None, on_stop: Callable[[int], None] | None
    ) -> list[Optimised]:
        settings = self.settings
        active = list(range(len(start)))
        results = [Optimised(row, row, []) for row in start]
        values: list[list[float]] = [[] for _ in active]
        best = [-math.inf] * len(active)
        parameters = start.clone().requires_grad_()
        adam = optimiser(parameters, settings)
        for step in range(settings.max_iterations):
            moved = None if views is None else views[active, step]
            loss, reached = self._loss(parameters, moved, active)
            # Not torch.autograd.grad, which reentrant checkpointing refuses. The model is frozen.
            adam.zero_grad()
            torch.autograd.backward([loss.sum()])
            assert parameters.grad is not None
            has_gradient = parameters.grad.flatten(1).abs().amax(1) > 0
            columns = zip(loss.tolist(), reached.tolist(), has_gradient.tolist(), strict=True)
            for i, (image, (lost, value, is_moving)) in enumerate(
                zip(active, columns, strict=True)
            ):
                result = results[image]
                result.losses.append(lost)
                values[image].append(value)
                result.is_dead &= not is_moving
                if not math.isfinite(lost):
                    result.error = f"the activation is {value} and the loss {lost} at step {step}"
                elif settings.keep == "best" and value > best[image]:
                    best[image], result.best = value, parameters.detach()[i].clone()
            adam.param_groups[0]["lr"] = settings.learning_rate_at(step)
            adam.step()
            stopped = self._stopped(active, results, values)
            if stopped:
                for i, image in enumerate(active):
                    if image in stopped:
                        results[image].last = parameters.detach()[i].clone()
                kept = [i for i, image in enumerate(active) if image not in stopped]
                active = [active[i] for i in kept]
                if on_stop is not None:
                    on_stop(len(stopped))
                if not active:
                    break
                parameters = _shrink(adam, parameters, kept)
                self.objective.keep(kept)
        return [self._decoded(result) for result in results]

    def _loss(
        self, parameters: Tensor, affine: Tensor | None, active: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Loss and objective of each image, (image,)."""
        settings = self.settings
        values = self.param.decode(parameters)
        seen = values if affine is None else view(values, affine)
        if settings.use_gauss:
            seen = blur(seen, settings.gauss_kernel_size)
        images = self.normalisation(seen)
        with torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None):
            reached = self.objective(images)
        loss = -reached
        if settings.use_tv_reg:
            loss = loss + settings.tv_weight * _total_variation(values)
        if settings.use_decorrelation:
            loss = loss + settings.decorrelation_weight * _colour_correlation(values)
        if settings.diversity_weight and len(set(self.groups)) < len(self.groups):
            group = [self.groups[image] for image in active]
            likeness = sum(
                _likeness(as_maps(output, self.channel_dims[layer]), group)
                for layer, output in self.objective.outputs.items()
            )
            # In units of what an image has reached: a weight means the same for every unit.
            loss = loss + settings.diversity_weight * reached.detach().abs() * likeness
        return loss, reached.detach()

    def _stopped(
        self, active: Sequence[int], results: Sequence[Optimised], values: Sequence[list[float]]
    ) -> set[int]:
        """Images that have come to their end; those of a unit do so together."""
        done = {image for image in active if self._is_done(results[image], values[image])}
        open_groups = {self.groups[image] for image in active if image not in done}
        return {image for image in active if self.groups[image] not in open_groups}

    def _is_done(self, result: Optimised, values: Sequence[float]) -> bool:
        settings, n_steps = self.settings, len(values)
        if n_steps >= settings.max_iterations or result.error:
            return True
        window = settings.convergence_window
        if settings.stop_rule == "absolute":
            recent = result.losses[-window:]
            is_near = max(recent) - min(recent) < settings.convergence_threshold
            return n_steps >= max(settings.min_iterations, window) and is_near
        if settings.stop_rule == "never":
            return False
        if result.is_dead:
            return n_steps >= window
        if n_steps < max(settings.min_iterations, 2 * window):
            return False
        now = sum(values[-window:]) / window
        before = sum(values[-2 * window : -window]) / window
        return now - before <= settings.convergence_threshold * abs(now)

    def _decoded(self, result: Optimised) -> Optimised:
        with torch.no_grad():
            last = self.param.decode(result.last.detach()[None])[0]
            is_best = self.settings.keep == "best"
            best = self.param.decode(result.best.detach()[None])[0] if is_best else last
        return replace(result, last=last, best=best, note=self.objective.note)


def _shrink(adam: torch.optim.Optimizer, parameters: Tensor, kept: Sequence[int]) -> Tensor:
    """Go on with some of the images: their parameters, and Adam's moments of them."""
    state = adam.state.pop(parameters)
    smaller = parameters.detach()[kept].clone().requires_grad_()
    for name in ("exp_avg", "exp_avg_sq"):
        state[name] = state[name][kept].clone()
    adam.param_groups[0]["params"] = [smaller]
    adam.state[smaller] = state
    return smaller


def _total_variation(values: Tensor) -> Tensor:
    vertical = (values[:, :, 1:] - values[:, :, :-1]).abs().mean((1, 2, 3))
    return vertical + (values[:, :, :, 1:] - values[:, :, :, :-1]).abs().mean((1, 2, 3))


def _colour_correlation(values: Tensor) -> Tensor:
    """Mean squared correlation of the pairs of colours, (image,)."""
    n_colours = values.shape[1]
    if n_colours < 2:
        return values.new_zeros(len(values))
    flat = values.flatten(2)
    unit = F.normalize(flat - flat.mean(2, keepdim=True), dim=2)
    squared = torch.einsum("ncp,ndp->ncd", unit, unit).square()
    pairs = squared.sum((1, 2)) - squared.diagonal(dim1=1, dim2=2).sum(1)
    return pairs / (n_colours * (n_colours - 1))


def _likeness(maps: Tensor, group: Sequence[int]) -> Tensor:
    """Mean cosine similarity of an image's Gram matrix to those of its unit's others, (image,).

    The others are taken as they are: each image has its own penalty. As in Olah et al., "Feature
    Visualization", Distill 2017, doi:10.23915/distill.00007, except that maps lose their means
    where they have positions: with them, all images are alike (0.997 to 1).
    """
    flat = maps.flatten(2)
    if flat.shape[2] > 1:
        flat = flat - flat.mean(2, keepdim=True)
    gram = F.normalize(torch.einsum("ncp,ndp->ncd", flat, flat).flatten(1), dim=1)
    members = torch.tensor(group, device=maps.device)
    others = (members[:, None] == members[None]) & ~torch.eye(
        len(group), dtype=torch.bool, device=maps.device
    )
    similarity = (gram @ gram.detach().T) * others
    return similarity.sum(1) / others.sum(1).clamp(min=1)
