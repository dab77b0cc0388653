"""Feature visualisation: what the engine promises, against a plain loop over one unit."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torchvision
from slowly import slowly
from tiny_models import seeded_net, transformer
from torch import Tensor, nn

from dvis.kinds.features.measure import (
    FeatureVisualisation,
    channel,
    class_logit,
    direction,
    neuron,
)
from dvis.kinds.features.measure.engine import Normalisation, maximise
from dvis.kinds.features.measure.objectives import Objective
from dvis.kinds.features.measure.parametrisations import (
    ImageSpace,
    Maco,
    mean_magnitude,
    parametrisation,
)
from dvis.kinds.features.options import feature_settings
from dvis.models.hooks import LayerOutput

PLAIN = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
UNIT = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)

pytestmark = pytest.mark.usefixtures("one_thread")


def space(size: int, channels: int = 3, dtype: torch.dtype = torch.float64) -> ImageSpace:
    return ImageSpace(channels=channels, height=size, width=size, dtype=dtype)


def plain_loop(
    model: nn.Module, layer: str, index: int, image: Tensor, n_steps: int
) -> tuple[Tensor, list[float]]:
    """The old command's loop: one unit, the whole model, a hook, Adam with weight decay."""
    seen: dict[str, Tensor] = {}
    module = dict(model.named_modules())[layer]
    handle = module.register_forward_hook(lambda _m, _i, out: seen.update(out=out))
    image = image.clone().requires_grad_()
    adam = torch.optim.Adam([image], lr=0.1, weight_decay=0.01)
    losses = []
    for _ in range(n_steps):
        adam.zero_grad()
        model(image[None])
        loss = -seen["out"][0, index].mean()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    handle.remove()
    return image.detach(), losses


@pytest.mark.parametrize(
    "layer", ["layer1", "layer2.0.bn1", *map(slowly, ("layer2.0.conv1", "layer3", "avgpool"))]
)
def test_original_preset_is_the_plain_loop_in_float64(layer: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=4).double().eval()
    if layer == "layer2.0.bn1":  # a plain hook would see what the in-place ReLU makes of it
        model.layer2[0].relu.inplace = False
    param = parametrisation("pixel", space(48))
    settings = feature_settings("original", {"max_iterations": 12, "stop_rule": "never"})
    seeds = [5, 6, 7]
    start = param.start([torch.Generator().manual_seed(seed) for seed in seeds])
    objectives = [channel(layer, index) for index in range(3)]
    results = maximise(model, objectives, param, PLAIN, settings, seeds=seeds)
    for index, result in enumerate(results):
        image, losses = plain_loop(model, layer, index, start[index], 12)
        torch.testing.assert_close(result.last, image, rtol=0, atol=1e-10)
        np.testing.assert_allclose(result.losses, losses, rtol=0, atol=1e-10)


def test_original_preset_stops_where_its_last_losses_agree() -> None:
    model = seeded_net().double()
    param = parametrisation("pixel", space(16))
    settings = feature_settings("original", {"convergence_threshold": 1e-2})
    (result,) = maximise(model, [channel("conv2", 0)], param, PLAIN, settings, seeds=[0])
    start = param.start([torch.Generator().manual_seed(0)])[0]
    _, losses = plain_loop(model, "conv2", 0, start, result.stop_step)
    near = [abs(b - a) < 1e-2 for a, b in itertools.pairwise(losses)]
    assert 1 < result.stop_step < 1000
    assert near[-1]
    assert not any(near[:-1])


@pytest.mark.parametrize("param_name", ["pixel", "fourier", "maco"])
def test_a_unit_alone_and_in_a_batch_of_16_has_the_same_image(param_name: str) -> None:
    model = seeded_net().double()
    param = parametrisation(param_name, space(16))
    settings = feature_settings(
        "default",
        {"max_iterations": 24, "min_iterations": 4, "convergence_window": 3,
         "convergence_threshold": 0.05},
    )  # fmt: skip
    objectives = [channel("conv2", index) for index in range(16)]
    together = maximise(model, objectives, param, UNIT, settings, seeds=list(range(100, 116)))
    assert len({result.stop_step for result in together}) > 1  # some left the batch early
    for index in (0, 7, 15):
        (alone,) = maximise(model, [objectives[index]], param, UNIT, settings, seeds=[100 + index])
        assert alone.stop_step == together[index].stop_step
        torch.testing.assert_close(alone.best, together[index].best, rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.last, together[index].last, rtol=0, atol=1e-9)


