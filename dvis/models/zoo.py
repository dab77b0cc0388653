"""Models of timm and OpenCLIP by name, where these are installed; weights are never downloaded."""

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dvis.models.model_reference import OPEN_CLIP, TIMM
from dvis.schema import did_you_mean


def construct_timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A timm model of random weights, by its name in timm's registry.

    Raises
    ------
    ImportError
        When timm is not installed.
    ValueError
        When it has no such model, or the model takes no such option.
    """
    timm = _library("timm", "timm")
    # A name of a hub or of a folder would download, or run what lies there.
    if not timm.is_model(name):
        raise ValueError(did_you_mean("model", name, timm.list_models(), TIMM))
    try:
        module: nn.Module = timm.create_model(name, pretrained=False, **options)
    except TypeError as err:
        given = ", ".join(f"{option}={value}" for option, value in options.items())
        raise ValueError(f"timm's {name} cannot be made with {given}: {err}") from err
    return module


def construct_open_clip(name: str) -> nn.Module:
    """The visual tower of an OpenCLIP model, of random weights.

    Raises
    ------
    ImportError
        When OpenCLIP is not installed.
    ValueError
        When it has no such model.
    """
    open_clip = _library("open_clip", "open-clip")
    if name not in open_clip.list_models():
        raise ValueError(did_you_mean("model", name, open_clip.list_models(), OPEN_CLIP))
    with _quiet():
        device = torch.get_default_device()
        visual: nn.Module = open_clip.create_model(name, pretrained=None, device=device).visual
    return visual


def construct_clip(name: str) -> tuple[Any, Any, Any]:
    """An OpenCLIP model of random weights, its tokens of texts, and how it takes pictures.

    Raises
    ------
    ImportError
        When OpenCLIP is not installed.
    ValueError
        When it has no such model.
    """
    open_clip = _library("open_clip", "open-clip")
    if name not in open_clip.list_models():
        raise ValueError(did_you_mean("model", name, open_clip.list_models(), OPEN_CLIP))
    with _quiet():
        model, _, transform = open_clip.create_model_and_transforms(name, pretrained=None)
        return model, open_clip.get_tokenizer(name), transform


def timm_options(module: nn.Module, shapes: Mapping[str, torch.Size]) -> dict[str, Any]:
    """What a checkpoint's weights tell of a timm model's classes and of its image size."""
    options: dict[str, Any] = {}
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    heads = [name for name in _classifiers(module) if f"{name}.weight" in own]
    if heads and not any(f"{name}.weight" in shapes for name in heads):
        options["num_classes"] = 0  # as timm leaves the head out
    elif heads and shapes[f"{heads[0]}.weight"][0] != own[f"{heads[0]}.weight"][0]:
        options["num_classes"] = shapes[f"{heads[0]}.weight"][0]
    tokens, patches = shapes.get("pos_embed"), shapes.get("patch_embed.proj.weight")
    if tokens and patches and len(tokens) == 3 and own.get("pos_embed") not in (None, tokens):
        is_of_patches = getattr(module, "no_embed_class", False)
        n_prefix = 0 if is_of_patches else getattr(module, "num_prefix_tokens", 0)
        options["img_size"] = round((tokens[1] - n_prefix) ** 0.5) * patches[-1]
    return options


def _classifiers(module: nn.Module) -> Sequence[str]:
    names = getattr(module, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name != name:
            raise
        raise ImportError(
            f"models of {name} need it, and it is not installed: pip install 'dvis[{extra}]'"
        ) from err


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that weights are random, which they are only until a file fills them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
