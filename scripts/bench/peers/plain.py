"""The plain loop, as people write it: one image at a time through the whole model."""

import torch
from torch import Tensor, nn

from peers.task import Rendered, Task, last_output, read_clock

LEARNING_RATE, WEIGHT_DECAY = 0.1, 0.01


def render_plain(task: Task, *, debugging: bool = False) -> Rendered:
    """Images from noise by Adam on the model's input, whose weight decay is the only prior.

    Parameters
    ----------
    task : Task
        What to make.
    debugging : bool
        As the command that dvis succeeds: autograd's anomaly mode is on, and each step keeps its
        graph.
    """
    model, device = task.own_model(), task.device
    generator = torch.Generator(device).manual_seed(task.seed)
    start = read_clock(device)
    images = []
    for channel in task.channels:
        image = torch.randn(1, 3, task.size, task.size, generator=generator, device=device)
        images.append(_optimise(image, model, channel, task, debugging=debugging))
    return Rendered(torch.cat(images), read_clock(device) - start)


def _optimise(
    image: Tensor, model: nn.Module, channel: int, task: Task, *, debugging: bool
) -> Tensor:
    image.requires_grad_()
    optimizer = torch.optim.Adam([image], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    with last_output(model, task.layer) as outputs, torch.autograd.set_detect_anomaly(debugging):
        for _ in range(task.steps):
            optimizer.zero_grad()
            model(image)
            loss = -outputs[0][:, channel].mean()
            loss.backward(retain_graph=debugging)
            optimizer.step()
    return image.detach()
