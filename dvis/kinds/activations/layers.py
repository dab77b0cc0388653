"""Layers that are kept: which they are by name or number, and which tokens of each.

A model and an image in; the shapes of what its layers give, and the places of their tokens out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dvis.models.hooks import LayerOutput
from dvis.models.layer_table import prefix_tokens
from dvis.schema import did_you_mean

_FEWEST_BLOCKS = 2


@dataclass(frozen=True, kw_only=True)
class KeptLayer:
    """A layer, and what is kept of its output.

    Parameters
    ----------
    name : str
        The layer.
    n_calls, channel_dim : int
        How often it runs in a pass, and where its channels stand.
    n_channels : int
        Channels of its output.
    place : ndarray, (token,), int32
        Numbers of the kept tokens among all of its tokens; -1 of their mean.
    row, column : ndarray, (token,), int32
        Where they lie on its map; -1 where that is nowhere.
    is_special : ndarray, (token,), bool
        Whether they are class or register tokens.
    averaged : tuple of int, optional
        The first and the last but one token of which the mean is kept, in place of them all.
    n_all : int
        All tokens of the layer.
    """

    name: str
    n_calls: int
    channel_dim: int
    n_channels: int
    place: np.ndarray
    row: np.ndarray
    column: np.ndarray
    is_special: np.ndarray
    averaged: tuple[int, int] | None
    n_all: int

    @property
    def n_tokens(self) -> int:
        """Tokens that are kept of a sample."""
        return len(self.place)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Coordinates of the tokens by their names."""
        return {
            "row": self.row,
            "column": self.column,
            "is_special": self.is_special,
            "place": self.place,
        }

    def taken(self, output: Tensor, dtype: torch.dtype) -> Tensor:
        """What is kept of the layer's output: (sample, token, channel), in memory of its own."""
        rows = output.movedim(self.channel_dim, -1)
        rows = rows.unsqueeze(1) if rows.ndim == 2 else rows.flatten(1, -2)
        if self.averaged is not None:
            rows = rows[:, slice(*self.averaged)].mean(1, keepdim=True)
        elif self.n_tokens < self.n_all:
            rows = rows[:, torch.from_numpy(self.place.astype(np.int64)).to(rows.device)]
        return rows.to(dtype, copy=True, memory_format=torch.contiguous_format)


def named_layers(
    model: nn.Module, outputs: Mapping[str, LayerOutput], asked: Sequence[str]
) -> list[str]:
    """Names of layers, of which some are counted from the end.

    A negative number counts the blocks of a transformer (the longest list of modules of one class
    in the model), else the model's own children: -1 is the last.

    Raises
    ------
    KeyError
        When the model has no such layer.
    ValueError
        When it has not as many, or one is asked for twice.
    """
    counted = _blocks(model, outputs)
    names = []
    for layer in asked:
        if not layer.lstrip("-").isdigit() or layer in outputs:
            names.append(layer)
            continue
        number = int(layer)
        if not -len(counted) <= number < 0:
            raise ValueError(
                f"layer {layer} was asked for; layers are counted from -1 back to "
                f"-{len(counted)}, which is {counted[0] if counted else 'none'}"
            )
        names.append(counted[number])
    for layer in names:
        if names.count(layer) > 1:
            raise ValueError(f"layer {layer} was asked for twice; ask for it once")
    there = [name for name, _ in model.named_modules() if name]
    for layer in names:
        if layer not in there:
            raise KeyError(did_you_mean("layer", layer, there, type(model).__name__))
        if layer not in outputs:
            raise ValueError(
                f"layer {layer!r} of {type(model).__name__} gives no channels in a forward pass: "
                "(batch, channel), (batch, token, channel) or (batch, channel, row, column); "
                "`dvis layers` lists those that do"
            )
    return names


def _blocks(model: nn.Module, outputs: Mapping[str, LayerOutput]) -> list[str]:
    longest: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Sequential | nn.ModuleList):
            continue
        names = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
        classes = {type(child) for child in module.children()}
        gives_tokens = all(each in outputs and len(outputs[each].shape) == 3 for each in names)
        if len(names) >= max(_FEWEST_BLOCKS, len(longest) + 1) and len(classes) == 1:
            longest = names if gives_tokens else longest
    return longest or [name for name, _ in model.named_children() if name in outputs]


def kept_layer(
    model: nn.Module, name: str, output: LayerOutput, tokens: str, n_random: int | None, seed: int
) -> KeptLayer:
    """A layer with the places of those of its tokens that are kept.

    Random tokens are drawn once for a layer. They are the same of every sample, so that a token is
    one place in the image, with its row and column, and samples compare at it.

    Raises
    ------
    ValueError
        When it has no class token, or not as many tokens as are to be drawn.
    """
    shape = [n for dim, n in enumerate(output.shape) if dim not in (0, output.channel_dim)]
    n_all = int(np.prod(shape))
    row, column, is_special = _places(shape, prefix_tokens(model) or 0)
    n_special = int(is_special.sum())
    averaged: tuple[int, int] | None = None
    place = np.arange(n_all)
    if tokens == "cls":
        if not n_special:
            raise ValueError(
                f"tokens is cls, and {name} has no class token: it gives "
                f"{' x '.join(map(str, output.shape[1:]))}. Ask for mean, or all"
            )
        place = place[:1]
    elif tokens == "mean":
        averaged, place = (n_special, n_all), np.array([-1])
        row, column, is_special = (np.append(each, fill) for each, fill in _with_fill(row, column))
    elif n_random is not None:
        if n_random > n_all:
            raise ValueError(
                f"{n_random} random tokens were asked for, and {name} has {n_all}. Ask for at most "
                "that, or for all"
            )
        place = np.sort(np.random.default_rng(seed).permutation(n_all)[:n_random])
    return KeptLayer(
        name=name,
        n_calls=output.n_calls,
        channel_dim=output.channel_dim,
        n_channels=output.n_channels,
        place=place.astype(np.int32),
        row=row[place].astype(np.int32),
        column=column[place].astype(np.int32),
        is_special=is_special[place].astype(bool),
        averaged=averaged,
        n_all=n_all,
    )


def _with_fill(row: np.ndarray, column: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Columns of tokens, and what stands in them for the mean of all, which is nowhere."""
    return [(row, -1), (column, -1), (np.zeros(len(row), bool), 0)]


def _places(shape: Sequence[int], n_prefix: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and whether it is special of each token of (row, column), (token,) or ()."""
    n_all = int(np.prod(shape))
    row, column = np.full(n_all, -1), np.full(n_all, -1)
    is_special = np.zeros(n_all, bool)
    if len(shape) == 2:
        row, column = (each.ravel() for each in np.indices(shape))
    elif len(shape) == 1:
        n_prefix = min(n_prefix, n_all)
        is_special[:n_prefix] = True
        side = round((n_all - n_prefix) ** 0.5)
        if side * side == n_all - n_prefix:
            row[n_prefix:], column[n_prefix:] = (e.ravel() for e in np.indices((side, side)))
    return row, column, is_special
