"""The least that a step can cost: the model's multiplications at the rate of this machine.

A model in, multiplications out; and the rate, measured now.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Widths and sizes of the 3 x 3 convolutions of residual networks at 224 px.
CONVOLUTIONS = [(64, 56), (128, 28), (256, 14), (512, 7)]
BATCH_SIZE = 4
MATRIX_SIZE = 1024
TRIAL_S = 0.25
# A multiplication and an addition, in the forward pass and for the gradient of the input.
FLOP_PER_MAC = 2 * 2


def floor_seconds(model: nn.Module, layer: str, size: int, flop_per_s: float) -> float:
    """Seconds of the convolutions of one step on one image, up to a layer and back."""
    return FLOP_PER_MAC * count_macs(model, layer, size) / flop_per_s


def count_macs(model: nn.Module, layer: str, size: int) -> int:
    """Multiply-accumulates of the convolutions and linear layers up to a layer, for one image."""
    n_macs, at_layer = 0, []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_macs
        # Each number that is put out takes one for every weight of its channel.
        n_macs += output.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    target = model.get_submodule(layer)
    hooks.append(target.register_forward_hook(lambda *_: at_layer.append(n_macs)))
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return at_layer[-1]


def measure_rates() -> dict[str, float]:
    """FLOP per second of one processor, by kind of work."""
    rates = {}
    for width, size in CONVOLUTIONS:
        convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        convolution = convolution.to(memory_format=torch.channels_last).requires_grad_(False)
        image = torch.randn(BATCH_SIZE, width, size, size).to(memory_format=torch.channels_last)
        n_flop = 2 * image.numel() * 9 * width
        rates[f"3x3 convolution {width}"] = _rate(lambda c=convolution, i=image: c(i), n_flop)
    matrix = torch.randn(MATRIX_SIZE, MATRIX_SIZE)
    rates[f"matrix {MATRIX_SIZE}"] = _rate(lambda: matrix @ matrix, 2 * MATRIX_SIZE**3)
    return rates


def _rate(work: Callable[[], Tensor], n_flop: int) -> float:
    work()
    n_calls, start, seconds = 0, time.process_time(), 0.0
    while seconds < TRIAL_S:
        work()
        n_calls += 1
        seconds = time.process_time() - start
    return n_calls * n_flop / seconds
