"""Sizes of receptive fields: boxes of known size, tokens, dead units, and a store that grows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_chimeras import Stacked, size_options
from tiny_models import seeded_net, transformer, write_checkpoints
from torch import nn

import dvis
from dvis import measure
from dvis.kinds.sizes.measure import log_area
from dvis.kinds.sizes.plan import measure_sizes

pytestmark = pytest.mark.usefixtures("one_thread")


def areas(folder: Path, model: nn.Module, layers: list[str], **options: Any) -> xr.DataArray:
    """Areas in px^2 of a model in memory."""
    given: dict[str, Any] = {"noise": 4, "input_size": 16, "workers": 0, **options}
    measure.sizes(model, store=folder / "s.zarr", layers=layers, **given)
    found = dvis.sizes(folder / "s.zarr").load()
    return np.exp(found.log_area.isel(checkpoint=0)).where(found.log_area[0].notnull())


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_linear_box_has_its_own_area(side: int, tmp_path: Path) -> None:
    found = areas(tmp_path, Stacked(side), ["boxes.0"])
    assert found.item() == pytest.approx(side**2, rel=1e-5)


def test_boxes_upon_boxes_have_the_square_of_their_convolution(tmp_path: Path) -> None:
    found = areas(tmp_path, Stacked(3, 3, 5), ["boxes.0", "boxes.1", "boxes.2"])
    along = np.ones(1)
    for layer, side in zip(found.layer.values, (3, 3, 5), strict=True):
        along = np.convolve(along, np.ones(side))
        places = np.arange(len(along)) - (len(along) - 1) / 2
        variance = (along**2 * places**2).sum() / (along**2).sum() + 1 / 12
        expected = 12 * variance
        assert found.sel(layer=layer).item() == pytest.approx(expected, rel=1e-5)


def test_random_stacks_add_their_variances(tmp_path: Path) -> None:
    # Independent weights: the squared gradient is, on average, the convolution of squares.
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(n, 128, k, bias=False) for n, k in ((3, 3), (128, 5), (128, 3)))
    )
    found = areas(tmp_path, model, ["0", "1", "2"], noise=1)
    moments = (found.mean("channel") / 6).values - 1 / 6
    expected = np.cumsum([2 * (k**2 - 1) / 12 for k in (3, 5, 3)])
    np.testing.assert_allclose(moments, expected, rtol=0.05)


def test_tokens_are_seen_at_the_one_nearest_the_centre(tmp_path: Path) -> None:
    model = transformer()  # 2 x 2 patches of 8 px, after the class token
    names = ["conv_proj", "encoder.layers.encoder_layer_0"]
    found = areas(tmp_path, model, names)
    patch, block = found.sel(layer=names[0]), found.sel(layer=names[1])
    assert patch.max() < 1.5 * 8**2
    assert block.min() > patch.min()
    seen = []

    def keep(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        seen.append(output)

    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    model.conv_proj.register_forward_hook(keep)
    model(images)
    (gradient,) = torch.autograd.grad(seen[0][0, 3, 1, 1], images)
    field = gradient.double().square().sum(1)[0].numpy()
    assert patch[3].item() == pytest.approx(np.exp(log_area(field)), rel=1e-4)
    with pytest.raises(ValueError, match="no square of patches"):
        areas(tmp_path, nn.Sequential(nn.Flatten(2), nn.Linear(256, 3)), ["1"])


def test_a_dead_unit_has_no_size_and_the_model_is_left_alone(tmp_path: Path) -> None:
    model = seeded_net()
    with torch.no_grad():
        model.conv2.weight[3] = 0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = areas(tmp_path, model, ["conv2"]).squeeze()
    assert np.flatnonzero(found.isnull()).tolist() == [3]
    status = dvis.sizes(tmp_path / "s.zarr").status.values.ravel()
    assert status.tolist() == [1, 1, 1, 4, *[1] * 12]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    given = {"noise": 4, "input_size": 16, "workers": 0, "layers": ["conv2"]}
    again = measure.sizes(model, store=tmp_path / "s.zarr", **given)
    assert again.n_measured == 0
    (said,) = (note for note in again.notes if "are dead" in note)
    assert said.startswith("1 of 16 units")
    assert dvis.check_store(tmp_path / "s.zarr") == []


def test_sizes_do_not_depend_on_batches_and_go_on(tmp_path: Path) -> None:
    options = size_options(tmp_path)
    report = measure_sizes(replace(options, layers=("conv1",)))
    assert (report.n_measured, report.n_failed) == (3 * 8, 0)
    assert measure_sizes(options).n_measured == 3 * 20
    first = dvis.sizes(tmp_path / "net.zarr").load()
    assert first.attrs["usual_variable"] == "log_area"
    assert first.dvis.births().sizes["layer"] == 3
    measure_sizes(replace(options, name="small", batch_size=3))
    other = dvis.sizes(tmp_path / "net.zarr", name="small")
    np.testing.assert_allclose(other.log_area, first.log_area, rtol=1e-4, atol=1e-4)
    write_checkpoints(tmp_path / "run", 4)
    assert measure_sizes(options).n_measured == 28


def test_batch_norm_and_errors(tmp_path: Path) -> None:
    options = size_options(tmp_path, layers=("conv2",))
    measure_sizes(options)
    with pytest.raises(ValueError, match=r"settings: batch_norm.*Give another --name"):
        measure_sizes(replace(options, batch_norm="running"))
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        measure_sizes(replace(options, layers=("conv3",)))
    with pytest.raises(ValueError, match="conv2 has 16 channels: 0 to 15"):
        measure_sizes(replace(options, channels=(16,)))
    with pytest.raises(ValueError, match="no layers given"):
        size_options(tmp_path, layers=())
    with pytest.raises(ValueError, match="no images given"):
        size_options(tmp_path, dataset=None)
