"""Influence by attribution: the first order of an ablation, by one backward pass a target."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.influence.measure.ablation import reduced
from dvis.kinds.influence.measure.nodes import Node
from dvis.kinds.influence.measure.sums import Means, Sums
from dvis.kinds.influence.options import Value
from dvis.models.copying import frozen_copy
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import find_layer, first_tensor, stopping


@dataclass(frozen=True, kw_only=True)
class Attribution:
    r"""All units of earlier layers onto some units of one layer.

    .. math:: A_{cd}(n) = \sum_p (x_{ncp} - m_c) \, \partial r_d / \partial x_{ncp}

    Parameters
    ----------
    model : nn.Module
        The model in eval mode, of which a copy is used.
    sources : mapping of str to Node
        Earlier layers.
    target : Node
        The layer.
    units : sequence of int
        Its units.
    images : FixedImages
        The images.
    value : {"mean", "zero"}
        From where an effect is counted: m, or 0.
    batch_size : int
        Images in one pass.

    References
    ----------
    Molchanov et al. 2017, arXiv:1611.06440; Syed et al. 2023, arXiv:2310.10348. There the baseline
    is zero, or another input.
    """

    model: nn.Module
    sources: Mapping[str, Node]
    target: Node
    units: Sequence[int]
    images: FixedImages
    value: Value
    batch_size: int

    def sums(self, means: Mapping[str, Means], targets: Means) -> dict[str, Sums]:
        """Sums over all images of (source, target), of all units of each earlier layer."""
        sums = {name: Sums(means[name], targets) for name in self.sources}
        everything = slice(None)
        for images, unit, by_source in self.changes(means):
            for name, changes in by_source.items():
                own = slice(unit, unit + 1)
                sums[name].add(changes.T[:, :, None], images, everything, own)
        return sums

    def changes(
        self, means: Mapping[str, Means]
    ) -> Iterator[tuple[np.ndarray, int, dict[str, np.ndarray]]]:
        """Numbers of some images, a target, and changes (image, source) by the source's layer."""
        layers = tuple(dict.fromkeys(node.layer for node in self.sources.values()))
        model = frozen_copy(self.model)
        like = next(model.parameters())
        instead = {
            name: torch.from_numpy(np.zeros_like(of.mean) if self.value == "zero" else of.mean)
            for name, of in means.items()
        }
        with torch.enable_grad(), _graph(model, layers, self.target) as graph:
            for first in range(0, len(self.images), self.batch_size):
                images = np.arange(first, min(first + self.batch_size, len(self.images)))
                reached, outputs = graph(self.images.at(images, like))
                for unit in self.units:
                    gradients = _gradients(reached[:, unit].sum(), outputs)
                    yield (
                        images,
                        unit,
                        {
                            name: node.first_order(
                                outputs[node.layer].detach(),
                                gradients[node.layer],
                                instead[name].to(like),
                            )
                            .detach()
                            .cpu()
                            .numpy()
                            for name, node in self.sources.items()
                        },
                    )


def _gradients(target: Tensor, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients for each output, zeros where the target does not depend on it."""
    if not target.requires_grad:
        return {layer: torch.zeros_like(output) for layer, output in outputs.items()}
    found = torch.autograd.grad(
        target, list(outputs.values()), retain_graph=True, allow_unused=True
    )
    return {
        layer: torch.zeros_like(output) if gradient is None else gradient
        for (layer, output), gradient in zip(outputs.items(), found, strict=True)
    }


@contextmanager
def _graph(model: nn.Module, layers: Sequence[str], target: Node) -> Iterator[Any]:
    """Passes that keep what layers give, for gradients of what a later one gives."""
    outputs: dict[str, Tensor] = {}

    def keeping(layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            assert tensor is not None, layer
            if not tensor.requires_grad:
                tensor = tensor.detach().requires_grad_()
            outputs[layer] = tensor
            # A copy goes on, for later layers may change it in place.
            new = tensor.clone()
            return new if isinstance(output, Tensor) else type(output)([new, *output[1:]])

        return hook

    def graph(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        outputs.clear()
        reached = forward(images)[target.layer]
        return reached, dict(outputs)

    with ExitStack() as stack:
        for layer in layers:
            handle = find_layer(model, layer).register_forward_hook(keeping(layer))
            stack.callback(handle.remove)
        calls = {target.layer: target.output.n_calls}
        forward = stack.enter_context(stopping(model, calls, reduced({"": target})))
        try:
            yield graph
        finally:
            outputs.clear()
