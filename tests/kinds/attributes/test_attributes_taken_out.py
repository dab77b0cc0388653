"""What the output uses of a layer: networks wired by hand, and what must not change."""

import numpy as np
import pytest
import torch
from tiny_attributes import Wired, attributes_of, measurement_of, stimuli_of
from tiny_models import seeded_net, transformer
from torch import nn

from dvis.kinds.attributes.measure import AttributeTask
from dvis.kinds.attributes.passes import Cut, Passes

pytestmark = pytest.mark.usefixtures("one_thread")
BLOCK = "encoder.layers.encoder_layer_0"


def is_above(found: object, name: str) -> np.ndarray:
    return np.asarray(found[name] > found[f"null_{name}"][:, 1])  # type: ignore[index]


def test_a_layer_that_tells_colour_and_an_output_that_ignores_it() -> None:
    found = attributes_of(Wired(wires=(0, 0, 1)), "seen", "colour")
    assert found.tells.item() > 0.75
    assert is_above(found, "tells").all()
    assert not is_above(found, "uses").any()
    used = attributes_of(Wired(wires=(1, 0, 1)), "seen", "colour")
    np.testing.assert_array_equal(used.tells, found.tells)
    assert is_above(used, "uses").all()
    assert used.uses.item() > 0.8
    assert used.response.item() > found.response.item()


def test_an_output_of_nothing_uses_nothing_and_says_so() -> None:
    found = attributes_of(Wired(wires=(0, 0, 0)), "seen", "colour", "orientation")
    for name in ("uses", "uses_se", "response", "lost", "squared", "null_uses"):
        np.testing.assert_array_equal(found[name], 0)
    assert found.note.values.tolist() == ["the output does not depend on it"] * 2
    assert is_above(found, "tells").all()


def test_a_detector_among_channels_has_the_score() -> None:
    found = attributes_of(Wired(), "seen", "orientation", "colour")
    tilt, hue = found.score.values
    assert abs(tilt[1]) > 0.95
    assert abs(tilt[1]) > found.null_score[0].max().item()
    assert abs(hue[0]) > 0.75
    assert np.abs(tilt[[0, 2]]).max() <= found.null_score[0].max().item()


def test_what_goes_is_what_a_plain_projection_of_means_takes() -> None:
    """Of an output that is linear in the layer's means, worked out by hand."""
    model = Wired(gains=(1, 1, 1), wires=(1, 0, 0.5))
    found = attributes_of(model, "seen", "colour", n_pairs=20)
    stimuli = stimuli_of("colour", n_pairs=20, size=24)
    with torch.no_grad():
        images = stimuli.batch(0, 40, torch.zeros(()))
        means = model.seen(images).mean((2, 3)).double().numpy()
    wires = model.out.weight.detach().double().numpy()
    measurement = measurement_of(model, ("seen",), stimuli, "colour")
    steps = means[1::2] - means[::2]
    lost, squared = np.zeros(20), np.zeros(20)
    for pair in range(20):
        direction = steps[measurement.folds != measurement.folds[pair]].mean(0)
        direction /= np.linalg.norm(direction)
        before = wires @ steps[pair]
        after = wires @ (steps[pair] - direction * (direction @ steps[pair]))
        lost[pair], squared[pair] = (before - after) @ before, before @ before
    assert found.uses.item() == pytest.approx(lost.sum() / squared.sum(), abs=1e-5)
    np.testing.assert_allclose(found.lost[0] / found.squared[0], lost / squared, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "layer"),
    [(seeded_net(), "bn1"), (seeded_net(), "fc"), (transformer(), BLOCK), (Wired(), "seen")],
)
def test_taking_nothing_out_changes_nothing_at_all(model: nn.Module, layer: str) -> None:
    stimuli = stimuli_of("colour", n_pairs=10)
    measurement = measurement_of(model, (layer,), stimuli, "colour")
    output, rows = measurement.outputs[layer], np.arange(20)
    passes = Passes(network=model, images=stimuli, rows=rows, batch_size=7)
    _, outputs = passes.looked_at({layer: output})
    with torch.no_grad():
        plain = model(stimuli.batch(0, 7, torch.zeros(()))).flatten(1).double().numpy()
    np.testing.assert_array_equal(outputs[:7], plain)
    directions = np.random.default_rng(0).standard_normal((1, 1, output.n_channels))
    ones = np.ones((1, 1))
    folds = np.zeros(20, np.int64)
    for cut in (
        Cut(directions=directions, offsets=ones, strengths=0 * ones),
        Cut(directions=0 * directions, offsets=ones, strengths=ones),
    ):
        np.testing.assert_array_equal(passes.without(layer, output, cut, folds, [0])[0], outputs)
    real = Cut(directions=directions, offsets=0 * ones, strengths=ones)
    assert not np.array_equal(passes.without(layer, output, real, folds, [0])[0], outputs)
    assert not [each for each in model.modules() if each._forward_hooks]


