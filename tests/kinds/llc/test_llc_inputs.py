"""What is sampled, and over what: choices of weights, and samples of any data."""

from collections.abc import Callable
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
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import noise_images

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


def squared(model: nn.Module, batch: Any, *, power: float = 2) -> Tensor:
    return (model(batch[0])[:, 0] - batch[1]) ** power


class Distance:
    """An object that is called."""

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        return squared(model, batch)

    @classmethod
    def doubled(cls, model: nn.Module, batch: Any) -> Tensor:
        return 2 * squared(model, batch)


def within() -> Any:
    return lambda model, batch: squared(model, batch)


SHARED_NAMES = [
    lambda: partial(squared, power=3),
    within,
    Distance,
    lambda: Distance().__call__,
]


def test_a_loss_with_a_name_of_its_own_needs_no_tag() -> None:
    assert loss_identity("mse") == {"loss": "mse"}
    assert loss_identity(squared) == {"loss": "test_llc_inputs:squared", "loss_tag": ""}
    assert loss_identity(Distance.doubled) == {
        "loss": "test_llc_inputs:Distance.doubled",
        "loss_tag": "",
    }


@pytest.mark.parametrize("make", SHARED_NAMES)
def test_a_loss_that_shares_its_name_needs_a_tag(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r'shares that name .* Tag it, loss\.dvis_tag = "v1"'):
        loss_identity(make())


@pytest.mark.parametrize("tag", ["v1", "v2"])
@pytest.mark.parametrize("make", SHARED_NAMES[:3])
def test_a_tag_tells_losses_of_one_name_apart(make: Callable[[], Any], tag: str) -> None:
    loss = make()
    loss.dvis_tag = tag
    assert loss_identity(loss)["loss_tag"] == tag
    assert loss_identity(loss)["loss"].startswith("test_llc_inputs:")


def test_the_identity_of_a_loss_does_not_look_at_its_code() -> None:
    spaces: list[dict[str, Any]] = [{"__name__": "mine"}, {"__name__": "mine"}]
    for space, result in zip(spaces, ("1", "batch + 1"), strict=True):
        exec(f"def loss(model, batch): return {result}", space)
    assert loss_identity(spaces[0]["loss"]) == loss_identity(spaces[1]["loss"])


def test_a_tag_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squared, "dvis_tag", 2, raising=False)
    with pytest.raises(TypeError, match="dvis_tag 2, of type int; give a text"):
        loss_identity(squared)
