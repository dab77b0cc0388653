"""Which layer's output a layer reads: what is told by the tensors of one forward pass.

A model and an image in, names of layers out. No tracing: it works for every model that runs, and
says nothing where a function that is no layer stands between two.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dvis.kinds.edges.sums import n_inputs, weighted_layers
from dvis.models.hooks import find_layer, first_tensor, trace_layers

_ELEMENTWISE = tuple(
    f"torch.nn.modules.{name}" for name in ("activation", "dropout", "pooling", "linear")
)


@dataclass(frozen=True)
class _Call:
    """One call of a layer, and the call that gave what it takes."""

    layer: str
    number: int  # among the layer's calls, from 1
    keeps_channels: bool  # an activation or pooling
    is_norm: bool
    source: "_Call | None"


def input_layers(model: nn.Module, layers: Sequence[str], image: Tensor) -> dict[str, str]:
    """The layer whose output each layer reads, "" where that cannot be told.

    Where several give the same tensor, as a block and its last activation do, it is the outermost.
    An activation or pooling that runs several times in a pass is passed over, for its name does not
    tell which of its outputs is meant: what it takes has the same channels.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    layers : sequence of str
        Convolutions and linear layers.
    image : Tensor, (1, channel, y, x)
        An image.
    """
    outputs = trace_layers(model, image)
    there = weighted_layers(model, outputs)
    calls = _calls(model, image)
    found = {}
    for layer in layers:
        sources = {_name(call.source, calls) for call in calls[layer]}
        (source,) = sources if len(sources) == 1 else ("",)
        is_same = source in outputs and outputs[source].n_channels == n_inputs(there[layer])
        found[layer] = source if is_same else ""
    return found


def same_channels(model: nn.Module, layer: str, image: Tensor) -> list[str]:
    """Layers whose channels are those of a layer's input, from it back to the one that made them.

    Activations, pooling and batch norm keep channels; an outer layer that gives the same tensor as
    one of them stands for it.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    layer : str
        A convolution or linear layer.
    image : Tensor, (1, channel, y, x)
        An image.
    """
    calls = _calls(model, image)
    call = calls[layer][-1].source if calls[layer] else None
    found = []
    while call is not None:
        if call.number == len(calls[call.layer]):
            found.append(call.layer)
        call = call.source if call.keeps_channels or call.is_norm else None
    return found


def norm_behind(model: nn.Module, layer: str, image: Tensor) -> str:
    """The batch-norm layer that reads a layer's output, "" where there is none.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    layer : str
        A convolution or linear layer.
    image : Tensor, (1, channel, y, x)
        An image.
    """
    for name, of_name in _calls(model, image).items():
        sources = [call.source.layer for call in of_name if call.source is not None]
        if layer in sources and isinstance(find_layer(model, name), _BatchNorm):
            return name
    return ""


def _name(call: _Call | None, calls: dict[str, list[_Call]]) -> str:
    """The layer of a call, or of the one before it where its name would mean another call."""
    while call is not None:
        if call.number == len(calls[call.layer]):  # the call whose output a layer is known by
            return call.layer
        call = call.source if call.keeps_channels else None
    return ""


def _calls(model: nn.Module, image: Tensor) -> dict[str, list[_Call]]:
    """The calls of each layer in a forward pass, in their order."""
    recorder = _Recorder()
    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                for hook in recorder.hooks(name, module):
                    stack.callback(hook.remove)
        model(image)
    return recorder.calls


class _Recorder:
    """Notes by which call each tensor was made last, and not changed since."""

    def __init__(self) -> None:
        self.calls: dict[str, list[_Call]] = defaultdict(list)
        self._made: dict[tuple[int, int], _Call] = {}
        self._running: list[_Call | None] = []
        self._alive: list[Any] = []  # so that no two memories have the same address

    def hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Hooks on a module."""
        keeps = type(module).__module__ in _ELEMENTWISE
        keeps &= isinstance(module, nn.PReLU) or not list(module.parameters())
        yield module.register_forward_pre_hook(self._enter)
        yield module.register_forward_hook(self._leave(name, keeps, isinstance(module, _BatchNorm)))

    def _enter(self, _module: nn.Module, inputs: Any) -> None:
        tensor = first_tensor(inputs)
        self._running.append(None if tensor is None else self._made.get(self._key(tensor)))

    def _leave(self, name: str, keeps: bool, is_norm: bool) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            source, tensor = self._running.pop(), first_tensor(output)
            call = _Call(name, len(self.calls[name]) + 1, keeps, is_norm, source)
            self.calls[name].append(call)
            if tensor is not None:
                self._made[self._key(tensor)] = call

        return hook

    def _key(self, tensor: Tensor) -> tuple[int, int]:
        """A tensor's memory, which its views share, and how often it was changed in place."""
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        return storage._cdata, tensor._version
