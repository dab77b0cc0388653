"""What is sampled, and over what: choices of weights, and samples of any data."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import seeded_net
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from dvis.kinds.llc.measure.loss_identity import loss_identity
from dvis.kinds.llc.measure.samples import samples_of
from dvis.kinds.llc.measure.weights import chosen, count, digest, labelled_choices
from dvis.kinds.responses.fixed_images import noise_images
from dvis.models.data import InputTransform, load_images

pytestmark = pytest.mark.usefixtures("one_thread")

# Weights


def test_weights_are_chosen_by_expression_and_mask() -> None:
    model = seeded_net()
    assert list(chosen(model, r"^conv")) == ["conv1.weight", "conv2.weight"]
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[1] = True
    assert count(model, {"fc.weight": mask, "fc.bias": True, "bn1.bias": False}) == 20
    assert count(model, None) == sum(p.numel() for p in model.parameters())
    assert labelled_choices({"first": "conv1", "head": {"fc.bias": True}}).keys() == {
        "first",
        "head",
    }
    assert list(labelled_choices({"fc.bias": True})) == ["mask"]


@pytest.mark.parametrize(
    ("choice", "error", "text"),
    [
        ("conv1.weigth", KeyError, "Did you mean 'conv1.weight'"),
        ("conv(", ValueError, "no regular expression"),
        ({"fc.weigth": True}, KeyError, "Did you mean 'fc.weight'"),
        ({"fc.weight": torch.ones(3, dtype=torch.bool)}, ValueError, "must be boolean"),
        ({"fc.bias": torch.ones(4)}, ValueError, "must be boolean"),
        ({"fc.bias": False}, KeyError, "every mask is false"),
    ],
)
def test_weights_that_are_not_there_are_refused(
    choice: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(")):
        chosen(seeded_net(), choice)


def test_models_are_told_apart_by_weights_and_buffers() -> None:
    one, same, other = seeded_net(0), seeded_net(0), seeded_net(0)
    other.bn1.running_mean[0] += 1e-3
    assert digest(one) == digest(same) != digest(other)


# Samples


class Augmented(Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3,), float(index)) + torch.rand(3), index % 2


class Plain(Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"x": torch.full((3,), float(index)), "y": index % 2}


def test_random_augmentation_is_refused_unless_allowed() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="allow_random=True"):
        samples_of(Augmented())
    assert len(samples_of(Augmented(), allow_random=True)) == 20
    assert len(samples_of(Plain())) == 20
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_read_by_position_in_the_precision_of_the_model() -> None:
    batch = samples_of(Plain()).batch(np.array([3, 1]), torch.zeros(1, dtype=torch.float64))
    assert batch["x"].dtype == torch.float64
    assert batch["x"][:, 0].tolist() == [3.0, 1.0]
    assert batch["y"].tolist() == [1, 1]
    pair = samples_of((torch.arange(5.0), torch.arange(5)))
    values, labels = pair.batch(np.array([4, 0]), torch.zeros(1))
    assert values.tolist() == [4.0, 0.0]
    assert labels.dtype == torch.int64
    tensors = TensorDataset(torch.arange(5.0), torch.arange(5))
    assert samples_of(tensors).fingerprint == pair.fingerprint


def test_images_are_read_as_the_model_takes_them() -> None:
    shapes = load_images("shapes", split="val", size=16, n_samples=10)
    pictures, labels = samples_of(shapes).batch(np.array([7, 2, 2]), torch.zeros(1))
    expected = [shapes[i] for i in (7, 2, 2)]
    assert torch.equal(pictures, torch.stack([picture for picture, _ in expected]))
    assert labels.tolist() == [label for _, label in expected]


def test_data_without_labels_length_or_samples_is_refused() -> None:
    transform = InputTransform(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(ValueError, match="no labels"):
        samples_of(noise_images(3, 0, transform))
    with pytest.raises(TypeError, match="no set of samples"):
        samples_of(iter([1, 2]))
    with pytest.raises(ValueError, match="one first dim"):
        samples_of((torch.zeros(3), torch.zeros(4)))
    with pytest.raises(ValueError, match="empty"):
        samples_of((torch.zeros(0, 3), torch.zeros(0)))


# Losses


def weighted(model: nn.Module, batch: Any, *, power: float = 2, weights: Any = None) -> Tensor:
    """Distance to a power."""
    return scaled(model(batch[0])[:, 0] - batch[1]) ** power


def scaled(errors: Tensor) -> Tensor:
    return errors * SCALE


SCALE = 1.0


class Distance:
    """An object that is called."""

    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        return weighted(model, batch, power=self.power)


def to_the_power(power: float) -> Any:
    return lambda model, batch: weighted(model, batch, power=power)


def fingerprint(loss: Any) -> str:
    return loss_identity(loss)["loss_fingerprint"]


def losses_of_one_name() -> list[Any]:
    """Pairs of which each has one name, and does two things."""
    some, others = torch.ones(3), torch.tensor([1.0, 1.0, 2.0])
    return [
        (partial(weighted, power=2), partial(weighted, power=3)),
        (partial(weighted, weights=some), partial(weighted, weights=others)),
        (lambda model, batch: model(batch[0])[:, 0], lambda model, batch: model(batch[0])[:, 1]),
        (to_the_power(2), to_the_power(4)),
        (Distance(2), Distance(3)),
        (Distance(2).__call__, Distance(3).__call__),
        (lambda model, batch: model(batch[0]).sum(1), lambda model, batch: model(batch[0]).mean(1)),
    ]


@pytest.mark.parametrize("place", range(7))
def test_losses_of_one_name_are_told_apart_by_what_they_do(place: int) -> None:
    one, other = losses_of_one_name()[place]
    again = losses_of_one_name()[place][0]
    assert loss_identity(one)["loss"] == loss_identity(other)["loss"]
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(again)


def test_what_a_loss_names_of_its_own_module_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(weighted)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert fingerprint(weighted) != before
    monkeypatch.undo()
    assert fingerprint(weighted) == before
    monkeypatch.setitem(globals(), "scaled", lambda errors: errors)
    assert fingerprint(weighted) != before


def test_named_losses_have_their_name_alone() -> None:
    assert loss_identity("mse") == {"loss": "mse"}
    assert loss_identity(partial(weighted, power=3))["loss"] == "test_llc_inputs:weighted"


SOURCE = '''
import math

def loss(model, batch, weights={"a": 1.0, "b": (2, None)}):
    """Some words."""
    return sum(x for x in batch if x in {0, 8}) * math.pi
'''


def loss_of(source: str) -> Any:
    space: dict[str, Any] = {"__name__": "mine"}
    exec(source, space)
    return space["loss"]


def test_a_loss_is_the_same_when_it_is_read_again_and_with_other_comments() -> None:
    before = fingerprint(loss_of(SOURCE))
    for words, others in (
        ("", ""),
        ("    return", "    # why\n\n    return"),
        ("Some words", "Other words"),
        ("{0, 8}", "{8, 0}"),  # as sets of texts are in no fixed order from process to process
    ):
        assert fingerprint(loss_of(SOURCE.replace(words, others))) == before
    for words, others in (("math.pi", "math.e"), ("1.0", "2.0"), ("{0, 8}", "{0, 9}")):
        assert fingerprint(loss_of(SOURCE.replace(words, others))) != before
