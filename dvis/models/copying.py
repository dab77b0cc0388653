"""Private copies of models, of those too whose modules keep what they computed."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def private_copy(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with a model."""
    return _copied(model, {})


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode and without gradients, whose parameters hold the model's own memory.

    It is for those who run or replace modules, and change no parameter in place.
    """
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
        if type(parameter) is nn.Parameter
    }
    return _copied(model, shared).eval().requires_grad_(False)


def _copied(model: nn.Module, made: dict[int, Any]) -> nn.Module:
    # Torch does not copy tensors that have a gradient's history, such as the weight that a hook of
    # `weight_norm` made in the last forward pass.
    for module in model.modules():
        for value in tree_leaves(vars(module)):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                made[id(value)] = value.detach().clone()
    return copy.deepcopy(model, made)
