"""Shares in a store: measured by the door, read back, gone on with, refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_influence import edges_options_of
from tiny_models import net, seeded_net, transformer

import dvis
from dvis import measure
from dvis.kinds.edges.measure import EdgeShares
from dvis.kinds.edges.plan import edges_plan, measure_edges
from dvis.kinds.edges.read import EDGES_READER
from dvis.models.recalibration import Recalibrated
from dvis.sweep.run_facts import run_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_was_measured_is_read(tmp_path: Path) -> None:
    asked = edges_options_of(tmp_path)
    report = measure_edges(asked)
    assert (report.n_measured, report.n_failed) == (9, 0)
    read = dvis.edges(tmp_path / "net.zarr")
    assert read.share.dims == ("checkpoint", "layer", "channel", "input_channel")
    assert read.layer.values.tolist() == ["conv1", "conv2", "fc"]
    assert read.input_layer.values.tolist() == ["", "bn1", ""]
    assert read.n_inputs.values.tolist() == [3, 8, 16]
    assert read.n_channels.values.tolist() == [8, 16, 4]
    assert (read.status == dvis.Status.COMPLETE).all()
    assert read.attrs["batch_norm"] == "recalibrate"
    assert read.share.attrs["units"] == "1"
    assert read.step.values.tolist() == [0, 10, 20]
    run = run_of(asked)
    model, _ = run.first_model(asked.model)
    expected = edges_plan(asked, run).measurement.shares(model)
    for layer, shares in expected.items():
        there = read.share.isel(checkpoint=0).sel(layer=layer)
        block = there.isel(channel=slice(len(shares)), input_channel=slice(shares.shape[1]))
        np.testing.assert_allclose(block, shares, rtol=1e-3, atol=1e-6)
        assert int(there.notnull().sum()) == shares.size
    lazy = dvis.edges(tmp_path / "net.zarr", chunks={})
    assert lazy.share.chunks is not None
    assert dvis.check_store(tmp_path / "net.zarr") == []
    assert dvis.open(tmp_path / "net.zarr", kind="edges").share.equals(read.share)


def test_batch_norm_has_statistics_of_enough_images(tmp_path: Path) -> None:
    asked = edges_options_of(tmp_path)
    plan = edges_plan(asked, run_of(asked))
    measurement = plan.measurement
    assert isinstance(measurement, EdgeShares)
    assert len(measurement.images) == 20
    assert len(measurement.recalibrated.images) == 256
    assert plan.notes == ()


def test_a_second_run_measures_what_is_missing_and_other_images_are_refused(tmp_path: Path) -> None:
    asked = edges_options_of(tmp_path, layers=("conv2",))
    assert measure_edges(asked).n_measured == 3
    more = edges_options_of(tmp_path)
    assert measure_edges(more).n_measured == 6
    assert measure_edges(more).n_measured == 0
    with pytest.raises(ValueError, match="images"):
        measure_edges(edges_options_of(tmp_path, n_images=30))
    assert measure_edges(edges_options_of(tmp_path, n_images=30, overwrite=True)).n_measured == 9


def test_from_python_and_a_vit(tmp_path: Path) -> None:
    given: dict[str, Any] = {"noise": 4, "input_size": 16, "workers": 0}
    measure.edges(seeded_net(1), store=tmp_path / "own.zarr", **given)
    alone = dvis.edges(tmp_path / "own.zarr")
    assert alone.checkpoint.values.tolist() == ["model"]
    sums = alone.share.sel(layer="conv1").isel(input_channel=slice(3)).sum("input_channel")
    np.testing.assert_allclose(sums.isel(channel=slice(8)), 1, atol=5e-3)
    measure.edges(transformer(), store=tmp_path / "vit.zarr", **given)
    vit = dvis.edges(tmp_path / "vit.zarr")
    assert (vit.status == dvis.Status.COMPLETE).all()
    assert "heads.head" in vit.layer


def test_data_parallel_checkpoints_give_the_same(tmp_path: Path) -> None:
    asked = edges_options_of(tmp_path)
    measure_edges(asked)
    folder = tmp_path / "parallel"
    folder.mkdir()
    for path in sorted((tmp_path / "run").iterdir()):
        kept = torch.load(path, weights_only=True)
        state = {f"module.{name}": value for name, value in kept["model_state_dict"].items()}
        torch.save({**kept, "model_state_dict": state}, folder / path.name)
    measure.edges(
        net,
        folder,
        dataset="shapes",
        n_images=20,
        workers=0,
        store=tmp_path / "parallel.zarr",
    )
    before, after = (dvis.edges(tmp_path / f"{name}.zarr") for name in ("net", "parallel"))
    np.testing.assert_allclose(after.share, before.share, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dataset": None}, "no images given; give one of dataset, images, noise"),
        ({"noise": 3}, "dataset and noise given"),
        ({"batch_norm": "none"}, "give recalibrate or running"),
        ({"n_images": 0}, "n_images is 0"),
        ({"name": "a/b"}, "without a slash"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    changes: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=text):
        edges_options_of(tmp_path, **changes)


def test_a_store_without_edges_says_how_to_make_some(sample_store: Path) -> None:
    with pytest.raises(dvis.SchemaError, match="dvis influence --method edges"):
        dvis.edges(sample_store)
    assert EDGES_READER.names(sample_store) == []


def test_few_images_are_said(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    files = tuple(tmp_path.glob("*.png"))
    asked = edges_options_of(tmp_path, dataset=None, n_images=None, images=files)
    plan = edges_plan(asked, run_of(asked))
    (note,) = plan.notes
    assert "statistics of batch norm are of 3 images" in note
    assert isinstance(plan.measurement.recalibrated, Recalibrated)
