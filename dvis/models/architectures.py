"""Models by name, with the weights of a checkpoint in place: a name and a file are enough."""

import difflib
import functools
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from dvis.models.building import (
    Shapes,
    construct,
    construct_empty,
    is_torchvisions,
    model_names,
    skeleton,
)
from dvis.models.checkpoints import CheckpointError, CheckpointFile, load_checkpoint
from dvis.models.fitting import Weights, find_weights
from dvis.models.model_reference import Model
from dvis.models.weights import State, require_plain

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")
_SHOWN_NAMES = 10
_FEW_WEIGHTS = 10  # as many as this may differ in a model that somebody has changed a little


def load_model(
    model: Model,
    checkpoint: CheckpointFile | str | Path | None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """A model with the weights of a checkpoint, in eval mode.

    The weights are the model's own: the file may change afterwards. They come in the model's
    number format (float32), and inputs are never transformed by it, except that torchvision's
    pretrained GoogLeNet and Inception expect, and transform, the usual normalisation.

    Parameters
    ----------
    model : str or GivenModel
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
    model: Model,
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
    if str(model).startswith("densenet"):
        states = {key: _with_new_densenet_names(state) for key, state in states.items()}
    plain = construct_empty(model, {})

    def fits(weights: Weights) -> bool:
        require_plain(weights.state, path)
        try:
            _put(skeleton(model, _shapes(weights.state), plain), weights.state)
        except (RuntimeError, ValueError):  # torch's, of weights that do not fit
            return False
        return True

    key = None if file is None else file.weights_key
    weights = find_weights(states, plain.state_dict().keys(), fits, key, path)
    require_plain(weights.state, path)
    module = skeleton(model, _shapes(weights.state), plain)
    _fill(module, weights, str(model), path)
    if given is None and hasattr(module, "transform_input"):
        # As torchvision does with these weights; torch types every attribute as Tensor | Module.
        module.transform_input = True  # type: ignore[assignment]
    return module.to(device).eval(), weights.left


def _pretrained_file(model: Model) -> Path:
    """File of torchvision's best weights of a model, downloaded if it is not there."""
    if not isinstance(model, str) or not is_torchvisions(model):
        construct(model, {})  # a name that is nobody's has an error of its own
        raise CheckpointError(
            f"{model} has no pretrained weights: torchvision has those of its own models. Give the "
            "path of a checkpoint"
        )
    from torchvision.models import get_model_weights

    weights = get_model_weights(model).DEFAULT
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
    """The model with a plain name whose weights have these shapes, the nearest name first."""
    names = [name for name in model_names() if not name.startswith("regnet")]  # slow to make
    likeness = {n: difflib.SequenceMatcher(None, model, n).ratio() for n in names if n != model}
    for name in sorted(likeness, key=likeness.__getitem__, reverse=True):
        try:
            like = skeleton(name, dict(shapes))
        except (AssertionError, RuntimeError, ValueError):  # of no size that the weights tell
            continue
        if shapes == _shapes(like.state_dict()).items():
            return name
    return None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {
        name: tensor.shape
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")  # which old files lack
    }
