"""How feature images hold: as stored, in views that they were not made for, in a second network.

A trained network and ways of making images in; rows of a table out. Numbers are in standard
deviations of a unit's activation over images of the data, so that units can be compared.
"""

from collections.abc import Mapping

import numpy as np
import torch
from results import Row
from torch import Tensor

from dvis.kinds.features.measure.engine import Normalisation
from dvis.kinds.features.measure.held_out import held_out_means
from dvis.kinds.features.measure.objectives import channel
from dvis.kinds.features.measure.stored import quantise
from dvis.models.hooks import trace_layers
from peers.methods import Render
from peers.quality import as_stored
from peers.task import Task
from peers.trained_nets import Trained, channel_means


def compare_held_out(trained: Trained, sides: Mapping[str, Render], steps: int) -> list[Row]:
    """Rows of each layer and way: medians over units of what images reach and what is left."""
    rows = []
    for depth, layer in trained.layers.items():
        channels = trained.channels[layer]
        task = Task(
            model=trained.model,
            layer=layer,
            channels=channels,
            size=trained.size,
            steps=steps,
            batch_size=len(channels),
            mean=trained.mean,
            std=trained.std,
        )
        own = channel_means(trained.model, layer, trained.images)
        for side, render in sides.items():
            images = as_stored(render(task).images)
            stored, held = _activations(task, images), _held_out(task, images)
            mean, deviation = (_of(own, channels, which) for which in ("mean", "std"))
            of_second = _transferred(trained, layer, channels, own, images)
            columns = [(value - mean) / deviation for value in (stored, held)]
            rows.append(
                Row(
                    name=f"{depth} ({layer}), {side}",
                    ours=f"{np.median(columns[0]):.2f}",
                    peer=f"{np.median(columns[1]):.2f}",
                    ratio="" if of_second is None else f"{np.median(of_second):.2f}",
                )
            )
    return rows


def _of(own: Tensor, channels: tuple[int, ...], which: str) -> np.ndarray:
    return getattr(own[:, list(channels)], which)(0).numpy()


def _activations(task: Task, images: Tensor) -> np.ndarray:
    means = channel_means(task.model, task.layer, images)
    return means[torch.arange(len(images)), list(task.channels)].numpy()


def _held_out(task: Task, images: Tensor) -> np.ndarray:
    """Mean activation over the views that a store's `held_out_mean` is of."""
    plain = Normalisation(mean=(0.0,) * images.shape[1], std=(1.0,) * images.shape[1])
    kept = [quantise(image, is_bounded=False) for image in images]
    outputs = trace_layers(task.model, images[:1])
    objectives = [channel(task.layer, index) for index in task.channels]
    return held_out_means(task.model, outputs, objectives, kept, plain)


def _transferred(
    trained: Trained, layer: str, channels: tuple[int, ...], own: Tensor, images: Tensor
) -> np.ndarray | None:
    """Activations of the units of the second network that are most like these, on the data.

    Logits are of the same class in both.
    """
    if trained.second is None:
        return None
    others = channel_means(trained.second, layer, trained.images)
    likest = np.array(channels)
    if layer != trained.layers["last"]:
        both = np.corrcoef(own.numpy().T, others.numpy().T)
        between = both[list(channels), own.shape[1] :]
        likest = np.nan_to_num(between, nan=-1.0).argmax(1)
    reached = channel_means(trained.second, layer, images)
    values = reached[torch.arange(len(images)), torch.from_numpy(likest)].numpy()
    mean, deviation = (_of(others, tuple(likest.tolist()), which) for which in ("mean", "std"))
    return (values - mean) / deviation
