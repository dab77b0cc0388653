"""A private copy of a model that costs as little as a batch's objectives allow.

The caller's model is never touched. The copy is frozen, in eval mode, channels_last and rewritten
(see `rewrites`); its forward pass ends at the target, computes of the last convolution what the
objectives ask for (see `own_channels`), and sees of the image a neuron's receptive field alone
(see `fields`). What the operations of the model show to be the same for every image is tried, and
kept where values and gradients agree on several; a model that it does not fit runs as it is.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dvis.kinds.features.measure.fields import Crop, crop_to_field
from dvis.kinds.features.measure.objectives import Objective, ObjectiveBatch
from dvis.kinds.features.measure.own_channels import OwnChannel, last_convolutions
from dvis.kinds.features.measure.rewrites import (
    Rewrite,
    block_stems,
    fold_batch_norms,
    pool_before_relu,
    spread_pointwise,
)
from dvis.models.copying import frozen_copy
from dvis.models.forward_trace import ForwardTrace
from dvis.models.hooks import LayerOutput, stopping
from dvis.models.mixing import examine, same, strong_images

logger = logging.getLogger(__name__)

# Rewriting changes rounding alone; anything more means that it did not fit the model. A rounding
# that lets a ReLU through or not moves the gradient of a position.
_VALUES_AGREE = {torch.float64: 1e-9, torch.float32: 1e-3}
_GRADIENTS_AGREE = {torch.float64: 1e-6, torch.float32: 3e-2}


@dataclass(frozen=True, kw_only=True)
class _Way:
    """What is done to a copy."""

    memory: torch.memory_format
    rewrites: tuple[Rewrite, ...] = ()
    is_narrow: bool = False


_REWRITES = fold_batch_norms, pool_before_relu, block_stems, spread_pointwise
_PLAIN = _Way(memory=torch.contiguous_format)
_WAYS = (  # the best first
    _Way(memory=torch.channels_last, rewrites=_REWRITES, is_narrow=True),
    _Way(memory=torch.channels_last, rewrites=_REWRITES),
    _Way(memory=torch.contiguous_format, rewrites=_REWRITES[:2], is_narrow=True),
)


class Prepared:
    """The objectives of the images of a batch, to be evaluated again and again.

    Attributes
    ----------
    model : nn.Module
        The copy.
    outputs : dict of str to Tensor
        Layer outputs of the last images.
    crop : Crop or None
        The part of an image that a neuron depends on.
    own_channels : list of OwnChannel
        Convolutions that give each image's own channel alone.
    note : str
        What is to be said of how the model runs; nothing where all is as usual.
    """

    def __init__(
        self,
        copied: nn.Module,
        objectives: Sequence[Objective],
        outputs: Mapping[str, LayerOutput],
        *,
        memory: torch.memory_format = torch.contiguous_format,
        is_alone: bool = False,
    ) -> None:
        self.model, self._traced = copied, outputs
        self._memory, self._is_alone = memory, is_alone
        self.crop: Crop | None = None
        self.own_channels: list[OwnChannel] = []
        self.note = ""
        self._device = next(copied.parameters()).device
        self.outputs: dict[str, Tensor] = {}
        self._objectives: list[Objective] = []
        self._set(objectives)

    def __call__(self, images: Tensor) -> Tensor:
        """Values (image,) of images (image, channel, y, x)."""
        seen = images if self.crop is None else self.crop(images)
        with stopping(self.model, self._calls, is_alone=self._is_alone) as forward:
            # A clone: torch takes the one channel of grey images to lie in memory as it should.
            self.outputs = forward(seen.clone(memory_format=self._memory))
        values = self._evaluate(self.outputs)
        if images.requires_grad and torch.is_grad_enabled() and not values.requires_grad:
            raise ValueError(
                f"no gradient leads from {', '.join(self._calls)} to the image: the forward pass "
                "runs under torch.no_grad, or the layer lies inside a reentrant checkpoint"
            )
        return values

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the images."""
        self._set([self._objectives[i] for i in kept])

    def narrow(self, trace: ForwardTrace) -> None:
        """Leave out what the objectives do not depend on, where they all read one channel's map.

        Parameters
        ----------
        trace : ForwardTrace
            The model's operations until the target.
        """
        terms = [term for objective in self._objectives for term in objective.terms]
        is_one_each = len(terms) == len(self._objectives)
        if not is_one_each or any(term.channel is None for term in terms):
            return
        if len({term.layer for term in terms}) > 1 or not terms[0].layer:
            return
        layer = terms[0].layer
        output = self._traced[layer]
        if output.channel_dim != 1 or len(output.shape) != 4:
            return
        neurons = {term.neuron for term in terms}
        if {term.reduction for term in terms} == {"neuron"} and len(neurons) == 1:
            self.crop = crop_to_field(trace, layer, neurons.pop())
        for name, conv in last_convolutions(self.model, trace, layer).items():
            own = OwnChannel(conv)
            self.model.set_submodule(name, own)
            self.own_channels.append(own)
        if self.crop is not None:
            shift = self.crop.shift
            self._objectives = [_shifted(objective, shift) for objective in self._objectives]
        self._set(self._objectives)

    def probed(self, images: Tensor, *, is_whole: bool) -> tuple[Tensor, Tensor]:
        """Values of images, and their gradients: of all that layers give, or of objectives alone.

        Objectives are taken in turn where there are more images than objectives.
        """
        objectives = self._objectives
        try:
            self._set([objectives[i % len(objectives)] for i in range(len(images))])
            with torch.enable_grad():
                seen = images.clone().requires_grad_()
                values = self(seen)
                if is_whole:
                    values = torch.cat([given.flatten(1) for given in self.outputs.values()], 1)
                    noise = torch.Generator().manual_seed(0)
                    weights = torch.rand(values.shape[1], generator=noise).to(values)
                    torch.autograd.backward([(values * weights).mean()])
                else:
                    torch.autograd.backward([values.sum()])
        finally:
            self._set(objectives)
            self.outputs = {}
        gradients = torch.zeros_like(seen) if seen.grad is None else seen.grad
        return values.detach(), gradients

    def _set(self, objectives: Sequence[Objective]) -> None:
        self._objectives = list(objectives)
        layers = sorted({layer for objective in objectives for layer in objective.layers})
        self._calls = {layer: self._traced[layer].n_calls for layer in layers}
        dims = {layer: self._traced[layer].channel_dim for layer in layers}
        self._evaluate = ObjectiveBatch(objectives, dims, self._device)
        for own in self.own_channels:
            own.choose([objective.terms[0].channel or 0 for objective in objectives])


