"""How far each parameter of an image moves in a step: gradients in, new parameters out."""

import torch
from torch import Tensor

from dvis.kinds.features.options import FeatureSettings

_BETAS = (0.9, 0.999)
# Adam's own, 1e-8, is above the gradients of a mean over a large map.
_LEAST = 1e-12


class PartlyAdaptive(torch.optim.Optimizer):
    r"""Adam whose steps share a part of their scale over all parameters of an image.

    .. math:: z \leftarrow z - \eta \, m / (v^{(1 - c) / 2} \, \bar v^{c / 2})

    with Adam's moments m and v, the mean of v over the image, and c = `shared_scale`. At c = 0 it
    is Adam, at c = 1 gradient descent with one rate an image.

    Under Adam every Fourier coefficient moves as far, however little it matters. The gradient of
    most of them comes from the image's edges alone, all in phase there: saturated corners of the
    wrong colour, which grow with the share that edges have of an image, and noise at frequencies
    that the network hardly sees.

    References
    ----------
    Chen et al., "Closing the Generalization Gap of Adaptive Gradient Methods in Training Deep
    Neural Networks", 2018, arXiv:1806.06763. We differ in that the common part is the image's own
    root mean square, so that a learning rate means the same for every unit, layer and c.
    """

    def __init__(self, parameters: Tensor, shared_scale: float, weight_decay: float = 0.0) -> None:
        super().__init__([parameters], {"lr": 1.0})
        self.shared_scale, self.weight_decay = shared_scale, weight_decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the parameters (image, ...) against their gradient."""
        (group,) = self.param_groups
        (parameters,) = group["params"]
        gradient = parameters.grad
        if self.weight_decay:
            gradient = gradient.add(parameters, alpha=self.weight_decay)
        state = self.state[parameters]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameters)
            state["exp_avg_sq"] = torch.zeros_like(parameters)
        state["step"] += 1
        first, second = _BETAS
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        of_mean, of_square = (1 - beta ** state["step"] for beta in _BETAS)
        dims = tuple(range(1, square.ndim))
        common = (square.mean(dims, keepdim=True) / of_square).pow(self.shared_scale / 2)
        own = square.pow((1 - self.shared_scale) / 2)
        own.mul_(common * of_square ** ((self.shared_scale - 1) / 2)).add_(_LEAST)
        parameters.addcdiv_(mean, own, value=-group["lr"] / of_mean)


def optimiser(parameters: Tensor, settings: FeatureSettings) -> torch.optim.Optimizer:
    """What moves the parameters (image, ...) of a batch: Adam, or Adam that shares its scale."""
    if settings.shared_scale:
        return PartlyAdaptive(parameters, settings.shared_scale, settings.reg_lambda)
    return torch.optim.Adam([parameters], lr=1.0, weight_decay=settings.reg_lambda)
