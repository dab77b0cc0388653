"""Models by name, of random weights or of none.

A name is that of a torchvision classification model, `vit_tiny`, `timm:NAME`, `open_clip:NAME`
(its visual tower), or `package.module:function` of a factory; from Python it may be a module or a
factory itself. What a checkpoint's weights tell about the model's shape (classes, image size,
auxiliary heads) is read off them, so that a name and a file are enough.
"""

import hashlib
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dvis.models.copying import private_copy
from dvis.models.model_reference import OPEN_CLIP, TIMM, GivenModel, Model
from dvis.models.vit_tiny import NAME as VIT_TINY
from dvis.models.vit_tiny import vit_tiny
from dvis.models.zoo import construct_open_clip, construct_timm, timm_options
from dvis.schema import did_you_mean

TORCHVISION = "torchvision"

_DEFAULT_CLASSES = 1000  # torchvision's, for factories that cannot do without a number
# The first name of a weight that only an auxiliary head has, by model.
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}

Shapes = Mapping[str, torch.Size]  # of weights and buffers, by name


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models."""
    from torchvision import models  # imports torch's compiler: twice the time of torch alone

    names: list[str] = models.list_models(module=models)
    return names


def model_names() -> list[str]:
    """Names of models that need no library's name before them."""
    return sorted([*torchvision_names(), VIT_TINY])


def is_torchvisions(model: Model) -> bool:
    """Whether a model is one of torchvision's by its name."""
    return _library(model) == TORCHVISION and model in torchvision_names()


def build_model(
    model: Model, n_classes: int | None = None, *, image_size: int | None = None
) -> nn.Module:
    """A model with random weights, drawn from torch's global generator, in eval mode.

    Parameters
    ----------
    model : str or GivenModel
        Name of a torchvision classification model, `vit_tiny`, `timm:NAME`, `open_clip:NAME`, or
        `package.module:function`: a factory, also from the current folder, which is given
        `num_classes` if it takes that.
    n_classes : int, optional
        Classes to tell apart; the constructor's own number by default.
    image_size : int, optional
        Height and width in pixels that a vision transformer is built for; others take any.

    Raises
    ------
    ValueError
        When the library has no such model, the factory's module has no such function, or what is
        there cannot be called so or returns no `nn.Module`.
    ImportError
        When the library or the factory's module cannot be imported.
    """
    options: dict[str, Any] = {} if n_classes is None else {"num_classes": n_classes}
    if image_size is not None and _is_torchvision_vit(model):
        options["image_size"] = image_size
    return construct(model, options).eval()


def skeleton(model: Model, shapes: Shapes, plain: nn.Module | None = None) -> nn.Module:
    """A model of the shape that the weights' shapes tell, to be filled with them.

    `plain` is one without options, which is given back where it has that shape.
    """
    options = _options_of_shapes(model, shapes)
    module = construct_empty(model, options) if options or plain is None else plain
    told = _told_by_weights(model, module, shapes)
    return construct_empty(model, options | told) if told else module


def seeded_model(model: Model, shapes: Shapes, seed: int) -> nn.Module | None:
    """A model with weights drawn by a seed, of the shape that some weights' shapes tell.

    It is in eval mode; None where nothing draws weights: of a module that is given as it is, or a
    factory that returns the same ones whatever the seed.
    """
    if isinstance(model, GivenModel) and isinstance(model.source, nn.Module):
        return None
    drawn, other = (_drawn(model, shapes, each) for each in (seed, seed + 1))
    if all(torch.equal(a, b) for a, b in zip(drawn.parameters(), other.parameters(), strict=True)):
        return None
    return drawn.eval()


