"""Models by name, with the weights of a checkpoint in place.

A name is that of a torchvision classification model, or `package.module:function` of a factory.
What a checkpoint's weights tell about the model's shape (classes, image size, auxiliary heads) is
read off them, so that a name and a file are enough.
"""

import difflib
import functools
import importlib
import inspect
import math
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision
from torch import Tensor, nn

from dvis.models.checkpoints import CheckpointError, CheckpointFile, load_checkpoint
from dvis.models.fitting import Weights, find_weights
from dvis.models.weights import State
from dvis.schema import did_you_mean

_DEFAULT_CLASSES = 1000  # torchvision's, for factories that cannot do without a number
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")
_SHOWN_NAMES = 10
_FEW_WEIGHTS = 10  # as many as this may differ in a model that somebody has changed a little
# The first name of a weight that only an auxiliary head has, by model.
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}

Shapes = Mapping[str, torch.Size]  # of weights and buffers, by name


def model_name(model: str) -> str:
    """Name of a model for a store's file: torchvision's own, or the factory's function.

    Examples
    --------
    >>> model_name("resnet18"), model_name("package.networks:small_net")
    ('resnet18', 'small_net')
    """
    return re.split(r"[:.]", model)[-1] if ":" in model else model


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def build_model(
    model: str, n_classes: int | None = None, *, image_size: int | None = None
) -> nn.Module:
    """A model with random weights, drawn from torch's global generator, in eval mode.

    Parameters
    ----------
    model : str
        Name of a torchvision classification model, or `package.module:function`: a factory, also
        from the current folder, which is given `num_classes` if it takes that.
    n_classes : int, optional
        Classes to tell apart; the constructor's own number by default.
    image_size : int, optional
        Height and width in pixels that a vision transformer is built for; others take any.

    Raises
    ------
    ValueError
        When torchvision has no such model, the factory's module has no such function, or what is
        there cannot be called so or returns no `nn.Module`.
    ImportError
        When the factory's module cannot be imported.
    """
    options: dict[str, Any] = {} if n_classes is None else {"num_classes": n_classes}
    if image_size is not None and model.startswith("vit_"):
        options["image_size"] = image_size
    return _construct(model, options).eval()


