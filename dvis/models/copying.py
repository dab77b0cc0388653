"""Private copies of models, of those too whose modules keep what they computed."""

import copy

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def private_copy(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with a model.

    Torch does not copy tensors that have a gradient's history, such as the weight that a hook of
    `weight_norm` made in the last forward pass: their values are copied.
    """
    made = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    return copy.deepcopy(model, made)