def widths(outputs: dict[str, LayerOutput]) -> dict[str, int]:
    return {layer: output.n_channels for layer, output in outputs.items()}


def measurement(**changes: object) -> FeatureVisualisation:
    options = {"max_iterations": 12, "min_iterations": 4}
    given = {"image_size": 16, "mean": UNIT.mean, "std": UNIT.std, "layers": ("conv2",)}
    given["batch_size"] = 16
    given["settings"] = feature_settings("default", options)
    return FeatureVisualisation(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["default", "original"])
def test_stored_image_gives_the_stored_activation(preset: str) -> None:
    model = seeded_net()
    made = measurement(settings=feature_settings(preset, {"max_iterations": 12}))
    (task,) = made.tasks(made.outputs(model))
    result = made.measure(model, task).isel(image_number=0)
    table = made.parameters
    for index in range(8):
        of_unit = result.isel(channel=index)
        low, high = float(of_unit.value_min), float(of_unit.value_max)
        values = low + of_unit.image.values.astype(np.float32) / 255 * (high - low)
        inputs = (values - np.float32(table["input_mean"])) / np.float32(table["input_std"])
        conv = nn.Sequential(model.conv1, model.bn1, nn.ReLU(), model.conv2)
        with torch.no_grad():
            reached = conv(torch.from_numpy(inputs.astype(np.float32)).movedim(-1, 0)[None])
        assert float(of_unit.activation) == pytest.approx(reached[0, index].mean().item(), rel=1e-2)


def test_images_gain_on_their_start() -> None:
    made = measurement(settings=feature_settings("default", {"max_iterations": 40}))
    (task,) = made.tasks(made.outputs(seeded_net()))
    result = made.measure(seeded_net(), task)
    assert (result.activation > -result.loss.isel(step_in_run=0)).all()


def test_callers_model_and_generators_are_left_alone() -> None:
    model = seeded_net()
    model.conv1.weight.requires_grad_(False)
    before, random_state = copy.deepcopy(model), torch.get_rng_state()
    made = measurement(layers=("relu",))
    made.measure(model, made.tasks(made.outputs(model))[0])
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [
        p.requires_grad for p in before.parameters()
    ]
    assert all(p.grad is None for p in model.parameters())
    assert [module.training for module in model.modules()] == [
        module.training for module in before.modules()
    ]
    for (name, value), expected in zip(
        model.state_dict().items(), before.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name
        assert value.stride() == expected.stride(), name


@pytest.mark.parametrize(
    ("layer", "n_channels"),
    [
        ("conv_proj", 12),
        ("encoder.layers.encoder_layer_0", 12),
        ("encoder.layers.encoder_layer_0.mlp.0", 24),
        ("encoder.layers.encoder_layer_1.self_attention", 12),
        ("heads", 5),
    ],
)
def test_outputs_of_two_three_and_four_dimensions(layer: str, n_channels: int) -> None:
    model = transformer()
    settings = feature_settings("default", {"max_iterations": 40})
    made = measurement(layers=(layer,), channels=(0, 4), settings=settings)
    assert widths(made.outputs(model)) == {layer: n_channels}
    (task,) = made.tasks(made.outputs(model))
    result = made.measure(model, task)
    assert result.sizes["channel"] == 2
    assert (result.activation > -result.loss.isel(step_in_run=0)).all()


def test_swin_and_convnext_channels_are_found_where_they_are() -> None:
    swin = torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=[4, 4]
    ).eval()
    made = measurement(layers=("features.1", "features.1.0.mlp.0", "features.0.0"), image_size=32)
    assert widths(made.outputs(swin)) == {
        "features.1": 8,
        "features.1.0.mlp.0": 32,
        "features.0.0": 8,
    }
    convnext = torchvision.models.convnext_tiny().eval()
    made = measurement(layers=("features.1.0.block.4", "features.1.0"), image_size=32)
    assert widths(made.outputs(convnext)) == {"features.1.0.block.4": 384, "features.1.0": 96}