def load_model(
    model: str,
    checkpoint: CheckpointFile | str | Path | None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """A model with the weights of a checkpoint, in eval mode.

    The weights are the model's own: the file may change afterwards. They come in the model's
    number format (float32), and inputs are never transformed by it, except that torchvision's
    pretrained GoogLeNet and Inception expect, and transform, the usual normalisation.

    Parameters
    ----------
    model : str
        As `build_model` takes it.
    checkpoint : CheckpointFile, str, Path or None
        The file; None, or one without a path, stands for torchvision's pretrained weights, which
        are downloaded to torch's own folder unless they are there.
    device : str or torch.device
        Where the model is to compute.

    Raises
    ------
    CheckpointError
        When the file cannot be loaded safely, or its weights do not fit the model.
    ConnectionError
        When pretrained weights are neither there nor to be had.
    ValueError, ImportError
        As `build_model` does.
    """
    return load_fitted(model, checkpoint, device)[0]


def load_fitted(
    model: str,
    checkpoint: CheckpointFile | str | Path | None,
    device: str | torch.device = "cpu",
) -> tuple[nn.Module, tuple[str, ...]]:
    """A model as `load_model` gives it, and the names of entries beside its weights that were left.

    Raises
    ------
    CheckpointError, ConnectionError, ValueError, ImportError
        As `load_model` does.
    """
    file = checkpoint if isinstance(checkpoint, CheckpointFile) else None
    given = checkpoint.path if isinstance(checkpoint, CheckpointFile) else checkpoint
    path = _pretrained_file(model) if given is None else Path(given).expanduser()
    states = load_checkpoint(path).states
    if model.startswith("densenet"):
        states = {key: _with_new_densenet_names(state) for key, state in states.items()}
    plain = _construct_empty(model, {})

    def fits(weights: Weights) -> bool:
        try:
            _put(_skeleton(model, _shapes(weights.state), plain), weights.state)
        except (RuntimeError, ValueError):  # torch's, of weights that do not fit
            return False
        return True

    key = None if file is None else file.weights_key
    weights = find_weights(states, plain.state_dict().keys(), fits, key, path)
    module = _skeleton(model, _shapes(weights.state), plain)
    _fill(module, weights, model, path)
    if given is None and hasattr(module, "transform_input"):
        # As torchvision does with these weights; torch types every attribute as Tensor | Module.
        module.transform_input = True  # type: ignore[assignment]
    return module.to(device).eval(), weights.left


def _construct(model: str, options: Mapping[str, Any]) -> nn.Module:
    if ":" in model:
        return _call_factory(model, options.get("num_classes"))
    if model not in torchvision_names():
        where = "torchvision; your own is package.module:function"
        raise ValueError(did_you_mean("model", model, torchvision_names(), where))
    # Both would warn that they will stop to draw their weights by default.
    own: dict[str, Any] = {"init_weights": True} if model in _AUXILIARY else {}
    module: nn.Module = torchvision.models.get_model(model, weights=None, **own, **options)
    return module


def _call_factory(model: str, n_classes: int | None) -> nn.Module:
    with _current_folder_importable():
        factory = _find_factory(model)
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


def _pretrained_file(model: str) -> Path:
    """File of torchvision's best weights of a model, downloaded if it is not there."""
    if model not in torchvision_names():
        _construct(model, {})  # a name that is nobody's has an error of its own
        raise CheckpointError(
            f"{model} has no pretrained weights: torchvision has those of its own models. Give the "
            "path of a checkpoint"
        )
    weights = torchvision.models.get_model_weights(model).DEFAULT
    name = Path(urlsplit(weights.url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.exists():
        return path
    checksum = re.search(r"-([0-9a-f]{8,})\.", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            weights.url, str(path), checksum and checksum[1], progress=False
        )
    except (OSError, HTTPException, RuntimeError) as err:
        raise ConnectionError(
            f"No checkpoint was given, so {model} takes torchvision's pretrained weights; they are "
            f"not at {path} and could not be downloaded ({err}). Fetch {weights.url} where there "
            "is a connection and put it there, or give the path of a checkpoint"
        ) from err
    return path


def _with_new_densenet_names(state: State) -> State:
    """The same weights, where they are as old as torchvision's own: `norm.1` is now `norm1`."""
    renamed = OrderedDict((_OLD_DENSENET.sub(r"\1\2", name), state[name]) for name in state)
    vars(renamed).update(vars(state))
    return renamed


def _skeleton(model: str, shapes: Shapes, plain: nn.Module | None = None) -> nn.Module:
    """A model of the shape that the weights' shapes tell, to be filled with them.

    `plain` is one without options, which is given back where it has that shape.
    """
    options: dict[str, Any] = {}
    if model in _AUXILIARY:
        options["aux_logits"] = any(name.startswith(_AUXILIARY[model]) for name in shapes)
    if model.startswith("vit_") and {"encoder.pos_embedding", "conv_proj.weight"} <= shapes.keys():
        n_patches = shapes["encoder.pos_embedding"][1] - 1  # one token is the class's
        options["image_size"] = math.isqrt(n_patches) * shapes["conv_proj.weight"][-1]
    module = _construct_empty(model, options) if options or plain is None else plain
    classifier = f"{_last_layer(module)}.weight"
    default = module.state_dict().get(classifier)
    if default is None or not shapes.get(classifier) or shapes[classifier][0] == len(default):
        return module
    return _construct_empty(model, options | {"num_classes": shapes[classifier][0]})


def _last_layer(module: nn.Module) -> str:
    """Name of a classifier's last layer, whose outputs are the classes."""
    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else ""


def _construct_empty(model: str, options: Mapping[str, Any]) -> nn.Module:
    """A model without its weights where that can be, else with random ones.

    On torch's meta device nothing is drawn, which takes most of the time of loading a checkpoint.
    """
    if ":" not in model:
        try:
            with torch.device("meta"):
                module = _construct(model, options)
        except NotImplementedError:  # a RegNet computes its widths with tensors
            return _construct_random(model, options)
        if dict(module.named_buffers()).keys() <= module.state_dict().keys():
            return module  # everything in it will come from the file
    return _construct_random(model, options)


def _construct_random(model: str, options: Mapping[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return _construct(model, options)


def _fill(module: nn.Module, weights: Weights, model: str, path: Path) -> None:
    """Put weights into a model, or say why they do not fit."""
    expected = _shapes(module.state_dict())
    try:
        _put(module, weights.state)
    except (RuntimeError, ValueError) as err:
        shapes = _shapes(weights.state), expected
        misfit = _misfit(*shapes, left=weights.left) or err
        text = f"The weights in {path} do not fit {model}: {misfit}."
        raise CheckpointError(f"{text} {_way_out(model, *shapes)}") from err


def _put(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Put weights into a model, as copies of its own number format."""
    expected = module.state_dict()
    is_empty = any(tensor.is_meta for tensor in expected.values())
    own = OrderedDict(
        (name, tensor.to(expected.get(name, tensor).dtype, copy=is_empty))
        for name, tensor in state.items()
    )
    # Without versions of modules the file is a bare dict: MNASNet alone asks for one.
    root = {"version": getattr(module, "_version", None)}
    own._metadata = getattr(state, "_metadata", {"": root})  # type: ignore[attr-defined]
    module.load_state_dict(own, assign=is_empty)


def _misfit(given: Shapes, expected: Shapes, left: Sequence[str] = ()) -> str:
    """Which weights are missing, foreign, or of another shape than expected; and what was left."""
    missing = [name for name in expected if name not in given]
    foreign = [*(name for name in given if name not in expected), *left]
    resized = [
        f"{name} {tuple(given[name])} for {tuple(expected[name])}"
        for name in given
        if name in expected and given[name] != expected[name]
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN_NAMES])}"
        f"{', ...' if len(names) > _SHOWN_NAMES else ''})"
        for names, what in (
            (missing, "that the model has are missing"),
            (foreign, "are not the model's"),
            (resized, "have another shape"),
        )
        if names
    ]
    return "; ".join(parts)


def _way_out(
    model: str, given: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]
) -> str:
    """What to do about weights that do not fit: most often they are another model's."""
    is_far_off = len(given.items() ^ expected.items()) > _FEW_WEIGHTS
    better = _model_that_fits(frozenset(given.items()), model) if is_far_off else None
    if better is not None:
        return f"They are those of a {better}: give that model"
    return "Give the model that was trained, or a factory package.module:function of it"


@functools.lru_cache(maxsize=8)  # a run of a hundred checkpoints of the wrong model asks as often
def _model_that_fits(shapes: frozenset[tuple[str, torch.Size]], model: str) -> str | None:
    """Torchvision's model whose weights have these names and shapes, the nearest name first."""
    names = [name for name in torchvision_names() if not name.startswith("regnet")]  # slow to make
    likeness = {n: difflib.SequenceMatcher(None, model, n).ratio() for n in names if n != model}
    for name in sorted(likeness, key=likeness.__getitem__, reverse=True):
        if shapes == _shapes(_skeleton(name, dict(shapes)).state_dict()).items():
            return name
    return None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {
        name: tensor.shape
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")  # which old files lack
    }
