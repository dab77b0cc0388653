"""Births of edges: planted curves, and a network some of whose edges are held back."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from made_up_influence import LABELS, made_up_influence, write_influence
from torch import Tensor, nn

import dvis
from dvis.kinds.edges.measure import EdgeShares
from dvis.kinds.influence.analysis.edge_births import edge_births
from dvis.kinds.responses.measure import ImageResponses
from dvis.models.data import InputTransform
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.recalibration import Recalibrated

EVERY, N_CHECKPOINTS = 10, 12
LATE, FIRST_LATE = 60, 70  # an edge is let go at step 60, a filter at step 70


def planted() -> xr.Dataset:
    """Influence whose edges reach their final strength at the number of their source."""
    made = made_up_influence(widths={"layer1": 4, "layer2": 6})
    place = xr.DataArray(np.arange(len(LABELS)), dims="checkpoint")
    final = made.strength.isel(checkpoint=-1, drop=True)
    made["strength"] = final * (place >= made.channel_from % 4)
    return made.transpose("checkpoint", ...)


def test_births_of_strengths_are_those_planted() -> None:
    found = planted().dvis.edge_births()
    assert found.birth.dims == ("layer_from", "channel_from", "layer_to", "channel_to")
    between = found.sel(layer_from="layer1", layer_to="layer2")
    for source in range(4):
        of_source = between.sel(channel_from=source)
        assert (of_source.birth == source).all()
        assert (of_source.state == "born").all()
        assert (of_source.birth_step == 10 * source).all()
    against_the_order = found.sel(layer_from="layer2", layer_to="layer1")
    assert (against_the_order.state == "absent").all()


def test_an_edge_without_final_strength_is_never_born() -> None:
    made = planted()
    made["strength"] = made.strength.where(made.channel_to != 2, 0 * made.strength)
    found = edge_births(made).sel(layer_from="layer1", layer_to="layer2", channel_from=1)
    assert found.state.values.tolist() == ["born", "born", "never", "born", "born", "born"]


def test_lazy_gives_the_same_and_computes_nothing(tmp_path) -> None:
    write_influence(tmp_path / "net.zarr")
    lazy = edge_births(dvis.influence(tmp_path / "net.zarr", chunks={}))
    assert lazy.birth.chunks is not None
    xr.testing.assert_equal(
        lazy.compute(), edge_births(dvis.influence(tmp_path / "net.zarr").load())
    )


def test_shares_count_towards_their_final_sign() -> None:
    share = xr.DataArray(
        [[0.9, 0.0, np.nan], [-0.2, 0.3, np.nan], [-0.6, 0.5, np.nan], [-0.7, 0.5, np.nan]],
        dims=("checkpoint", "input_channel"),
    )
    found = edge_births(share.to_dataset(name="share"))
    assert found.birth.values.tolist() == [2, 1, -1]
    assert found.state.values.tolist() == ["born", "born", "absent"]


def test_other_datasets_are_refused() -> None:
    with pytest.raises(dvis.SchemaError, match=r"only other. Open one with dvis\.influence"):
        edge_births(xr.Dataset({"other": ("checkpoint", [1, 2])}))


class Net(nn.Module):
    """Two convolutions, each with a ReLU behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 5, bias=False)
        self.conv2 = nn.Conv2d(4, 3, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv2(self.conv1(images).relu())


@dataclass(frozen=True)
class Trained:
    """What was measured of the planted network at its checkpoints."""

    edges: xr.Dataset
    responses: xr.Dataset


def teacher() -> Net:
    """Channels of conv2: 0 reads channel 0 alone, 1 channels 1 and 2, 2 channels 1 and 3."""
    torch.manual_seed(1)
    model = Net().requires_grad_(False)
    model.conv1.weight -= model.conv1.weight.mean((2, 3), keepdim=True)  # nothing of brightness
    reads = torch.zeros(3, 4)
    reads[0, 0], reads[1, 1], reads[1, 2], reads[2, 1], reads[2, 3] = 1.0, 1.0, 0.7, 0.7, -1.0
    model.conv2.weight.copy_(reads[..., None, None] * torch.rand(3, 4, 3, 3))
    return model


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A student of a teacher's maps: the edge 2 -> 1 comes late, and so does filter 0."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    goal = teacher()
    torch.manual_seed(2)
    model = Net()
    # Channels keep their numbers: filters start near the teacher's, but for that which is held.
    with torch.no_grad():
        model.conv1.weight[1:].lerp_(goal.conv1.weight[1:], 0.7)
        model.conv1.weight[0] = goal.conv1.weight[0].roll(1, 0).flip(-1)
        model.conv2.weight.mul_(0.3)
    is_read = (goal.conv2.weight.abs().sum((2, 3), keepdim=True) > 0).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    shares, states = [], []
    for step in range(EVERY * N_CHECKPOINTS):
        mask = is_read.clone()
        if step < LATE:
            mask[1, 2] = 0
        with torch.no_grad():
            model.conv2.weight.mul_(mask)
        if step % EVERY == 0:
            states.append({name: value.clone() for name, value in model.state_dict().items()})
        images = torch.randn(16, 3, 14, 14, generator=generator)
        optimizer.zero_grad()
        (model(images) - goal(images)).square().mean().backward()
        model.conv2.weight.grad.mul_(mask)
        if step < FIRST_LATE:
            model.conv1.weight.grad[0] = 0
        optimizer.step()
    shares = [measured(model, state) for state in states]
    torch.set_num_threads(threads)
    edges, responses = (
        xr.concat(each, "checkpoint", data_vars="all") for each in zip(*shares, strict=True)
    )
    step = ("checkpoint", EVERY * np.arange(N_CHECKPOINTS))
    return Trained(edges.assign_coords(step=step), responses.assign_coords(step=step))


def measured(model: Net, state: dict[str, Tensor]) -> tuple[xr.Dataset, xr.Dataset]:
    """Shares of conv2, and its responses to other images."""
    model.load_state_dict(state)
    transform = InputTransform(size=14, mean=(0.5,) * 3, std=(0.29,) * 3)
    probe, others = (
        FixedImages.of(noise_images(60, seed, transform), transform) for seed in (0, 1)
    )
    shares = EdgeShares(images=probe, recalibrated=Recalibrated(probe)).shares(model, ["conv2"])
    responses = ImageResponses(images=others, batch_size=60)
    given = responses.measure(model, responses.task(responses.outputs(model, ["conv2"])))
    return (
        shares["conv2"].to_dataset(),
        xr.Dataset({"response": (("channel", "image"), given.response.values)}),
    )


def test_a_held_edge_is_born_when_it_is_let_go(trained: Trained) -> None:
    found = trained.edges.dvis.edge_births()
    late = found.sel(channel=1, input_channel=2)
    assert late.state == "born"
    assert LATE < late.birth_step <= LATE + 3 * EVERY
    for channel, source in ((1, 1), (2, 1), (2, 3)):
        assert found.birth_step.sel(channel=channel, input_channel=source) <= 3 * EVERY
    assert found.state.sel(channel=0, input_channel=2) == "never"  # which is not read


def test_an_edge_before_its_target_is_told_from_a_target_before_its_edge(trained: Trained) -> None:
    edges = trained.edges.dvis.edge_births().birth_step
    targets = trained.responses.dvis.births(measure="correlation").birth_step
    # Channel 0 has its one edge from the start, and what it answers to when its source learns.
    assert edges.sel(channel=0, input_channel=0) == 0
    assert targets.sel(channel=0) > FIRST_LATE
    # Channel 1 answers as it does at the end before its second edge is there.
    assert targets.sel(channel=1) < edges.sel(channel=1, input_channel=2)