def prepare(
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    objectives: Sequence[Objective],
    sample: Tensor,
    *,
    is_whole: bool = False,
) -> Prepared:
    """Objectives of a batch, by a private copy of a model.

    Parameters
    ----------
    model : nn.Module
        The model, which is not touched.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    objectives : sequence of Objective, (image,)
        What is wanted of each image.
    sample : Tensor, (1, channel, y, x)
        One of the images on which the copy is compared with the model.
    is_whole : bool
        Whether all channels and positions of the layers are needed.
    """
    layers = sorted({layer for objective in objectives for layer in objective.layers})
    calls = {layer: outputs[layer].n_calls for layer in layers}
    trace, why = examine(model, calls, sample)
    plain = Prepared(_copied(model, _PLAIN), objectives, outputs, is_alone=bool(why))
    if why:
        plain.note = why
        return plain
    images = torch.cat([sample, strong_images(sample)])
    expected = plain.probed(images, is_whole=is_whole)
    misfit = ""
    for way in _WAYS:
        if is_whole:
            way = replace(way, is_narrow=False)
        try:
            ready = _prepared(model, outputs, objectives, trace, way)
            given = ready.probed(images, is_whole=is_whole)
        except Exception as err:  # whatever a model does not stand is no fault of the model
            misfit = misfit or f"{type(err).__name__}: {str(err).splitlines()[0]}"
            continue
        if _agree(expected, given):
            break
        misfit = misfit or "values or gradients differ"
    else:
        ready = plain
    if misfit:
        ready.note = f"the model runs with less to make it fast, which does not fit it ({misfit})"
    return ready


def _prepared(
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    objectives: Sequence[Objective],
    trace: ForwardTrace,
    way: _Way,
) -> Prepared:
    copied = _copied(model, way)
    layers = {layer for objective in objectives for layer in objective.layers}
    for rewrite in way.rewrites:
        rewrite(copied, trace, layers)
    ready = Prepared(copied, objectives, outputs, memory=way.memory)
    if way.is_narrow:
        ready.narrow(trace)
    return ready


def _copied(model: nn.Module, way: _Way) -> nn.Module:
    frozen = frozen_copy(model)
    # In a gradient, a weight that is not finite spoils every channel, for 0 * nan is nan. A unit
    # whose activation is finite does not depend on it; others are found out by the whole model.
    for values in (*frozen.parameters(), *frozen.buffers()):
        if values.is_floating_point() and not values.isfinite().all():
            values.data = values.nan_to_num(0.0, 0.0, 0.0)  # the memory is the caller's
    return frozen if way is _PLAIN else frozen.to(memory_format=way.memory)


def _shifted(objective: Objective, shift: tuple[int, int]) -> Objective:
    (term,) = objective.terms
    row, column = term.neuron
    return Objective((replace(term, neuron=(row - shift[0], column - shift[1])),))


def _agree(expected: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor]) -> bool:
    """Whether values and gradients (image, ...) are the same, but for rounding, image by image."""
    values, gradients = zip(expected, given, strict=True)
    return all(same(*pair, _VALUES_AGREE) for pair in zip(*values, strict=True)) and all(
        _is_near(*pair) for pair in zip(*gradients, strict=True)
    )


def _is_near(expected: Tensor, given: Tensor) -> bool:
    """Whether a gradient points the same way as another, and as far."""
    tolerance = _GRADIENTS_AGREE.get(expected.dtype, 0.3)
    length = expected.nan_to_num(0, 0, 0).norm()
    apart = (expected - given).nan_to_num(0, torch.inf, -torch.inf).norm()
    is_nan_alike = torch.equal(expected.isnan(), given.isnan())
    return is_nan_alike and bool(apart <= tolerance * length)