def _drawn(model: Model, shapes: Shapes, seed: int) -> nn.Module:
    options = _options_of_shapes(model, shapes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = construct(model, options)
        told = _told_by_weights(model, module, shapes)
        if not told:
            return module
        torch.manual_seed(seed)
        return construct(model, options | told)


def _options_of_shapes(model: Model, shapes: Shapes) -> dict[str, Any]:
    """Options that weights' shapes tell before there is a model."""
    options: dict[str, Any] = {}
    if model in _AUXILIARY:
        options["aux_logits"] = any(name.startswith(_AUXILIARY[model]) for name in shapes)
    if (
        _is_torchvision_vit(model)
        and len(shapes.get("encoder.pos_embedding", ())) == 3
        and len(shapes.get("conv_proj.weight", ())) == 4
    ):
        n_patches = shapes["encoder.pos_embedding"][1] - 1  # one token is the class's
        options["image_size"] = math.isqrt(max(n_patches, 0)) * shapes["conv_proj.weight"][-1]
    return options


def _told_by_weights(model: Model, module: nn.Module, shapes: Shapes) -> dict[str, Any]:
    """Options by which a model has the shapes of some weights, where they are not its own."""
    if _library(model) == TIMM:
        return timm_options(module, shapes)
    classifier = f"{_last_layer(module)}.weight"
    default = module.state_dict().get(classifier)
    if default is None or not shapes.get(classifier) or shapes[classifier][0] == len(default):
        return {}
    return {"num_classes": shapes[classifier][0]}


def _last_layer(module: nn.Module) -> str:
    """Name of a classifier's last layer, whose outputs are the classes."""
    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else ""


def architecture_of(module: nn.Module) -> str:
    """What tells a model from others: its class, and the names and shapes of its weights.

    Its classes and its auxiliary heads do not count: checkpoints of one model may differ in them.
    """
    heads = (f"{_last_layer(module)}.", *_AUXILIARY.values())
    shapes = {
        name: list(tensor.shape)
        for name, tensor in module.named_parameters()
        if not name.startswith(heads)
    }
    digest = hashlib.blake2b(json.dumps(shapes, sort_keys=True).encode(), digest_size=4)
    return f"{type(module).__qualname__} {digest.hexdigest()}"


def construct_empty(model: Model, options: Mapping[str, Any]) -> nn.Module:
    """A model without its weights where that can be, else with random ones.

    On torch's meta device nothing is drawn, which takes most of the time of loading a checkpoint.
    """
    if _library(model) in (TORCHVISION, TIMM, OPEN_CLIP):
        try:
            with torch.device("meta"):
                module = construct(model, options)
        # A RegNet computes its widths with tensors, others read numbers of theirs.
        except (NotImplementedError, RuntimeError):
            return _construct_random(model, options)
        if dict(module.named_buffers()).keys() <= module.state_dict().keys():
            return module  # everything in it will come from the file
    return _construct_random(model, options)


def _construct_random(model: Model, options: Mapping[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return construct(model, options)


def construct(model: Model, options: Mapping[str, Any]) -> nn.Module:
    """A model with random weights, in training mode; see `build_model`."""
    if isinstance(model, GivenModel):
        if isinstance(model.source, nn.Module):
            return private_copy(model.source)
        return _call_factory(model.source, model.name, options.get("num_classes"))
    library, name = _library(model), model.partition(":")[2]
    if library == TIMM:
        return construct_timm(name, options)
    if library == OPEN_CLIP:
        return construct_open_clip(name)
    if library != TORCHVISION:
        with _current_folder_importable():
            return _call_factory(_find_factory(model), model, options.get("num_classes"))
    if model == VIT_TINY:
        return vit_tiny(**options)
    if not is_torchvisions(model):
        where = "torchvision; others are timm:NAME, open_clip:NAME and package.module:function"
        raise ValueError(did_you_mean("model", model, model_names(), where))
    from torchvision import models

    # Both would warn that they will stop to draw their weights by default.
    own: dict[str, Any] = {"init_weights": True} if model in _AUXILIARY else {}
    module: nn.Module = models.get_model(model, weights=None, **own, **options)
    return module


def _library(model: Model) -> str:
    """Whose model a name is: torchvision's, timm's, OpenCLIP's, or (empty) a factory's."""
    if isinstance(model, GivenModel):
        return ""
    library, colon, _ = model.partition(":")
    if not colon:
        return TORCHVISION
    return library if library in (TIMM, OPEN_CLIP) else ""


def _is_torchvision_vit(model: Model) -> bool:
    return isinstance(model, str) and model.startswith("vit_")


def _call_factory(factory: Callable[..., Any], model: str, n_classes: int | None) -> nn.Module:
    parameters = inspect.signature(factory).parameters.values()
    takes = next((p for p in parameters if p.name == "num_classes"), None)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if n_classes is None and takes is not None and takes.default is takes.empty:
        n_classes = _DEFAULT_CLASSES
    is_given = n_classes is not None and (takes is not None or takes_any)
    try:
        module = factory(num_classes=n_classes) if is_given else factory()
    except TypeError as err:
        given = f"num_classes={n_classes}" if is_given else ""
        raise ValueError(
            f"{model}({given}) makes no model: {err}. It takes {inspect.signature(factory)}. "
            "Give a factory that takes num_classes alone, or nothing"
        ) from err
    except Exception as err:  # whatever a stranger's factory raises
        raise ValueError(
            f"{model}, which is to make the model, raised {type(err).__name__}: {err}. Mend it, or "
            "give another factory"
        ) from err
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"{model} returned a {type(module).__name__}. Give a factory that returns a "
            "torch.nn.Module"
        )
    return module


def _find_factory(model: str) -> Callable[..., Any]:
    module_name, _, name = model.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as err:
        if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
            raise  # the module is there, and one that it imports is not
        raise ModuleNotFoundError(
            f"No module {module_name!r} for the model {model!r}: looked in {Path.cwd()} and where "
            "Python imports from. Run from the folder that holds it, or install it",
            name=err.name,
        ) from err
    except ImportError:
        raise
    except Exception as err:  # whatever a stranger's module raises
        raise ValueError(
            f"{module_name}, which is to have the model {model!r}, cannot be imported: it raised "
            f"{type(err).__name__}: {err}"
        ) from err
    for part in name.split("."):
        if not hasattr(found, part):
            there = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
            raise ValueError(did_you_mean("function", part, there, module_name))
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{model} is a {type(found).__name__}. Give a function or a class")
    factory: Callable[..., Any] = found
    return factory


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Import from the current folder too, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
