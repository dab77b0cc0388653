"""Two seeds of a unit's image against images of different units: measured, told, drawn, shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import dvis
from dvis.analysis.control import controlled
from dvis.cli import main
from dvis.kinds.features.agreement import seed_agreement
from dvis.kinds.features.measure.similarity import similarity
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.parts import seed_curves
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.shown.shown_features import ShownFeatures
from dvis.kinds.parts import Asked
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints
from dvis.schema import SchemaError
from dvis.store.contents import contents, resolve

pytestmark = pytest.mark.usefixtures("one_thread")


def in_dims(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    return ("checkpoint", "layer", "channel"), values


@pytest.fixture
def made_up() -> xr.Dataset:
    """Two checkpoints of two layers of 200 units, whose seeds agree in the second layer alone."""
    rng = np.random.default_rng(0)
    null = rng.normal(0.2, 0.1, (2, 2, 200))
    seeds = rng.normal(0.2, 0.1, (2, 2, 200))
    seeds[:, 1] += 0.5
    labels = {"checkpoint": ["a", "b"], "layer": ["one", "two"], "channel": np.arange(200)}
    variables = {
        "seed_similarity": in_dims(seeds),
        "seed_similarity_null": in_dims(null),
        "status": in_dims(np.ones((2, 2, 200), np.uint8)),
    }
    return xr.Dataset(variables, labels)


def of_run(store: Path) -> Asked:
    """What the page asks for of a store's run."""
    return Asked(store=resolve(store, None), contents=contents(store), run="checkpoints")


def test_what_agrees_is_above_its_null_and_what_does_not_is_not(made_up: xr.Dataset) -> None:
    found = made_up.dvis.seed_agreement()
    assert (found.above_null.sel(layer="one") < 0.12).all()
    assert (found.above_null.sel(layer="two") > 0.95).all()
    assert found.similarity.dims == ("control", "checkpoint", "layer", "quantile")
    assert found.control.values.tolist() == ["value", "units exchanged"]
    expected = np.quantile(made_up.seed_similarity.values, 0.5, axis=2)
    at = found.similarity.sel(control="value", quantile=0.5)
    np.testing.assert_allclose(at, expected)
    assert (found.n_units == 200).all()
    assert found.attrs["exchangeable"] == "pairs of different units of a layer"


def test_what_is_not_complete_does_not_count(made_up: xr.Dataset) -> None:
    made_up["status"][:, :, 100:] = 4
    made_up["seed_similarity"][:, :, 100:] = -1.0
    found = made_up.dvis.seed_agreement()
    assert (found.n_units == 100).all()
    assert float(found.similarity.min()) > -0.5


def test_agreement_is_lazy_where_the_dataset_is(made_up: xr.Dataset) -> None:
    lazy = made_up.chunk({"channel": 50}).dvis.seed_agreement()
    assert lazy.similarity.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), made_up.dvis.seed_agreement())


def test_images_without_seeds_say_what_measures_them(made_up: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="--number-of-seeds 2"):
        made_up.drop_vars("seed_similarity").dvis.seed_agreement()
    with pytest.raises(ValueError, match="no dimension channel"):
        made_up.sel(channel=3).dvis.seed_agreement()


def test_the_channels_that_images_were_made_for_are_left_out() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 30))
    alike = similarity(one, other, [4, 7])
    one[[4, 7]], other[[4, 7]] = 100.0, 100.0
    assert similarity(one, other, [4, 7]) == pytest.approx(alike)
    assert similarity(one, 3 * one + 5, []) == pytest.approx(1)
    assert similarity(one, -one, []) == pytest.approx(-1)
    expected = np.corrcoef(one, other)[0, 1]
    assert similarity(one, other, []) == pytest.approx(expected)
    assert np.isnan(similarity(one[:5], other[:5], [0, 1]))
    assert np.isnan(similarity(np.ones(9), other[:9], []))


def test_seeds_of_a_sweep_have_the_null_of_their_layer(options: VisualizeOptions) -> None:
    options = replace(options, number_of_seeds=2, layers=("conv2",))
    visualize(options)
    dataset = dvis.open(options.store)
    assert np.isfinite(dataset.seed_similarity.sel(channel=[0, 1, 2, 3])).all()
    label = dataset.checkpoint.values[1]
    file = next(f for f in find_checkpoints(options.checkpoint_path) if f.label == label)
    model = load_model("tiny_models:net", file, "cpu")
    images = [dataset.dvis.model_input(label, "conv2", c).values for c in (1, 2)]
    grey = np.zeros_like(images[0])  # 0.5 of values, less the mean
    with torch.no_grad():
        inputs = torch.from_numpy(np.stack([*images, grey]))
        seen = model.conv2(model.relu(model.bn1(model.conv1(inputs)))).mean((2, 3)).numpy()
    one, other = np.delete(seen[:2] - seen[2], [1, 2], axis=1)
    found = dataset.seed_similarity_null.sel(layer="conv2", channel=1)[1]
    assert float(found) == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-4)
    agreement = dataset.dvis.seed_agreement()
    assert np.isfinite(agreement.similarity).all()
    assert dvis.check_store(options.store) == []