def test_dead_units_are_told_and_stop() -> None:
    model = seeded_net()
    model.bn2.bias.data[:] = 0.5
    model.bn2.bias.data[3] = -100.0
    settings = feature_settings(
        "default", {"max_iterations": 30, "convergence_window": 5, "min_iterations": 25}
    )
    made = measurement(layers=("relu",), settings=settings, channels=(2, 3))
    (task,) = made.tasks(made.outputs(model))
    result = made.measure(model, task).isel(image_number=0)
    assert result.is_dead.values.tolist() == [False, True]
    assert result.stop_step.values[1] == 5
    assert result.activation.values[1] == 0


def test_a_unit_whose_numbers_are_not_finite_fails_alone() -> None:
    model = seeded_net()
    model.conv2.weight.data[2] = np.nan
    made = measurement(channels=(1, 2, 3))
    (task,) = made.tasks(made.outputs(model))
    errors = made.measure(model, task)["error"].values[0].tolist()
    assert errors[0] == errors[2] == ""
    assert "nan" in errors[1]


def test_several_images_differ_more_under_diversity() -> None:
    def likeness(weight: float) -> float:
        options = {"max_iterations": 40, "diversity_weight": weight, "stop_rule": "never"}
        settings = feature_settings("default", options)
        made = measurement(number_of_images=2, settings=settings, channels=(0, 1, 2, 3))
        (task,) = made.tasks(made.outputs(seeded_net()))
        images = made.measure(seeded_net(), task).image.values.reshape(2, 4, -1).astype(float)
        pairs = zip(images[0], images[1], strict=True)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))

    assert likeness(5.0) < likeness(0.0) - 0.05


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("name", ["pixel", "fourier"])
def test_parameters_of_an_image_give_it_back(name: str, channels: int) -> None:
    param = parametrisation(name, ImageSpace(channels=channels, height=9, width=12))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, 9, 12, generator=generator) * 0.9 + 0.05
    torch.testing.assert_close(param.decode(param.encode(images)), images, rtol=0, atol=1e-4)


def test_maco_keeps_the_magnitude_that_it_is_given() -> None:
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    magnitude = mean_magnitude(images, space(8))
    param = Maco(space(8), magnitude)
    made = param.decode(param.start([torch.Generator().manual_seed(1)]))
    # Where a real image leaves the phase free, between the lowest and the highest frequency.
    again = mean_magnitude(made, space(8))[:, :, 1:-1]
    torch.testing.assert_close(again, magnitude[:, :, 1:-1], rtol=2e-2, atol=1e-3)


def values_of(objectives: list[Objective]) -> list[float]:
    settings = feature_settings("original", {"max_iterations": 1})
    param = parametrisation("pixel", space(16))
    seeds = [3] * len(objectives)
    model = seeded_net().double()
    return [-r.losses[0] for r in maximise(model, objectives, param, PLAIN, settings, seeds=seeds)]


def test_objectives_add_subtract_and_scale() -> None:
    first, second = channel("conv2", 1), neuron("conv1", 2, 3, 4)
    logit, along = class_logit(2), direction("conv2", [0, 2] + [0] * 14)
    total = channel("conv2", 1, aggregation="sum")
    a, b, c, d, e, mixed = values_of(
        [first, second, logit, along, total, first - 2 * second + logit]
    )
    assert mixed == pytest.approx(a - 2 * b + c)
    assert d == pytest.approx(a)
    assert e == pytest.approx(a * 8 * 8)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"layers": ("conv3",)}, KeyError, "Did you mean 'conv"),
        ({"channels": (16,)}, ValueError, "has 16 channels: 0 to 15"),
        ({"neurons": ((8, 0),)}, ValueError, "8 rows and 8 columns"),
    ],
)
def test_units_that_a_model_does_not_have(
    changes: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        measurement(**changes).outputs(seeded_net())


def test_a_layer_without_channels_is_refused() -> None:
    class Scalar(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scalar = nn.Conv2d(3, 2, 3), Scalar()

        def forward(self, images: Tensor) -> Tensor:
            return self.scalar(self.conv(images))

    with pytest.raises(ValueError, match="gives no channels"):
        measurement(layers=("scalar",)).outputs(Model().eval())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"gauss_kernel_size": 4}, "must be odd"),
        ({"scale_range": (1.1, 0.9)}, "smaller first"),
    ],
)
def test_options_out_of_range(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        feature_settings("default", options)
    with pytest.raises(KeyError, match="Did you mean 'use_jitter'"):
        feature_settings("default", {"use_jiter": True})
