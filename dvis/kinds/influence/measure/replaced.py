"""What later layers give where a layer's output is replaced, by hooks on the untouched model.

Where all that comes later passes through the layer, the layers before it need to run on one image
only, for their output is not used: any number of outputs goes in behind them. Elsewhere, each row
needs its own image at the model's input.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from dvis.models.hooks import LayerOutput, Reduce, find_layer, stopping
from dvis.models.mixing import strong_images, why_alone

Replaced = Callable[[Tensor, Tensor], dict[str, Tensor]]
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # neighbours change the order of sums
_STRONG = 4  # standard deviations of the noise that an output is replaced by


class Way(Enum):
    """How outputs go in at a layer."""

    SHARED = "behind one image"
    REPEATED = "each behind its own image"
    ALONE = "one at a time"


@dataclass(frozen=True, kw_only=True)
class Course:
    """How later layers depend on a layer.

    Parameters
    ----------
    way : Way
        How outputs are to go in.
    is_cut : int
        1 where all passes through the layer, 0 where some goes around it, -1 where that could not
        be told.
    unreached : frozenset of str
        Later layers that do not depend on it.
    why : str
        Why images go one at a time, or nothing.
    """

    way: Way
    is_cut: int
    unreached: frozenset[str] = frozenset()
    why: str = ""


@contextmanager
def replacing(
    model: nn.Module,
    source: str,
    calls: Mapping[str, int],
    reduce: Reduce,
    way: Way = Way.REPEATED,
) -> Iterator[Replaced]:
    """A forward pass to some layers in which a layer's output is given.

    Parameters
    ----------
    model : nn.Module
        The model; it is not touched, and its hooks are gone afterwards.
    source : str
        The layer.
    calls : mapping of str to int
        Later layers, and how often each runs in a whole pass.
    reduce : callable
        What is kept of each, as `stopping` takes it.
    way : Way
        How outputs go in.

    Yields
    ------
    callable
        Images (row, channel, y, x) and outputs (row, ...), which later layers may change in place,
        to what is kept by layer; where the way is shared, any images will do.
    """
    given: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not given:
            return None  # a plain pass, while the hook is there
        new = given[0]
        return new if isinstance(output, Tensor) else type(output)([new, *output[1:]])

    def replaced(images: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        if way is Way.ALONE and len(outputs) > 1:
            rows = [replaced(images[i : i + 1], outputs[i : i + 1]) for i in range(len(outputs))]
            return {layer: torch.cat([row[layer] for row in rows]) for layer in rows[0]}
        given.append(outputs)
        try:
            return forward(images[:1] if way is Way.SHARED else images)
        finally:
            given.clear()

    handle = find_layer(model, source).register_forward_hook(hook)
    try:
        with stopping(model, dict(calls), reduce) as forward:
            yield replaced
    finally:
        handle.remove()


def outputs_of(
    model: nn.Module, layer: str, n_calls: int, images: Tensor, *, is_alone: bool = False
) -> Tensor:
    """What a layer gives of some images."""
    with torch.no_grad(), stopping(model, {layer: n_calls}, is_alone=is_alone) as forward:
        return forward(images)[layer]


def find_course(
    model: nn.Module, source: str, outputs: Mapping[str, LayerOutput], image: Tensor
) -> Course:
    """How later layers depend on a layer, found by replacing its output.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    source : str
        The layer.
    outputs : mapping of str to LayerOutput
        What the layer and the later ones give.
    image : Tensor, (1, channel, y, x)
        An image.
    """
    calls = {layer: output.n_calls for layer, output in outputs.items() if layer != source}
    why = why_alone(model, {source: outputs[source].n_calls, **calls}, image)
    way = Way.ALONE if why else Way.REPEATED
    images = strong_images(image)
    own = outputs_of(model, source, 1, images, is_alone=bool(why))
    noise = _noise_like(own)
    with torch.no_grad():
        with replacing(model, source, calls, _whole, way) as replaced:
            of_one = replaced(images, torch.cat([own[:1]] * 2))
            of_noise = replaced(images, torch.cat([noise] * 2))
            changed = replaced(torch.cat([images[:1]] * 2), torch.cat([own[:1], noise]))
            expected = replaced(images, own.clone())
        unreached = frozenset(layer for layer, rows in changed.items() if _is_same(*rows))
        each = [of[layer] for of in (of_one, of_noise) for layer in calls]
        is_cut = int(all(_is_alike(*rows) for rows in each))
        if not all(bool(torch.isfinite(rows).all()) for rows in each):
            is_cut = -1
        if (
            is_cut == 1
            and way is Way.REPEATED
            and _can_share(model, source, calls, images, own, expected)
        ):
            way = Way.SHARED
    return Course(way=way, is_cut=is_cut, unreached=unreached, why=why)


def _can_share(
    model: nn.Module,
    source: str,
    calls: Mapping[str, int],
    images: Tensor,
    own: Tensor,
    expected: Mapping[str, Tensor],
) -> bool:
    """Whether outputs behind one image give what they give behind their own."""
    try:
        with replacing(model, source, calls, _whole, Way.SHARED) as replaced:
            found = replaced(images, own.clone())
    except RuntimeError:  # a later module goes by the number of images
        return False
    return all(
        found[layer].shape == rows.shape and _is_alike(found[layer], rows)
        for layer, rows in expected.items()
    )


def _whole(_layer: str, output: Tensor) -> Tensor:
    return output.clone()


def _noise_like(own: Tensor) -> Tensor:
    """One output (1, ...) of noise, stronger than any that images give."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(own.shape[1:], generator=generator, dtype=torch.float64).to(own)
    scale = own.nan_to_num(0, 0, 0).std().clamp_min(1)
    return (own.nan_to_num(0, 0, 0).mean() + _STRONG * scale * noise)[None]


def _is_same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are finite and alike: of others nothing can be told."""
    is_finite = bool(torch.isfinite(first).all() and torch.isfinite(second).all())
    return is_finite and _is_alike(first, second)


def _is_alike(first: Tensor, second: Tensor) -> bool:
    largest = float(first.nan_to_num(0, 0, 0).abs().max()) if first.numel() else 0.0
    tolerance = _TOLERANCE.get(first.dtype, 1e-2) * largest
    return torch.allclose(first, second, rtol=0, atol=tolerance, equal_nan=True)
