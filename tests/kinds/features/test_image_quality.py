"""Feature images of networks that have learnt something: better than what needs no search."""

import numpy as np
import pytest
import torch
import xarray as xr
from slowly import slowly
from tiny_trained import COLOURED, GREY, LOGITS, MEAN, STD, trained
from torch import Tensor, nn

from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation
from dvis.kinds.features.measure.steps import PartlyAdaptive
from dvis.kinds.features.options import feature_settings
from dvis.schema import NOTES

pytestmark = pytest.mark.usefixtures("one_thread")


def measured(
    model: nn.Module,
    n_colours: int,
    size: int,
    layer: str,
    channels: tuple[int, ...],
    n_images: int = 1,
    **options: object,
) -> xr.Dataset:
    features = FeatureVisualisation(
        settings=feature_settings("default", options),
        mean=(MEAN,) * n_colours,
        std=(STD,) * n_colours,
        image_size=size,
        number_of_images=n_images,
        batch_size=16,
    )
    return features.measure(model, FeatureTask(layer, "average", channels))


def of_constants(
    model: nn.Module, n_colours: int, size: int, layer: str, channels: tuple[int, ...]
) -> np.ndarray:
    """Activations (image, channel) of a black, a grey and a white image."""
    outputs: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    values = torch.linspace(0, 1, 3)[:, None, None, None].expand(-1, n_colours, size, size)
    with torch.no_grad():
        model((values - MEAN) / STD)
    hook.remove()
    maps = outputs[0] if outputs[0].ndim == 4 else outputs[0][:, :, None, None]
    return maps.mean((2, 3))[:, list(channels)].numpy()


ALL = ("conv2", "conv3", LOGITS)
CASES = [
    (GREY, 8, ALL, 256),
    slowly(GREY, 28, ALL, 256),
    (COLOURED, 28, ALL, 256),
    (COLOURED, 64, (LOGITS,), 96),
    slowly(GREY, 224, (LOGITS,), 48),
]


@pytest.mark.parametrize(("n_colours", "size", "layers", "n_steps"), CASES)
def test_default_beats_black_grey_and_white(
    n_colours: int, size: int, layers: tuple[str, ...], n_steps: int
) -> None:
    model, channels = trained(n_colours, 8 if size == 8 else 28), (0, 1, 2)
    for layer in layers:
        made = measured(model, n_colours, size, layer, channels, max_iterations=n_steps)
        best = made["activation"].values[0]
        constants = of_constants(model, n_colours, size, layer, channels)
        # Where a constant image is nearly the best, nearly as high is all that there is.
        slack = 0.02 * (constants.max(0) - constants.min(0))
        assert (best >= constants.max(0) - slack).all(), layer
        if layer == LOGITS:
            assert (best > constants.max(0) + 1).all()


@pytest.mark.parametrize("n_colours", [GREY, COLOURED])
def test_edges_and_corners_are_of_the_colour_that_activates(n_colours: int) -> None:
    # Of a mean before the first ReLU every pixel has its own best end of the range.
    model, size, channels = trained(n_colours, 28), 28, (0, 1, 2)
    weights = model.get_submodule("conv1").weight.detach()
    inputs = torch.zeros(1, n_colours, size, size, requires_grad=True)
    made = measured(model, n_colours, size, "conv1", channels)["image"].values[0]
    shares = []
    for channel, image in zip(channels, made, strict=True):
        inputs.grad = None
        nn.functional.conv2d(inputs, weights, padding=1)[0, channel].mean().backward()
        wanted = (inputs.grad[0] > 0).float().movedim(0, -1).numpy()
        shares.append(np.mean(np.abs(image[..., :n_colours] / 255 - wanted) < 0.5))
    assert np.mean(shares) > 0.97


def test_a_layer_that_is_linear_in_the_image_is_said() -> None:
    model = trained(GREY, 28)
    made = {
        layer: measured(model, GREY, 28, layer, (0, 1), max_iterations=16).attrs[NOTES]
        for layer in ("conv1", "conv2", "conv3", LOGITS)
    }
    (note,) = made.pop("conv1")
    assert note.startswith("conv1, channels 0, 1: ")
    assert "linear in the image" in note
    assert made == {"conv2": [], "conv3": [], LOGITS: []}


def test_diversity_of_weight_1_makes_images_differ_at_a_tenth_of_their_activation() -> None:
    model, channels = trained(GREY, 28), (0, 1, 2)
    plain, diverse = (
        measured(model, GREY, 28, "conv3", channels, 3, diversity_weight=weight, max_iterations=96)
        for weight in (0.0, 1.0)
    )
    gain = plain["activation"] > 1  # of the others a share means little
    kept = (diverse["activation"] / plain["activation"]).where(gain).mean()
    assert likeness(diverse).mean() < likeness(plain).mean() - 0.1
    assert kept > 0.9


def likeness(made: xr.Dataset) -> np.ndarray:
    """Mean correlation of the images of a unit, (channel,)."""
    images = made["image"].values[..., 0].astype(float)
    n_images = len(images)
    pairs = [(i, j) for i in range(n_images) for j in range(i)]
    return np.array(
        [
            np.mean([np.corrcoef(of[i].ravel(), of[j].ravel())[0, 1] for i, j in pairs])
            for of in images.swapaxes(0, 1)
        ]
    )


def test_steps_that_share_nothing_are_adams() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    matrix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    reached = []
    for make in (
        lambda p: torch.optim.Adam([p], lr=1.0, weight_decay=0.01),
        lambda p: PartlyAdaptive(p, 0.0, 0.01),
    ):
        parameters = start.clone().requires_grad_()
        steps = make(parameters)
        for _ in range(10):
            steps.zero_grad()
            (parameters @ matrix).square().sum().backward()
            steps.param_groups[0]["lr"] = 0.1
            steps.step()
        reached.append(parameters.detach())
    torch.testing.assert_close(*reached, rtol=0, atol=1e-6)


def test_steps_that_share_all_follow_the_gradient_and_keep_their_length() -> None:
    parameters = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([[1.0, 0, 0, 0], [1e-6, 2e-6, 0, 0]], dtype=torch.float64)
    steps = PartlyAdaptive(parameters, 1.0)
    steps.param_groups[0]["lr"] = 0.1
    parameters.grad = gradient
    steps.step()
    moved = parameters.detach()
    cosine = torch.nn.functional.cosine_similarity(moved, -gradient)
    torch.testing.assert_close(cosine, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(
        moved.square().mean(1).sqrt(), torch.full((2,), 0.1, dtype=torch.float64), rtol=1e-5, atol=0
    )
