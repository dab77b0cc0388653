"""Kernels over checkpoints: batch norm folded in, and their picture."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from tiny_models import net, seeded_net, transformer
from torch import nn

import dvis
from dvis import cli, measure
from dvis.kinds.edges.pictures import first_inputs, kernels_film

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE: dict[str, Any] = {"input_size": 16}


def states(n: int = 3) -> dict[str, Any]:
    return {f"step_{10 * i}": seeded_net(i).state_dict() for i in range(n)}


def test_the_folded_kernel_is_torchs() -> None:
    kernels = measure.kernels(net, states(), layer="conv2", channels=[3, 5], **SIZE)
    assert dict(kernels.kernel.sizes) == {
        "checkpoint": 3,
        "channel": 2,
        "input_channel": 8,
        "y": 3,
        "x": 3,
    }
    assert kernels.step.values.tolist() == [0, 10, 20]
    assert kernels.attrs["norm"] == "bn2"
    assert kernels.attrs["batch_norm"] == "running"
    assert kernels.attrs["input_layers"] == ["bn1", "conv1"]
    assert kernels.kernel.attrs["units"] == "1"
    for i in range(3):
        model = seeded_net(i)
        fused = nn.utils.fuse_conv_bn_eval(model.conv2, model.bn2).weight.detach()
        there = kernels.kernel.sel(checkpoint=f"step_{10 * i}")
        np.testing.assert_allclose(there, fused[[3, 5]], rtol=1e-5, atol=1e-7)


def test_images_recalibrate_and_give_shares() -> None:
    given: dict[str, Any] = {"dataset": "shapes", "n_images": 30, **SIZE}
    running, anew = (
        measure.kernels(net, states(), layer="conv2", batch_norm=each, **given)
        for each in ("running", "recalibrate")
    )
    ratio = anew.kernel.isel(checkpoint=0, channel=4) / running.kernel.isel(checkpoint=0, channel=4)
    assert float(ratio.std()) < 1e-4  # one gain a channel
    assert abs(float(ratio.mean()) - 1) > 0.01
    assert anew.attrs["batch_norm"] == "recalibrate"
    np.testing.assert_allclose(anew.share.sum("input_channel"), 1, atol=1e-4)


def test_layers_without_batch_norm_and_linear_ones() -> None:
    fc = measure.kernels(net, states(1), layer="fc", **SIZE)
    assert fc.attrs["norm"] == ""
    weight = seeded_net(0).fc.weight.detach()
    np.testing.assert_allclose(fc.kernel.isel(checkpoint=0, y=0, x=0), weight, rtol=1e-6)
    vit = measure.kernels(transformer(), layer="heads.head", inputs=[1, 2], **SIZE)
    assert vit.input_channel.values.tolist() == [1, 2]


def test_groups_have_zeros_between_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, groups=2))
    kernels = measure.kernels(model, layer="1", **SIZE).kernel.isel(checkpoint=0)
    weight = model[1].weight.detach()
    np.testing.assert_array_equal(kernels[:3, :2], weight[:3])
    np.testing.assert_array_equal(kernels[3:, 2:], weight[3:])
    assert (kernels[:3, 2:] == 0).all()


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"channels are \[99\]; conv2 has 16 of them: 0 to 15"):
        measure.kernels(net, states(1), layer="conv2", channels=[99], **SIZE)
    with pytest.raises(ValueError, match="BatchNorm2d without a kernel; take one of conv1"):
        measure.kernels(net, states(1), layer="bn1", **SIZE)
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        measure.kernels(net, states(1), layer="conv22", **SIZE)
    with pytest.raises(KeyError, match="No option"):
        measure.kernels(net, states(1), layer="conv2", chanels=[1], **SIZE)


@pytest.fixture(scope="module")
def drawn_kernels() -> Any:
    given: dict[str, Any] = {"dataset": "shapes", "n_images": 20, **SIZE}
    return measure.kernels(net, states(4), layer="conv2", channels=[3, 5], **given)


def test_the_film_has_a_row_an_input_and_a_column_a_checkpoint(drawn_kernels: Any) -> None:
    figure = drawn_kernels.dvis.kernels_film(5, k=3)
    cells = [axes for axes in figure.axes if axes.images]
    assert len(cells) == 3 * 4
    inputs = first_inputs(drawn_kernels.sel(channel=5), 3)
    last = drawn_kernels.share.sel(channel=5).isel(checkpoint=-1)
    assert inputs == np.argsort(-np.abs(last.values))[:3].tolist()
    assert [axes.get_ylabel() for axes in cells[::4]] == [f"input {i}" for i in inputs]
    assert [axes.get_title() for axes in cells[:4]] == [f"step {i}" for i in (0, 10, 20, 30)]
    expected = drawn_kernels.kernel.sel(channel=5, input_channel=inputs[1]).isel(checkpoint=2)
    np.testing.assert_array_equal(cells[6].images[0].get_array(), expected)
    scales = {axes.images[0].get_clim() for axes in cells}
    assert len(scales) == 1
    low, high = scales.pop()
    assert low == -high


def test_the_film_says_how_many_checkpoints_it_shows(drawn_kernels: Any) -> None:
    some = drawn_kernels.dvis.kernels_film(5, k=1, max_images=3)
    assert "; 3 of 4 checkpoints; " in some.get_supxlabel().replace("\n", " ")
    assert "of 4 checkpoints" not in drawn_kernels.dvis.kernels_film(5, k=1).get_supxlabel()


def test_feature_images_stand_beside(run_of_features: Path) -> None:
    features = dvis.open(run_of_features / "net.zarr")
    kernels = measure.kernels(net, run_of_features / "run", layer="conv2", channels=[2])
    figure = kernels_film(kernels, k=8, unit_images=features)
    rows = 8 + 1
    cells = np.array(figure.axes[: rows * 4]).reshape(rows, 4)
    numbers = [int(axes.get_ylabel().removeprefix("input ")) for axes in cells[:8, 0]]
    for axes, number in zip(cells[:8, 0], numbers, strict=True):
        if number in (0, 1, 2, 5):
            image = features.image.sel(layer="conv1", channel=number).isel(checkpoint=-1)
            np.testing.assert_array_equal(axes.images[0].get_array(), image)
        else:
            assert axes.texts[0].get_text() == "no image"
    own = features.image.sel(layer="conv2", channel=2)
    for i in range(3):
        np.testing.assert_array_equal(cells[8, 1 + i].images[0].get_array(), own[i])
    assert "of bn1 or conv1" in figure._supxlabel.get_text()


def test_errors_of_the_film(drawn_kernels: Any, run_of_features: Path) -> None:
    with pytest.raises(ValueError, match=r"Which channel\? The kernels are of 3, 5"):
        drawn_kernels.dvis.kernels_film()
    with pytest.raises(ValueError, match="No channel 4"):
        drawn_kernels.dvis.kernels_film(4)
    with pytest.raises(dvis.SchemaError, match=r"dvis\.measure\.kernels"):
        dvis.open(run_of_features / "net.zarr").dvis.kernels_film(1)


def test_the_command_draws_from_checkpoints_and_store(
    run_of_features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kernels.png"
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                *("kernels", "--model", "tiny_models:net"),
                *("--checkpoint-path", str(run_of_features / "run")),
                *("--layer", "conv2", "--channel", "2", "--k", "3", "--noise", "20"),
                *("--store", str(run_of_features / "net.zarr"), "--out", str(out)),
            ]
        )
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    assert plt.imread(out).ndim == 3
