"""Look inside a model: what its layers give, or only as much of it as a layer needs.

A model and images in, layer outputs out. Every hook is gone when its context ends, also after an
error; the model's own tensors, flags and buffers are left alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dvis.schema import DEPTH, did_you_mean

# Modules whose classes give (batch, row, column, channel).
_WINDOWED = ("torchvision.models.swin", "timm.models.swin_transformer")

Forward = Callable[[Tensor], dict[str, Tensor]]
Reduce = Callable[[str, Tensor], Tensor]


class _ReachedError(Exception):
    """Thrown out of a forward pass that has gone far enough."""


@dataclass(frozen=True, kw_only=True)
class LayerOutput:
    """What a layer gives in one forward pass.

    `shape` is that of its last call, batch first; `channel_dim` is the dimension of its channels.
    `depth` is its place among all layers in the order of execution, from 0: a layer made of others
    comes after the last of them.
    """

    depth: int
    n_calls: int
    shape: tuple[int, ...]
    channel_dim: int

    @property
    def n_channels(self) -> int:
        """Channels of the layer's output."""
        return self.shape[self.channel_dim]


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """A module by its dotted name.

    Raises
    ------
    KeyError
        When the model has no such module.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        names = [name for name in modules if name]
        raise KeyError(did_you_mean("layer", layer, names, type(model).__name__))
    module: nn.Module = modules[layer]
    return module


def convolutions(model: nn.Module, outputs: Mapping[str, LayerOutput]) -> tuple[str, ...]:
    """The layers that are looked at unless others are named: all convolutions that run.

    Parameters
    ----------
    model : nn.Module
        The model.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    """
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and name in outputs
    )


def layer_columns(outputs: Mapping[str, LayerOutput]) -> dict[str, dict[str, int]]:
    """What a store keeps of each layer, by the coordinate and the layer.

    Parameters
    ----------
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of the layers that are measured.
    """
    return {
        "n_channels": {layer: output.n_channels for layer, output in outputs.items()},
        DEPTH: {layer: output.depth for layer, output in outputs.items()},
    }


def first_tensor(output: Any) -> Tensor | None:
    """A module's output, or the first of several (attention gives its weights too)."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def as_maps(output: Tensor, channel_dim: int) -> Tensor:
    """A layer's output as (batch, channel, row, column).

    Tokens (batch, token, channel) become rows of one column; (batch, channel) one neuron each.
    """
    maps = output.movedim(channel_dim, 1)
    while maps.ndim < 4:
        maps = maps.unsqueeze(-1)
    return maps


@contextmanager
def stopping(
    model: nn.Module,
    calls: dict[str, int],
    reduce: Reduce | None = None,
    *,
    is_alone: bool = False,
) -> Iterator[Forward]:
    """A forward pass that ends once the named layers have run.

    Parameters
    ----------
    model : nn.Module
        The model.
    calls : dict of str to int
        Layers, and how often each runs in a whole pass: the pass ends after the last call of the
        last of them (see `trace_layers`).
    reduce : callable, optional
        What is kept of a layer's output, by the layer and the output: a tensor that shares no
        memory with it. The whole output is by default.
    is_alone : bool
        Whether each image goes through by itself, for models that mix the images of a batch.

    Yields
    ------
    callable
        Images (batch, channel, y, x) to outputs by layer.
    """
    outputs: dict[str, Tensor] = {}
    left: dict[str, int] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            left[layer] -= 1
            if left[layer]:
                return
            tensor = first_tensor(output)
            assert tensor is not None, layer
            is_last = not any(left.values())
            # Later layers may change it in place; there are none after the last.
            if reduce is not None:
                outputs[layer] = reduce(layer, tensor)
            else:
                outputs[layer] = tensor if is_last else tensor.clone()
            if is_last:
                raise _ReachedError

        return hook

    def forward(images: Tensor) -> dict[str, Tensor]:
        if is_alone and len(images) > 1:
            each = [forward(image[None]) for image in images]
            return {layer: torch.cat([of_one[layer] for of_one in each]) for layer in each[0]}
        outputs.clear()
        left.update(calls)
        try:
            model(images)
        except _ReachedError:
            return dict(outputs)
        missing = [layer for layer, n_calls in left.items() if n_calls > 0]
        raise RuntimeError(
            f"the forward pass ended before {', '.join(missing)} had run as often as before: "
            "whether it runs depends on the image"
        )

    with ExitStack() as stack:
        for layer in calls:
            handle = find_layer(model, layer).register_forward_hook(keep(layer))
            stack.callback(handle.remove)
        try:
            yield forward
        finally:
            outputs.clear()


def trace_layers(model: nn.Module, images: Tensor) -> dict[str, LayerOutput]:
    """What each layer of a model gives, for layers whose output has channels.

    Parameters
    ----------
    model : nn.Module
        The model, in the mode in which it is to be used.
    images : Tensor, (batch, channel, y, x)
        Any images that the model takes.

    Returns
    -------
    dict of str to LayerOutput
        By layer, in the order in which they first gave something; the model itself is `""`.

    Notes
    -----
    Channels are dimension 1 of (batch, channel) and (batch, channel, row, column), and the last one
    of (batch, token, channel). Linear and layer-norm layers, and windowed attention blocks, give
    them last in four dimensions too; an elementwise layer, and a block that gives the shape that it
    takes, give them where they take them.
    """
    calls: dict[str, int] = {}
    shapes: dict[str, tuple[tuple[int, ...], int]] = {}
    is_last: dict[int, bool] = {}  # of tensors, which `alive` keeps from being reused
    alive: list[Any] = []

    def hook_of(layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is None or not 2 <= tensor.ndim <= 4:
                return
            source = first_tensor(inputs)
            alive.extend((tensor, source))
            takes_last = is_last.get(id(source), False)
            keeps_shape = source is not None and source.shape == tensor.shape
            gives_last = _gives_channels_last(module, takes_last, keeps_shape)
            last = is_last.setdefault(id(tensor), gives_last)
            calls[layer] = calls.get(layer, 0) + 1
            channel_dim = tensor.ndim - 1 if tensor.ndim == 3 or last else 1
            shapes[layer] = tuple(tensor.shape), channel_dim

        return hook

    with ExitStack() as stack, torch.no_grad():
        for layer, module in model.named_modules():
            stack.callback(module.register_forward_hook(hook_of(layer)).remove)
        model(images)
    return {
        layer: LayerOutput(depth=depth, n_calls=calls[layer], shape=shape, channel_dim=channel_dim)
        for depth, (layer, (shape, channel_dim)) in enumerate(shapes.items())
    }


def _gives_channels_last(module: nn.Module, takes_last: bool, keeps_shape: bool) -> bool:
    if isinstance(module, nn.Linear):
        return True
    if isinstance(module, nn.LayerNorm):
        return not type(module).__name__.endswith("2d")  # which turn maps round and back
    if type(module).__module__.startswith(_WINDOWED):
        return True
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        return False
    if type(module).__name__ == "Permute":
        return not takes_last
    is_elementwise = not list(module.children()) and not list(module.parameters())
    return takes_last and (is_elementwise or keeps_shape)
