"""Whether a model mixes the images of a batch, so that each has to be seen alone.

A model and an image in; whether what layers give of it depends on the images beside it out.
"""

import logging
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from dvis.models.forward_trace import ForwardTrace, trace_forward
from dvis.models.hooks import stopping

logger = logging.getLogger(__name__)

# Neighbours change nothing but the order of a sum, if that.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
_ALONE = "images go through the model one at a time"
_NOT_FIXED = f"{_ALONE}: the course of its forward pass depends on the image, or is not known"
_MIXES = (
    f"{_ALONE}: what it gives of one depends on the others of a batch, as with batch norm without "
    "running statistics"
)
_known: "WeakKeyDictionary[nn.Module, dict[object, tuple[ForwardTrace, str]]]"
_known = WeakKeyDictionary()


def why_alone(model: nn.Module, calls: Mapping[str, int], image: Tensor) -> str:
    """Why the images of a batch have to go through a model one at a time, or nothing.

    They have where what layers give of an image depends on the images beside it: by batch norm
    that has no running statistics, or because the course of the forward pass depends on them.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    calls : mapping of str to int
        The layers, and how often each runs in a whole pass.
    image : Tensor, (1, channel, y, x)
        An image.
    """
    return examine(model, calls, image)[1]


def examine(model: nn.Module, calls: Mapping[str, int], image: Tensor) -> tuple[ForwardTrace, str]:
    """The operations until layers have run, and why images have to be alone in them, or nothing.

    What was found of a model is kept as long as the model, for its architecture and this shape.
    """
    key = (repr(model), tuple(sorted(calls.items())), image.shape, image.dtype, image.device)
    known = _known.setdefault(model, {})
    if key not in known:
        trace, why = _traced(model, calls, image), ""
        if not trace.is_fixed:
            why = _NOT_FIXED
        elif _changes_with_others(model, calls, image):
            why = _MIXES
        known[key] = trace, why
    return known[key]


def strong_images(like: Tensor, n_images: int = 2) -> Tensor:
    """Noise (image, channel, y, x) as strong as what optimisation reaches, bright and dark."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n_images, *like.shape[1:], generator=generator, dtype=torch.float64)
    offsets = torch.tensor([1.5, -1.5], dtype=torch.float64).repeat(n_images)[:n_images]
    return (4 * noise + offsets[:, None, None, None]).to(like)


def _traced(model: nn.Module, calls: Mapping[str, int], image: Tensor) -> ForwardTrace:
    try:
        return trace_forward(model, calls, image)
    except Exception as err:  # of models that cannot be followed, whatever the reason
        logger.info("the forward pass of %s cannot be followed: %s", type(model).__name__, err)
        return ForwardTrace(is_fixed=False)


def _changes_with_others(model: nn.Module, calls: Mapping[str, int], image: Tensor) -> bool:
    """Whether the first and the last image of three give other outputs beside another one."""
    first, second, last = *strong_images(image), image[0]
    batches = [torch.stack([first, between, last]) for between in (second, -4 * second)]
    with torch.no_grad(), stopping(model, dict(calls)) as forward:
        before, after = (forward(batch) for batch in batches)
    return not all(
        same(before[layer][place], after[layer][place], _TOLERANCE)
        for layer in calls
        for place in (0, -1)
    )


def same(expected: Tensor, given: Tensor, tolerances: Mapping[torch.dtype, float]) -> bool:
    """Whether two tensors agree, relative to the largest number in them."""
    if expected.shape != given.shape:
        return False
    largest = float(expected.nan_to_num(0, 0, 0).abs().max()) if expected.numel() else 0.0
    tolerance = tolerances.get(expected.dtype, 1e-2) * largest
    return bool(torch.allclose(expected, given, rtol=0, atol=tolerance, equal_nan=True))
