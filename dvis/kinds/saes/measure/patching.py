"""A model whose layer gives other rows than its own, by a hook that is proved."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import Block
from dvis.kinds.saes.measure.sparse import sparse_decode
from dvis.models.copying import frozen_copy
from dvis.models.devices import device_of
from dvis.models.hooks import find_layer, first_tensor, trace_layers
from dvis.schema import did_you_mean

Change = Callable[[Tensor], Tensor]


class Patched:
    """A model's outputs where rows of one layer are changed.

    The model is copied, in eval mode; the caller's stays as it is.

    Parameters
    ----------
    model : nn.Module
        The model.
    layer : str
        Its layer, by its dotted name.
    images : Tensor, (sample, channel, y, x)
        Some that it takes. With them it is tried whether an output that is replaced by itself
        leaves the model's output as it is, to the bit.
    tokens : array of int, (token,), optional
        Which of a sample's tokens are changed, in their order on the map (default: all).

    Raises
    ------
    KeyError
        When the model has no such layer.
    ValueError
        When the layer gives no channels or runs several times in a pass, or a token is not there.
    RuntimeError
        When an output that is replaced by itself changes what the model gives.
    """

    def __init__(
        self, model: nn.Module, layer: str, images: Tensor, *, tokens: ArrayLike | None = None
    ) -> None:
        self._model = frozen_copy(model)
        self._device = device_of(model)
        self._module = find_layer(self._model, layer)
        outputs = trace_layers(self._model, images[:1].to(self._device))
        if layer not in outputs:
            raise ValueError(did_you_mean("layer with channels", layer, outputs, "the model"))
        traced = outputs[layer]
        if traced.n_calls != 1:
            raise ValueError(
                f"layer {layer!r} runs {traced.n_calls} times in a pass, so that it is not told "
                "which output to change; name a layer that runs once, such as the one after it"
            )
        self.n_channels, self._channel_dim = traced.n_channels, traced.channel_dim
        n_tokens = int(np.prod(traced.shape[1:])) // traced.n_channels
        self._tokens = _places(tokens, n_tokens)
        first = images[:2]
        pair = self(first), self(first, lambda rows: rows)
        if not torch.allclose(*pair, rtol=0, atol=0, equal_nan=True):
            raise RuntimeError(
                f"replacing the output of {layer!r} by itself changes what the model gives: the "
                "model is random in eval mode, or uses that output by another way too"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor, change: Change | None = None) -> Tensor:
        """The model's output for images, rows (sample, token, channel) of the layer changed.

        Images and output lie on the CPU, wherever the model is.
        """
        images = images.to(self._device)
        if change is None:
            return _as_tensor(self._model(images)).cpu()
        n_calls = 0

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            tensor = first_tensor(output)
            assert tensor is not None, "traced"
            changed = self._changed(tensor, change)
            return changed if isinstance(output, Tensor) else type(output)([changed, *output[1:]])

        handle = self._module.register_forward_hook(hook)
        try:
            out = _as_tensor(self._model(images))
        finally:
            handle.remove()
        if n_calls != 1:
            raise RuntimeError(
                f"the layer ran {n_calls} times in this pass, but once in the first: whether it "
                "runs depends on the images"
            )
        return out.cpu()

    def _changed(self, tensor: Tensor, change: Change) -> Tensor:
        moved = tensor.movedim(self._channel_dim, -1)
        rows = moved.reshape(len(tensor), -1, self.n_channels)
        if self._tokens is None:
            new = change(rows)
        else:
            new = rows.clone()
            new[:, self._tokens] = change(rows[:, self._tokens])
        # In the layout that it had: layers choose their way of computing by it.
        out = torch.empty_like(tensor)
        out.copy_(new.reshape(moved.shape).movedim(-1, self._channel_dim))
        return out


def reconstructed(autoencoder: Autoencoder) -> Change:
    """The change of rows, (sample, token, channel), to their reconstructions."""
    decoder, bias = (
        torch.from_numpy(each) for each in (autoencoder.decoder, autoencoder.decoder_bias)
    )

    def change(rows: Tensor) -> Tensor:
        block = encoded_rows(autoencoder, rows)
        x_hat = sparse_decode(block.values, decoder, block.pattern) + bias
        return x_hat.reshape(rows.shape).to(rows)

    return change


def without(autoencoder: Autoencoder, latent: int, direction: ArrayLike) -> Change:
    """The change that takes a latent's codes, along a direction (channel,), out of rows."""
    along = torch.from_numpy(np.asarray(direction, np.float32))

    def change(rows: Tensor) -> Tensor:
        block = encoded_rows(autoencoder, rows)
        is_own = block.pattern.latents == latent
        taken = torch.zeros_like(block.rows)
        taken[block.pattern.rows[is_own]] = block.values[is_own, None] * along
        return rows - taken.reshape(rows.shape).to(rows)

    return change


def encoded_rows(autoencoder: Autoencoder, rows: Tensor) -> Block:
    """Rows, (sample, token, channel), of a layer with their codes.

    Raises
    ------
    ValueError
        When they are not finite.
    """
    flat = rows.detach().float().cpu().reshape(-1, rows.shape[-1]).contiguous()
    if not bool(torch.isfinite(flat).all()):
        raise ValueError("the layer gives values that are not finite; leave those images out")
    pattern, values = autoencoder.active(flat)
    return Block(
        positions=np.arange(len(rows)),
        rows=flat,
        pattern=pattern,
        values=values,
        n_tokens=rows.shape[1],
    )


def _places(tokens: ArrayLike | None, n_tokens: int) -> Tensor | None:
    if tokens is None:
        return None
    places = np.asarray(tokens, np.int64)
    if places.ndim != 1 or not len(places) or places.min() < 0 or places.max() >= n_tokens:
        raise ValueError(
            f"tokens are {places.tolist()}, but the layer has {n_tokens} a sample; give some of 0 "
            f"to {n_tokens - 1}"
        )
    return torch.from_numpy(places)


def _as_tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(
            f"the model gives a {type(output).__name__}; give one that gives a tensor, "
            "(sample, class)"
        )
    return output
