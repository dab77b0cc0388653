"""Chains of a model: whose they are, what they leave alone, and what they give again."""

import pickle
import random
from typing import ClassVar

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import convolutional, seeded_net
from torch import Tensor, nn

from dvis.kinds.llc.measure import ChainTask, LocalLearning, StartTask, estimate, samples_of
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.llc.words import ChainStatus
from dvis.models.data import load_images

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = ChainSettings(draws=8, burn_in=4, batch_size=8, diagnostics_every=3)
TASK = ChainTask("all", 1e-4, 100.0, (0, 1))


def pictures(n_images: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_images, 3, 8, 8, generator=generator), torch.arange(n_images) % 4


def measurement(settings: ChainSettings = SETTINGS, **changed: object) -> LocalLearning:
    return LocalLearning(
        samples=samples_of(pictures()), settings=settings, **({"batched": False} | changed)
    )


def everything(model: nn.Module) -> list[object]:
    """All that could have been changed of a model, and of what random numbers come next."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [tensor.detach().numpy().tobytes() for tensor in tensors],
        [id(tensor) for tensor in tensors],
        [tensor._version for tensor in tensors],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
        [module.training for module in model.modules()],
        [sorted(vars(module)) for module in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        random.getstate(),
    ]


@pytest.mark.parametrize("mode", ["eval", "batch", "recalibrate"])
@pytest.mark.parametrize("batched", [False, True])
def test_defect_3_the_callers_model_is_bit_identical(mode: str, batched: bool) -> None:
    model = convolutional(4).train()
    model[0].weight.requires_grad_(False)
    model[6](torch.randn(2, 64)).sum().backward()
    before = everything(model)
    settings = ChainSettings(draws=3, burn_in=1, batch_size=8, mode=mode)
    of_all = measurement(settings, batched=batched)
    of_all.measure(model, StartTask(("all",)))
    of_all.measure(model, TASK)
    assert everything(model) == before


def test_a_diverged_chain_leaves_the_model_alone_too() -> None:
    model = seeded_net()
    before = everything(model)
    result = measurement().measure(model, ChainTask("all", 1e9, 0.0, (0,)))
    assert everything(model) == before
    assert result["status"].item() == ChainStatus.DIVERGED


def test_defect_2_divergence_is_reported_with_what_was_finite() -> None:
    result = measurement().measure(seeded_net(), ChainTask("all", 1e9, 0.0, (0, 1)))
    n_finite = result["n_finite"].values
    assert (result["status"] == ChainStatus.DIVERGED).all()
    assert (n_finite < SETTINGS.n_steps).all()
    assert (result["n_draws"] == SETTINGS.n_steps).all()
    for chain, n in enumerate(n_finite):
        assert np.isfinite(result["loss"].values[chain, :n]).all()
        assert np.isnan(result["loss"].values[chain, n:]).all()


def test_defect_5_every_method_moves_weights_by_its_gradients() -> None:
    """At a temperature of nothing the noise is nothing, and the loss must fall."""
    for method in ("sgld", "rmsprop"):
        settings = ChainSettings(
            draws=40, burn_in=0, batch_size=20, nbeta=1e6, method=method, diagnostics_every=0
        )
        result = measurement(settings).measure(seeded_net(), ChainTask("all", 1e-8, 0.0, (0,)))
        losses = result["loss"].values[0]
        assert losses[-1] < losses[0] - 0.01, method


def test_defect_7_acceptance_is_of_one_minibatch_and_of_no_other_chain() -> None:
    """Tiny steps are accepted for sure, which losses of two minibatches would not show."""
    settings = ChainSettings(draws=10, burn_in=0, batch_size=8, diagnostics_every=1, nbeta=1000.0)
    small = measurement(settings).measure(seeded_net(), ChainTask("all", 1e-9, 100.0, (0, 1)))
    np.testing.assert_allclose(small["mala"], 1, atol=1e-3)
    large = measurement(settings).measure(seeded_net(), ChainTask("all", 3e-3, 100.0, (0, 1)))
    assert (large["mala"] < 0.9).all()
    alone = measurement(settings).measure(seeded_net(), ChainTask("all", 3e-3, 100.0, (1,)))
    assert alone["mala"].item() == large["mala"].values[1]


def test_defects_8_and_12_the_start_is_measured_once_over_the_whole_set() -> None:
    model, data = seeded_net(), pictures()
    result = measurement().measure(model, StartTask(("all",)))
    losses = nn.functional.cross_entropy(model(data[0]), data[1], reduction="none").detach()
    assert float(result["init_loss"]) == pytest.approx(float(losses.mean()), rel=1e-6)
    error = float(losses.std()) / np.sqrt(len(losses))
    assert float(result["init_loss_se"]) == pytest.approx(error, rel=1e-5)


def test_the_start_in_minibatches_counts_each_sample_once() -> None:
    settings = ChainSettings(draws=1, batch_size=8, mode="batch")
    twice = [measurement(settings).measure(seeded_net(), StartTask(("all",))) for _ in range(2)]
    xr.testing.assert_identical(*twice)
    assert np.isfinite(float(twice[0]["init_loss"]))


def test_defect_10_traces_and_norms_are_numbers_a_step() -> None:
    result = measurement().measure(seeded_net(), TASK)
    assert set(result["loss"].dims) == {"chain", "draw"}
    assert result.nbytes < 2 * SETTINGS.n_steps * 20 + 400
    distance = result["distance"].values
    is_kept = np.arange(SETTINGS.n_steps) % SETTINGS.diagnostics_every == 0
    for name in ("distance", "grad_norm", "noise_norm"):
        assert (np.isfinite(result[name].values) == is_kept).all(), name
    assert (distance[:, 0] == 0).all()
    assert (np.diff(distance[:, is_kept]) > 0).any()
    n_weights = sum(p.numel() for p in seeded_net().parameters())
    noise_norm = result["noise_norm"].values[:, is_kept]
    np.testing.assert_allclose(noise_norm, np.sqrt(1e-4 * n_weights), rtol=0.1)
    # The first step by hand: the norm of the gradient of the mean loss of the first minibatch.
    off = measurement(ChainSettings(draws=8, burn_in=4, batch_size=8, diagnostics_every=0))
    without = off.measure(seeded_net(), TASK)
    assert np.isnan(without["distance"]).all()
    np.testing.assert_array_equal(without["loss"], result["loss"])


def test_defect_11_two_checkpoints_give_different_traces() -> None:
    results = [measurement().measure(seeded_net(seed), TASK)["loss"].values for seed in (0, 1)]
    assert (results[0] != results[1]).all()


@pytest.mark.parametrize("batched", [False, True])
def test_chains_differ_and_come_again_in_any_order_and_number(batched: bool) -> None:
    of_all = measurement(batched=batched)
    both = of_all.measure(seeded_net(), TASK)
    assert (both["loss"].values[0] != both["loss"].values[1]).all()
    other = of_all.measure(seeded_net(), ChainTask("all", 1e-4, 100.0, (3, 1)))
    check = np.testing.assert_allclose if batched else np.testing.assert_array_equal
    check(other["loss"].sel(chain=1), both["loss"].sel(chain=1))


def test_more_draws_begin_with_the_same_ones() -> None:
    longer = measurement(ChainSettings(draws=20, burn_in=4, batch_size=8, diagnostics_every=3))
    few = measurement().measure(seeded_net(), TASK)["loss"].values
    many = longer.measure(seeded_net(), TASK)["loss"].values
    np.testing.assert_array_equal(many[:, : few.shape[1]], few)


@pytest.mark.parametrize("method", ["sgld", "rmsprop"])
@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_chains_sampled_together_agree_with_chains_alone(method: str, mode: str) -> None:
    settings = ChainSettings(
        draws=10, burn_in=0, batch_size=8, method=method, mode=mode, diagnostics_every=2
    )
    masks = {"fc.weight": torch.eye(4, 16, dtype=torch.bool), "conv1.weight": True}
    for choice in (None, masks):
        together, alone = (
            measurement(settings, batched=batched, parameters={"all": choice}).measure(
                seeded_net(), TASK
            )
            for batched in (True, False)
        )
        for name in ("loss", "distance", "grad_norm", "noise_norm", "mala"):
            np.testing.assert_allclose(together[name], alone[name], rtol=2e-3, atol=1e-5)


class Watched(nn.Module):
    """Keeps, outside of its copies, which parameters had gradients, and their values."""

    seen: ClassVar[list[dict[str, tuple[bool, Tensor]]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded_net()

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(
            {n: (p.requires_grad, p.detach().clone()) for n, p in self.named_parameters()}
        )
        return self.net(inputs)


def test_only_chosen_weights_move_and_only_they_get_gradients() -> None:
    model = Watched()
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[2, 3:9] = True
    choice = {"net.fc.weight": mask}
    Watched.seen.clear()
    of_some = measurement(parameters={"some": choice})
    of_some.measure(model, ChainTask("some", 1e-3, 100.0, (0,)))
    start, end = Watched.seen[0], Watched.seen[-1]
    assert [name for name, (is_sampled, _) in end.items() if is_sampled] == ["net.fc.weight"]
    for name, (_, values) in end.items():
        moved = values != start[name][1]
        assert torch.equal(moved, mask if name == "net.fc.weight" else torch.zeros_like(moved))
    start_result = of_some.measure(model, StartTask(("some",)))
    assert start_result["n_parameters"].values.tolist() == [6]


def test_tasks_divide_into_parts_and_travel() -> None:
    task = StartTask(("all", "fc", "conv")).with_parts((2, 0))
    assert task.wanted == ["conv", "all"]
    of_some = measurement(parameters={"all": None, "fc": "fc", "conv": "conv"})
    result = pickle.loads(pickle.dumps(of_some)).measure(seeded_net(), task)
    assert result["parameters"].values.tolist() == ["conv", "all"]
    assert result["hmax"].dims == ("parameters",)
    assert TASK.with_parts((5,)).parts == (5,)
    with pytest.raises(KeyError, match="Did you mean 'conv'"):
        of_some.measure(seeded_net(), ChainTask("conv1", 1e-4, 1.0, (0,)))


def test_images_of_a_set_travel_with_the_measurement() -> None:
    shapes = load_images("shapes", split="val", size=8, n_samples=20)
    of_shapes = LocalLearning(samples=samples_of(shapes), settings=SETTINGS)
    model = seeded_net()
    model.fc = nn.Linear(16, len(shapes.classes))
    results = [
        each.measure(model, TASK)["loss"].values
        for each in (of_shapes, pickle.loads(pickle.dumps(of_shapes)))
    ]
    np.testing.assert_array_equal(*results)


def own_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]) ** 2).mean(1)


def test_estimate_gives_all_combinations_with_their_settings() -> None:
    traces = estimate(
        seeded_net(),
        pictures(),
        loss=own_loss,
        epsilon=[1e-3, 1e-5],
        gamma=[100.0, 1.0],
        chains=2,
        parameters={"head": "fc", "first": "conv1", "all": None},
        settings=SETTINGS,
    )
    assert traces["loss"].dims == ("parameters", "epsilon", "gamma", "chain", "draw")
    assert traces["parameters"].values.tolist() == ["head", "first", "all"]
    assert traces["epsilon"].values.tolist() == [1e-3, 1e-5]
    assert traces["gamma"].values.tolist() == [100.0, 1.0]
    assert traces["loss"].notnull().all()
    assert traces["n_parameters"].values.tolist() == [68, 216, 1484]
    assert traces.attrs["loss"].endswith(":own_loss")
    assert traces.attrs["nbeta_rule"] == "batch"
    one = estimate(
        seeded_net(),
        pictures(),
        loss=own_loss,
        epsilon=1e-5,
        gamma=1.0,
        chains=2,
        parameters={"first": "conv1"},
        settings=SETTINGS,
    )
    here = {"parameters": "first", "epsilon": 1e-5, "gamma": 1.0}
    xr.testing.assert_equal(traces["loss"].sel(here), one["loss"].sel(here))


def test_estimate_names_what_is_wrong_with_its_step_size() -> None:
    with pytest.raises(ValueError, match="auto"):
        estimate(seeded_net(), pictures(), epsilon="small", settings=SETTINGS)
