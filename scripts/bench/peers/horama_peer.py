"""Horama's Fourier parametrisation, with its defaults but for size and number of crops."""

import torch
from horama import common, fourier, fourier_fv
from torchvision.ops import roi_align

from peers.task import Rendered, Task, last_output, read_clock, seeded


def _crops(*arguments: object, **options: object) -> torch.Tensor:
    return roi_align(*arguments, **options).unsqueeze(0)


# Horama 0.3 squeezes the axis of crops away where there is one crop only, and then fails.
common.roi_align = _crops
# Its bar cannot be switched off.
fourier_fv.tqdm = iter


def render_horama(task: Task) -> Rendered:
    """Images by Fourier coefficients, from one random crop a step instead of six."""
    model, device = task.own_model(), task.device
    start = read_clock(device)
    images = []
    with seeded(task.seed), last_output(model, task.layer) as outputs:
        for channel in task.channels:

            def mean_of_channel(crops: torch.Tensor, channel: int = channel) -> torch.Tensor:
                model(crops)
                return outputs[0][:, channel].mean()

            image, _ = fourier(
                mean_of_channel,
                total_steps=task.steps,
                image_size=task.size,
                model_input_size=task.size,
                crops_per_iteration=1,
                device=device,
            )
            images.append(image.detach())
    return Rendered(torch.stack(images), read_clock(device) - start)