class Around(nn.Module):
    """Some of what comes later goes around its layer, with as many rows as there are images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.first(images)
        return self.out((hidden + self.then(hidden).relu()).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "layer", "is_together"),
    [
        (seeded_net(), "bn1", True),
        (seeded_net(), "fc", True),
        (transformer(), BLOCK, True),
        (Around(), "first", True),
        (Around(), "then", False),
    ],
)
def test_draws_together_are_draws_one_by_one(
    model: nn.Module, layer: str, is_together: bool
) -> None:
    stimuli = stimuli_of("colour", n_pairs=10)
    measurement = measurement_of(model, (layer,), stimuli, "colour", n_random=3)
    passes = Passes(network=model, images=stimuli, rows=np.arange(20), batch_size=4)
    layers = dict(measurement.outputs)
    cut = measurement._cuts(passes, layers, passes.looked_at(layers)[0])[layer]
    output, folds = layers[layer], np.repeat(measurement.folds, 2)
    n_rows: list[int] = []
    handle = model.register_forward_hook(lambda *given: n_rows.append(len(given[2])))
    found = passes.without(layer, output, cut, folds, range(4))
    handle.remove()
    assert (max(n_rows) == 4 * 4) == is_together
    for draw in range(4):
        (alone,) = passes.without(layer, output, cut, folds, [draw])
        np.testing.assert_allclose(found[draw], alone, atol=1e-5)


def test_random_directions_change_a_layer_as_far() -> None:
    model, stimuli = seeded_net(), stimuli_of("size", n_pairs=15)
    measurement = measurement_of(model, ("conv2",), stimuli, "size", n_random=3)
    passes = Passes(network=model, images=stimuli, rows=np.arange(30), batch_size=30)
    layers = dict(measurement.outputs)
    values, _ = passes.looked_at(layers)
    cut = measurement._cuts(passes, layers, values)["conv2"]
    lengths = np.linalg.norm(cut.directions, axis=-1)
    np.testing.assert_allclose(lengths, 1)
    own, others = cut.directions[:, :1], cut.directions[:, 1:]
    np.testing.assert_allclose((own * others).sum(-1), 0, atol=1e-9)
    with torch.no_grad():
        hidden = torch.relu(model.bn1(model.conv1(stimuli.batch(0, 30, torch.zeros(())))))
        maps = model.conv2(hidden)
    learnt = np.repeat(measurement.folds, 2) != 0
    changes = [maps - cut.of(maps, 1, np.zeros(30, np.int64), draw) for draw in range(1 + 3)]
    sizes = [float((change[torch.from_numpy(learnt)] ** 2).mean()) for change in changes]
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-4)


@pytest.mark.parametrize("layer", ["bn1", "conv2"])
def test_networks_that_mix_a_batch_see_images_alone(layer: str) -> None:
    """Also where it is mixed behind the layer alone, which the output shows."""
    model = seeded_net()
    norm = model.bn2
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    stimuli = stimuli_of("colour", n_pairs=10)
    measurement = measurement_of(model, (layer,), stimuli, "colour", n_random=2)
    task = AttributeTask((layer,), ("colour",), (0,))
    found = measurement.measure(model, task)
    assert "one at a time" in found.attrs["notes"][0]
    measurement.batch_size = 1
    alone = measurement.measure(model, task)
    for name in ("tells", "uses", "lost"):
        np.testing.assert_array_equal(found[name], alone[name])
    assert found.error.item() == ""
