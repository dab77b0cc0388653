"""What a model takes: size, channels, mean and std of its images, and who tells so.

Told by the user, else recorded by the checkpoint, else by the library that a model is of; else
assumed, which is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Any

import torch
from torch import nn

from dvis.models.building import is_torchvisions
from dvis.models.data import InputTransform
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD
from dvis.models.input_options import ASSUMED, InputOptions
from dvis.models.model_reference import Model

_DEFAULT_SIZE, _DEFAULT_RESIZE = 224, 256  # what most of torchvision's weights take
_WAY_OUT = "tell with --input-mean, --input-std and --input-size"


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """What a model takes.

    Parameters
    ----------
    transform : InputTransform
        How a picture becomes it.
    source : str
        Who tells so.
    notes : tuple of str
        What is assumed, for nobody tells.
    """

    transform: InputTransform
    source: str
    notes: tuple[str, ...] = ()


def find_input(
    options: InputOptions,
    facts: Mapping[str, Any],
    model: Model,
    module: nn.Module,
    image_size: int | None = None,
) -> ModelInput:
    """What a model takes, as well as anybody tells.

    Parameters
    ----------
    options : InputOptions
        What the user tells.
    facts : mapping
        What a checkpoint tells of itself; its `input` is what `InputTransform.to_dict` wrote.
    model : str or GivenModel
        The model.
    module : nn.Module
        The same, built.
    image_size : int, optional
        Side in pixels to which images are brought, in place of what the model takes.

    Raises
    ------
    ValueError
        When what is told or recorded is no transform.
    """
    recorded, recorder = _recorded(facts, model, module)
    size = image_size or options.input_size
    transform = recorded if size is None else replace(recorded, size=size, resize=None)
    if options.input_mean:
        mean, std = options.input_mean, options.input_std
    else:
        n_channels = options.input_channels
        if n_channels is None:
            is_of_training = recorder == "checkpoint"
            own = transform.channels
            n_channels = own if is_of_training else _channels_of(module, transform.size, own)
        mean, std = (_fitted(v, n_channels) for v in (recorded.mean, recorded.std))
    if len(mean) not in (1, 3) and not options.told:
        raise ValueError(
            f"{model} takes images of {len(mean)} channels by its first convolution; dvis has "
            "those of 3 or 1. Give --input-channels where it takes such after all"
        )
    transform = replace(transform, channels=len(mean), mean=mean, std=std)
    by_size, by_values = (
        "options" if is_told else recorder for is_told in (size, options.input_mean)
    )
    is_one = by_size == by_values
    return ModelInput(
        transform=transform,
        source=by_size if is_one else f"size: {by_size}; mean and std: {by_values}",
        notes=_assumed(transform, is_size=by_size == ASSUMED, is_values=by_values == ASSUMED),
    )


def _recorded(
    facts: Mapping[str, Any], model: Model, module: nn.Module
) -> tuple[InputTransform, str]:
    """What a model takes as far as it is on record, and who has the record."""
    of_checkpoint = facts.get("input")
    if isinstance(of_checkpoint, Mapping) and "mean" in of_checkpoint:
        return InputTransform.from_dict(of_checkpoint), "checkpoint"
    transform, recorder = _of_library(model, module)
    own = _image_size_of(module)
    if own is not None and own != transform.size:
        transform = replace(transform, size=own, resize=None)
    return transform, recorder


def _of_library(model: Model, module: nn.Module) -> tuple[InputTransform, str]:
    if isinstance(model, str) and is_torchvisions(model):
        return _of_torchvision(model), "torchvision"
    of_timm = getattr(module, "pretrained_cfg", None)
    if isinstance(of_timm, Mapping) and {"mean", "std", "input_size"} <= of_timm.keys():
        size = int(of_timm["input_size"][-1])
        resize = floor(size / of_timm.get("crop_pct", 1.0))
        return _transform(size, resize, of_timm, of_timm.get("interpolation")), "timm"
    of_clip = getattr(module, "preprocess_cfg", None)
    if isinstance(of_clip, Mapping) and {"mean", "std", "size"} <= of_clip.keys():
        size = of_clip["size"] if isinstance(of_clip["size"], int) else of_clip["size"][0]
        return _transform(size, size, of_clip, of_clip.get("interpolation")), "open_clip"
    assumed = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return _transform(_DEFAULT_SIZE, _DEFAULT_RESIZE, assumed, None), ASSUMED


def _of_torchvision(model: str) -> InputTransform:
    """As torchvision's best weights of a model record it; nothing is downloaded."""
    from torchvision.models import get_model_weights

    preset = get_model_weights(model).DEFAULT.transforms()
    values = {"mean": preset.mean, "std": preset.std}
    return _transform(
        preset.crop_size[0], preset.resize_size[0], values, preset.interpolation.value
    )


def _transform(
    size: int, resize: int, values: Mapping[str, Any], interpolation: str | None
) -> InputTransform:
    mean, std = (tuple(map(float, values[name])) for name in ("mean", "std"))
    return InputTransform(
        size=size,
        resize=None if resize <= size else resize,
        channels=len(mean),
        mean=mean,
        std=std,
        interpolation="bicubic" if interpolation == "bicubic" else "bilinear",
    )


def _image_size_of(module: nn.Module) -> int | None:
    """Side in pixels for which a vision transformer was built."""
    sizes = [
        getattr(module, "image_size", None),
        getattr(getattr(module, "patch_embed", None), "img_size", None),
    ]
    for size in sizes:
        side = size[0] if isinstance(size, tuple | list) and size else size
        if isinstance(side, int):
            return side
    return None


def _channels_of(module: nn.Module, size: int, recorded: int) -> int:
    """Channels of the images that a model takes, by its first convolution, else by trial."""
    first = next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    if first in (1, 3):
        return first
    some = next(module.parameters(), torch.zeros(()))
    for n_channels in (3, 1):
        try:
            with torch.no_grad():
                module(some.new_zeros(1, n_channels, size, size))
        except Exception:  # whatever a stranger's model raises
            continue
        return n_channels
    return first or recorded


def _fitted(values: tuple[float, ...], n_channels: int) -> tuple[float, ...]:
    """One value a channel; their average where a model has another number of them."""
    if len(values) == n_channels:
        return values
    return (sum(values) / len(values),) * n_channels


def _assumed(transform: InputTransform, *, is_size: bool, is_values: bool) -> tuple[str, ...]:
    assumed = [f"{transform.size} px"] if is_size else []
    if is_values:
        mean, std = (" ".join(f"{v:.3g}" for v in of) for of in (transform.mean, transform.std))
        assumed.append(f"ImageNet's mean {mean} and std {std}")
    if not assumed:
        return ()
    text = f"nobody tells how the model takes images: {' and '.join(assumed)} assumed; {_WAY_OUT}"
    return (text,)