def test_the_null_depends_on_no_batch_and_is_measured_once(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    options = replace(options, number_of_seeds=2, layers=("conv2",), cross_check=False)
    visualize(options)
    other = replace(options, store=tmp_path / "other.zarr")
    visualize(replace(other, channels=(0, 1)))  # of which the pairs are others
    before = dvis.open(other.store).seed_similarity_null.load()
    visualize(replace(other, batch_size=1))
    after = dvis.open(other.store).seed_similarity_null
    xr.testing.assert_equal(after.sel(channel=[0, 1]), before.sel(channel=[0, 1]))
    once = replace(options, store=tmp_path / "once.zarr", batch_size=1)
    visualize(once)
    alone, together = (dvis.open(each.store) for each in (once, options))
    for name in ("seed_similarity", "seed_similarity_null"):
        np.testing.assert_allclose(alone[name], together[name], atol=1e-4)


def test_seeds_of_what_is_there_are_compared_when_it_is_overwritten(
    options: VisualizeOptions,
) -> None:
    options = replace(options, cross_check=False)
    visualize(options)
    of_seeds = replace(options, number_of_seeds=2, layers=("conv2",))
    assert visualize(of_seeds).kept["of other options"] == 12
    assert visualize(replace(of_seeds, overwrite=True)).n_measured == 12
    found = dvis.open(options.store).sel(channel=[0, 1, 2, 3])
    assert np.isfinite(found.seed_similarity.sel(layer="conv2")).all()
    assert found.seed_similarity.sel(layer="conv1").isnull().all()


def test_one_unit_of_a_layer_has_no_null(options: VisualizeOptions) -> None:
    visualize(replace(options, number_of_seeds=2, channels=(1,)))
    dataset = dvis.open(options.store)
    assert dataset.seed_similarity_null.isnull().all()
    assert dataset.dvis.seed_agreement().above_null.isnull().all()


def test_seeds_are_drawn_over_a_grey_band(made_up: xr.Dataset, tmp_path: Path) -> None:
    figure = made_up.dvis.seeds(path=tmp_path / "seeds.png")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["one, 200 units", "two, 200 units"]
    for axes in panels:
        grey, colour = axes.collections
        assert grey.get_zorder() < colour.get_zorder()
        assert tuple(grey.get_facecolor()[0][:3]) == (0.78,) * 3
    band = panels[1].collections[0].get_paths()[0].vertices[:, 1]
    found = controlled(made_up.dvis.seed_agreement(), "similarity")
    assert band.min() == pytest.approx(float(found.low.sel(layer="two").min()))
    assert band.max() == pytest.approx(float(found.high.sel(layer="two").max()))
    assert (tmp_path / "seeds.png").stat().st_size > 1000
    only = made_up.dvis.seeds(layer="two")
    assert len([axes for axes in only.axes if axes.get_title(loc="left")]) == 1
    with pytest.raises(ValueError, match="No layer 'three'"):
        made_up.dvis.seeds(layer="three")


def test_seeds_are_plotted_and_shown_of_a_store(
    options: VisualizeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visualize(replace(options, number_of_seeds=2, restarts=2))
    out = tmp_path / "seeds.png"
    with pytest.raises(SystemExit) as ended:
        main(["plot", "seeds", str(options.store), "--out", str(out)])
    assert ended.value.code == 0
    assert out.stat().st_size > 1000
    asked = Asked(
        store=resolve(options.store, None), contents=contents(options.store), run="checkpoints"
    )
    (part,) = seed_curves(asked)
    assert [line.label for line in part.lines] == ["conv1", "conv2"]
    assert np.isfinite(np.asarray(part.null_low)).all()
    assert (np.asarray(part.null_low) <= np.asarray(part.null_high)).all()
    document = ShownFeatures(options.store).unit(0, 0, 1)
    names = [each["name"] for each in document["compared"]]
    assert names == ["constant", "reference", "held out", "neighbours", "restarts ±", "seeds"]
    for each in document["compared"]:
        assert np.isfinite(each["values"]).all()


def test_a_store_without_seeds_has_no_part(options: VisualizeOptions) -> None:
    visualize(replace(options, cross_check=False))
    asked = Asked(
        store=resolve(options.store, None), contents=contents(options.store), run="checkpoints"
    )
    assert list(seed_curves(asked)) == []
    document = ShownFeatures(options.store).unit(0, 0, 1)
    names = [each["name"] for each in document["compared"]]
    assert names == ["constant", "reference", "held out"]


@pytest.mark.parametrize(("n_units", "chance"), [(4, 0.2), (8, 1 / 9), (20, 1 / 21), (64, 0.046)])
def test_of_few_units_chance_is_more_than_a_twentieth(n_units: int, chance: float) -> None:
    generator = np.random.default_rng(0)
    dims = ("checkpoint", "layer", "channel")
    labels = {
        "checkpoint": ["a"],
        "layer": [f"l{i}" for i in range(400)],
        "channel": range(n_units),
    }
    seeds, null = (
        xr.DataArray(generator.normal(size=(1, 400, n_units)), labels, dims) for _ in range(2)
    )
    found = seed_agreement(xr.Dataset({"seed_similarity": seeds, "seed_similarity_null": null}))
    np.testing.assert_allclose(found.chance, chance, atol=1e-3)
    assert found.above_null.mean().item() == pytest.approx(chance, abs=0.03)
