"""A private copy of a model that costs as little as a batch's objectives allow.

The caller's model is never touched. The copy is frozen, in eval mode, channels_last and rewritten
(see `rewrites`); its forward pass ends at the target, computes of the last convolution what the
objectives ask for, and sees of the image a neuron's receptive field alone. Each step is kept only
where the outputs stay the same.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dvis.kinds.features.measure.fields import Crop, crop_to_field
from dvis.kinds.features.measure.objectives import Objective, ObjectiveBatch, map_size
from dvis.kinds.features.measure.rewrites import (
    OwnChannel,
    Rewrite,
    block_stems,
    fold_batch_norms,
    is_plain,
    pool_before_relu,
    spread_pointwise,
)
from dvis.models.hooks import LayerOutput, stopping

# Rewriting changes rounding alone; anything more means that it did not fit the model.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
_REWRITES: tuple[tuple[Rewrite, ...], ...] = (
    (fold_batch_norms, pool_before_relu, block_stems, spread_pointwise),
    (fold_batch_norms,),
    (),
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
    """

    def __init__(
        self,
        copied: nn.Module,
        objectives: Sequence[Objective],
        outputs: Mapping[str, LayerOutput],
    ) -> None:
        self.model, self._traced = copied, outputs
        self.crop: Crop | None = None
        self.own_channels: list[OwnChannel] = []
        self._device = next(copied.parameters()).device
        self.outputs: dict[str, Tensor] = {}
        self._set(objectives)

    def __call__(self, images: Tensor) -> Tensor:
        """Values (image,) of images (image, channel, y, x)."""
        seen = images if self.crop is None else self.crop(images)
        with stopping(self.model, self._calls) as forward:
            self.outputs = forward(seen.contiguous(memory_format=torch.channels_last))
        return self._evaluate(self.outputs)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the images."""
        self._set([self._objectives[i] for i in kept])

    def narrow(self, sample: Tensor) -> None:
        """Leave out what the objectives do not depend on, where they all read one channel's map.

        Parameters
        ----------
        sample : Tensor, (1, channel, y, x)
            Images on which it is seen that the values stay the same.
        """
        terms = [term for objective in self._objectives for term in objective.terms]
        is_one_each = len(terms) == len(self._objectives)
        if not is_one_each or any(term.channel is None for term in terms):
            return
        if len({term.layer for term in terms}) > 1 or not terms[0].layer:
            return
        output = self._traced[terms[0].layer]
        if output.channel_dim != 1 or len(output.shape) != 4:
            return
        if {term.reduction for term in terms} == {"neuron"}:
            self._crop_to_field(sample, output)
        self._take_own_channels(sample, output)

    def _set(self, objectives: Sequence[Objective]) -> None:
        self._objectives = list(objectives)
        layers = sorted({layer for objective in objectives for layer in objective.layers})
        self._calls = {layer: self._traced[layer].n_calls for layer in layers}
        dims = {layer: self._traced[layer].channel_dim for layer in layers}
        self._evaluate = ObjectiveBatch(objectives, dims, self._device)
        for own in self.own_channels:
            own.choose(self._channels)

    @property
    def _channels(self) -> list[int]:
        channels = [objective.terms[0].channel for objective in self._objectives]
        return [index for index in channels if index is not None]

    def _crop_to_field(self, sample: Tensor, output: LayerOutput) -> None:
        whole = self._objectives
        if len({objective.terms[0].neuron for objective in whole}) > 1:
            return
        self._set(whole[:1])
        expected = self(sample)

        def of_first(images: Tensor) -> Tensor:
            self._set(whole[:1] * len(images))
            return self(images)

        crop = crop_to_field(of_first, sample, map_size(output))
        if crop is not None:
            shifted = [_shifted(objective, crop.shift) for objective in whole]
            self.crop = crop
            self._set(shifted[:1])
            if _agree(expected, self(sample)):
                whole = shifted
            else:
                self.crop = None
        self._set(whole)

    def _take_own_channels(self, sample: Tensor, output: LayerOutput) -> None:
        """Let the last convolutions give each image's own channel, as far back as that is all."""
        whole = self._objectives
        called = self._convolutions(sample)
        expected = self._evaluate(
            {n: t.expand(len(whole), *t.shape[1:]) for n, t in self.outputs.items()}
        )
        for name in reversed(called):
            conv = self.model.get_submodule(name)
            if not isinstance(conv, nn.Conv2d) or not is_plain(conv):
                return
            if conv.out_channels != output.n_channels:
                return
            own = OwnChannel(conv)
            self.model.set_submodule(name, own)
            self.own_channels.append(own)
            # Whatever mixes channels after it spreads what is not a number to the channel itself.
            own.filler = torch.nan
            is_same = all(self._is_same(sample, whole[:n], expected[:n]) for n in (1, len(whole)))
            own.filler = 0.0
            if not is_same:
                self.model.set_submodule(name, conv)
                self.own_channels.pop()
                self._set(whole)
                return

    def _is_same(self, sample: Tensor, objectives: Sequence[Objective], expected: Tensor) -> bool:
        self._set(objectives)
        return _agree(expected, self(sample.expand(len(objectives), -1, -1, -1)))

    def _convolutions(self, sample: Tensor) -> list[str]:
        """Names of the convolutions that run until the target, in order, each once."""
        called: list[str] = []
        handles = [
            module.register_forward_hook(lambda *_, name=name: called.append(name))
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Conv2d)
        ]
        objectives = self._objectives
        try:
            self._set(objectives[:1])
            self(sample)
        finally:
            self._set(objectives)
            for handle in handles:
                handle.remove()
        return [name for name in called if called.count(name) == 1]


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
        An image on which the copy is compared with the model.
    is_whole : bool
        Whether all channels and positions of the layers are needed.
    """
    layers = sorted({layer for objective in objectives for layer in objective.layers})
    with torch.no_grad():
        copied = _rewritten(model, {layer: outputs[layer].n_calls for layer in layers}, sample)
        ready = Prepared(copied, objectives, outputs)
        if not is_whole:
            ready.narrow(sample)
    return ready


def _rewritten(model: nn.Module, calls: dict[str, int], sample: Tensor) -> nn.Module:
    """The copy with the most rewrites under which the layers' outputs stay the same."""
    sample = sample.contiguous(memory_format=torch.channels_last)
    copied = _frozen_copy(model)

    def run() -> dict[str, Tensor]:
        with stopping(copied, calls) as forward:
            return forward(sample)

    expected = run()
    for rewrites in _REWRITES:
        for rewrite in rewrites:
            rewrite(copied, run, calls)
        given = run()
        if all(_agree(expected[layer], given[layer]) for layer in calls):
            break
        copied = _frozen_copy(model)
    return copied


def _frozen_copy(model: nn.Module) -> nn.Module:
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    # In a gradient, a weight that is not finite spoils every channel, for 0 * nan is nan. A unit
    # whose activation is finite does not depend on it; others are found out by the whole model.
    for values in (*frozen.parameters(), *frozen.buffers()):
        if values.is_floating_point() and not values.isfinite().all():
            values.nan_to_num_(0.0, 0.0, 0.0)
    return frozen.to(memory_format=torch.channels_last)


def _shifted(objective: Objective, shift: tuple[int, int]) -> Objective:
    (term,) = objective.terms
    row, column = term.neuron
    return Objective((replace(term, neuron=(row - shift[0], column - shift[1])),))


def _agree(expected: Tensor, given: Tensor) -> bool:
    if expected.shape != given.shape:
        return False
    tolerance = _TOLERANCE.get(expected.dtype, 1e-2) * float(
        expected.nan_to_num(0, 0, 0).abs().max()
    )
    return bool(torch.allclose(expected, given, rtol=0, atol=tolerance, equal_nan=True))
