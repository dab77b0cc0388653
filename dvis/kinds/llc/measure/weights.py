"""Which weights are sampled: all, those of some names, or single ones by masks."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.llc.words import ALL_PARAMETERS
from dvis.schema import did_you_mean

MASK = "mask"

Mask = Tensor | np.ndarray | bool
Choice = None | str | Mapping[str, Mask]


def labelled_choices(parameters: Choice | Mapping[str, Choice]) -> dict[str, Choice]:
    """Choices of weights by their labels.

    Parameters
    ----------
    parameters : None, str, mapping of str to mask, or mapping of label to one of these
        None takes all weights, under the label `all`; a regular expression is its own label; a
        mapping of names of parameters to masks has the label `mask`.

    Examples
    --------
    >>> labelled_choices(None), labelled_choices("layer1")
    ({'all': None}, {'layer1': 'layer1'})
    """
    if parameters is None:
        return {ALL_PARAMETERS: None}
    if isinstance(parameters, str):
        return {parameters: parameters}
    if not parameters:
        raise ValueError("no weights to sample: the mapping is empty; None takes all")
    if any(isinstance(value, Tensor | np.ndarray | bool) for value in parameters.values()):
        return {MASK: parameters}  # type: ignore[dict-item]  # masks by name
    return dict(parameters)  # type: ignore[arg-type]  # choices by label


def chosen(model: nn.Module, choice: Choice) -> dict[str, Tensor | None]:
    """Names of the parameters that are sampled, with a mask where not the whole one is.

    Parameters
    ----------
    model : nn.Module
        The model.
    choice : None, str, or mapping of str to mask
        None takes all parameters, whatever their `requires_grad`; a regular expression those in
        whose names it is found; a mapping those that it names, where the mask is true.

    Returns
    -------
    dict of str to Tensor or None
        Masks are boolean and on the parameter's device.

    Raises
    ------
    KeyError
        When no parameter is meant, or one is named that the model does not have.
    ValueError
        When the expression is none, or a mask has another shape or dtype than it must.
    """
    there = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    if choice is None:
        return dict.fromkeys(there)
    if isinstance(choice, str):
        try:
            found = [name for name in there if re.search(choice, name)]
        except re.error as err:
            raise ValueError(
                f"parameters {choice!r} is no regular expression: {err}. Give one such as layer1"
            ) from err
        if not found:
            raise KeyError(did_you_mean("parameter", choice, there, type(model).__name__))
        return dict.fromkeys(found)
    masks: dict[str, Tensor | None] = {}
    for name, mask in choice.items():
        if name not in there:
            raise KeyError(did_you_mean("parameter", name, there, type(model).__name__))
        checked = _checked(name, mask, there[name])
        if bool(checked.any()):
            masks[name] = None if bool(checked.all()) else checked
    if not masks:
        raise KeyError("no weights to sample: every mask is false; set true what is to be sampled")
    return masks


def _checked(name: str, mask: Mask, parameter: Tensor) -> Tensor:
    tensor = torch.as_tensor(mask, device=parameter.device)
    if tensor.dtype != torch.bool or tensor.shape not in (parameter.shape, torch.Size()):
        raise ValueError(
            f"the mask of {name} is {tensor.dtype} {tuple(tensor.shape)}; it must be boolean and "
            f"{tuple(parameter.shape)}, or one boolean for the whole parameter"
        )
    return tensor.expand(parameter.shape)


def count(model: nn.Module, choice: Choice) -> int:
    """Number of weights that are sampled."""
    parameters = dict(model.named_parameters())
    return sum(
        parameters[name].numel() if mask is None else int(mask.sum())
        for name, mask in chosen(model, choice).items()
    )


def digest(model: nn.Module) -> str:
    """Hash of all that a model holds: names, dtypes, shapes and values of weights and buffers."""
    total = blake2b(digest_size=16)
    state: Mapping[str, Any] = model.state_dict()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            continue
        values = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        total.update(values.view(torch.uint8).numpy().data)
    return total.hexdigest()
