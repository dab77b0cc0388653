"""torch-dreams, with its defaults but for the size of the image."""

import warnings

with warnings.catch_warnings():  # it switches all warnings off for good
    from torch_dreams import Dreamer

import torch
from torchvision.transforms import Normalize

from peers.task import IMAGENET_MEAN, IMAGENET_STD, Rendered, Task, read_clock, seeded


def render_torch_dreams(task: Task) -> Rendered:
    """Images by Fourier coefficients; what the model sees has 0.5 to 1.2 times their size."""
    model, device = task.own_model(), task.device
    dreamer = Dreamer(model, quiet=True, device=str(device))
    if (task.mean, task.std) != (IMAGENET_MEAN, IMAGENET_STD):
        dreamer.set_custom_normalization(Normalize(task.mean, task.std))
    start = read_clock(device)
    images = []
    with seeded(task.seed):
        for channel in task.channels:

            def loss(outputs: list[torch.Tensor], channel: int = channel) -> torch.Tensor:
                return -outputs[0][:, channel].mean()

            image = dreamer.render(
                [model.get_submodule(task.layer)],
                width=task.size,
                height=task.size,
                iters=task.steps,
                custom_func=loss,
            )
            images.append(image.to_chw_tensor(device))
    seconds = read_clock(device) - start
    return Rendered(task.normalise(torch.stack(images)), seconds)
