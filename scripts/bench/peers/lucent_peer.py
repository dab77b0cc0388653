"""lucent, the PyTorch port of lucid, with the defaults of its `render_vis`."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import kornia
import torch
from lucent.optvis import objectives, param, render, transform
from lucent.optvis.param import spatial
from torch import Tensor, nn
from torchvision.transforms import Normalize

from peers.task import Rendered, Task, read_clock, seeded

# lucent 0.1.8 is pinned to kornia 0.4, which had these two at its top.
kornia.get_rotation_matrix2d = kornia.geometry.transform.get_rotation_matrix2d
kornia.warp_affine = kornia.geometry.transform.warp_affine


def render_lucent(task: Task) -> Rendered:
    """Images by Fourier coefficients, decorrelated colours and lucent's standard transforms.

    The image and what the model sees after the transforms are both of the task's size; left to
    itself, lucent scales small images up to 224 px and lets the others grow by its padding.
    """
    model, device = task.own_model(), task.device
    start = read_clock(device)
    with seeded(task.seed), _on(device):
        images = [_render_batch(model, channels, task) for channels in task.batches]
    seconds = read_clock(device) - start
    return Rendered(task.normalise(torch.cat(images).to(device)), seconds)


def _render_batch(model: nn.Module, channels: Sequence[int], task: Task) -> Tensor:
    """Images (channel, rgb, y, x), 0..1, of the mean of each channel."""
    layer = task.layer.replace(".", "_")
    means = [objectives.channel(layer, channel, i) for i, channel in enumerate(channels)]
    (images,) = render.render_vis(
        model,
        objectives.Objective.sum(means),
        lambda: param.image(task.size, batch=len(channels)),
        transforms=[*transform.standard_transforms, Normalize(task.mean, task.std)],
        thresholds=(task.steps,),
        preprocess=False,  # it would be the same Normalize, with ImageNet's numbers only
        progress=False,
        show_image=False,
        fixed_image_size=task.size,
    )
    _remove_hooks(model)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _remove_hooks(model: nn.Module) -> None:
    """Remove what each call leaves on every module: the next ones would be slower and slower."""
    for module in model.modules():
        module._forward_hooks.clear()


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Keep lucent on a device; of its own accord it takes a GPU wherever there is one."""
    with ExitStack() as stack:
        for module in (spatial, transform):
            stack.enter_context(patch.object(module, "device", device))
        stack.enter_context(patch.object(torch.cuda, "is_available", lambda: device.type == "cuda"))
        yield
