"""Chimeras: known answers, a model that is left alone, and a store that grows and is resumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from dying import dies_writing
from tiny_chimeras import INPUT, Sharing, Skipping, chimera_options, chimeras_of
from tiny_models import seeded_net, transformer, write_checkpoints

import dvis
from dvis import measure
from dvis.kinds.chimera.measure import another_of_each, correlation
from dvis.kinds.chimera.plan import make_chimeras
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.store.portable import nested

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chimera")
    report = make_chimeras(chimera_options(folder))
    assert (report.n_measured, report.n_failed, report.notes) == (3 * 2, 0, [])
    return folder


def test_last_checkpoint_is_itself_and_layers_not_behind_the_cut_are_as_they_are(
    measured: Path,
) -> None:
    found = dvis.chimera(measured / "net.zarr").load()
    assert found.layer.values.tolist() == ["bn1", "conv2", "fc"]
    assert found.cut.values.tolist() == ["bn1", "conv2"]
    assert found.step.values.tolist() == [0, 10, 20]
    is_there = found.channel < found.n_channels
    assert (found.correlation.notnull().all(["checkpoint", "cut", "part"]) == is_there).all()
    last = found.isel(checkpoint=-1).correlation
    assert (last.where(last.notnull(), 1) == 1).all()
    of_part = {part: found.correlation.sel(part=part) for part in ("below", "above", "both")}
    is_behind = found.depth > found.cut_depth
    before = {part: values.where(~is_behind) for part, values in of_part.items()}
    np.testing.assert_array_equal(before["below"], before["both"])
    assert (before["above"].where(before["above"].notnull(), 1) == 1).all()
    behind = {part: values.where(is_behind).isel(checkpoint=0) for part, values in of_part.items()}
    for part in ("below", "above"):  # which really are other networks
        assert float(np.abs(behind[part] - behind["both"]).max()) > 0.05
    np.testing.assert_array_equal(of_part["both"].isel(cut=0), of_part["both"].isel(cut=1))
    assert float(found.null_correlation.median()) < 0.7
    assert (np.abs(found.null_correlation.fillna(0)) <= 1).all()


def test_chimera_answers_as_the_network_that_is_put_together_by_hand(measured: Path) -> None:
    options = chimera_options(measured, batch_norm="running", name="running")
    make_chimeras(options)
    found = dvis.chimera(measured / "net.zarr", name="running").correlation
    early, final = seeded_net(0), seeded_net(1)
    mixed = seeded_net(0)
    mixed.conv2, mixed.bn2, mixed.fc = final.conv2, final.bn2, final.fc
    transform = InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    shapes = load_images("shapes", split="val", size=16, n_samples=24)
    images = FixedImages.of(shapes, transform).batch(0, 24, torch.zeros(()))
    with torch.no_grad():
        answers, expected = (net(images).double().numpy() for net in (mixed, final))
        both = early(images).double().numpy()
    at = {"cut": "bn1", "layer": "fc", "channel": slice(0, 3)}
    below = found.isel(checkpoint=0).sel(at)
    for part, values in (("below", answers), ("both", both)):
        by_hand = [np.corrcoef(values[:, i], expected[:, i])[0, 1] for i in range(4)]
        np.testing.assert_allclose(below.sel(part=part), by_hand, atol=1e-5)


def test_only_the_lower_part_changed(tmp_path: Path) -> None:
    final = seeded_net(1)
    early = seeded_net(1)
    early.conv1, early.bn1 = seeded_net(2).conv1, seeded_net(2).bn1
    states = {"step_0": early.state_dict(), "step_1": final.state_dict()}
    model = seeded_net(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = chimeras_of(tmp_path / "s.zarr", states, model, layers="bn1", to="fc").correlation
    at = found.sel(checkpoint="step_0", cut="bn1", layer="fc")
    np.testing.assert_array_equal(at.sel(part="below"), at.sel(part="both"))
    assert (at.sel(part="above") == 1).all()
    assert (at.sel(part="both") < 0.999).all()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    waits = dvis.chimera(tmp_path / "s.zarr").dvis.waits_for_inputs(least_gap=1e-3)
    of_value = waits.sel(control="value", checkpoint="step_0").squeeze()
    assert of_value.waits_for_inputs == pytest.approx(1)
    assert of_value.waits_for_weights == pytest.approx(0)
    assert waits.difference_interval.sel(checkpoint="step_0").squeeze().values == pytest.approx(1)
    assert waits.sel(control="value", checkpoint="step_1").waits_for_inputs.isnull().all()


def test_only_the_upper_part_changed(tmp_path: Path) -> None:
    final, early = seeded_net(1), seeded_net(1)
    early.fc = seeded_net(2).fc
    states = {"step_0": early.state_dict(), "step_1": final.state_dict()}
    found = chimeras_of(tmp_path / "s.zarr", states, layers=["bn1", "conv2"], to="fc").correlation
    at = found.sel(checkpoint="step_0", layer="fc")
    np.testing.assert_array_equal(at.sel(part="above"), at.sel(part="both"))
    assert (at.sel(part="below") == 1).all()


def test_transformer_and_a_layer_that_some_goes_around(tmp_path: Path) -> None:
    model = transformer()
    early = {
        name: value + 0.1 * torch.randn_like(value) for name, value in model.state_dict().items()
    }
    block = "encoder.layers.encoder_layer_0"
    given = {"layers": [block, f"{block}.mlp"], "noise": 8, "workers": 0, "input_size": 16}
    store = tmp_path / "vit.zarr"
    report = measure.chimera(model, {"a": early, "b": model}, store=store, **given)
    assert report.n_failed == 0
    assert [note for note in report.notes if "goes around" in note] == [
        f"some of what comes later goes around {block}.mlp, as over a skip connection: weights are "
        "split there by the order in which they work, and later ones see more than its output"
    ]
    found = dvis.chimera(store)
    assert found.cut.values.tolist() == [f"{block}.mlp", block]
    assert found.is_cut.values.tolist() == [0, 1]
    # Behind the mixture of the two nothing of a block is left to run.
    np.testing.assert_array_equal(found.correlation[:, 0], found.correlation[:, 1])
    assert found.layer.values[-1] == "heads"


def test_killed_and_resumed_equals_an_unbroken_run_also_of_two_workers(
    measured: Path, tmp_path: Path
) -> None:
    expected = dvis.chimera(measured / "net.zarr", name="shapes-val").load()
    options = chimera_options(tmp_path)
    assert dies_writing(make_chimeras, options, 4)
    assert 0 < make_chimeras(options).n_measured < 6
    assert make_chimeras(options).n_measured == 0
    make_chimeras(replace(options, name="two", workers=2))
    for name in ("shapes-val", "two"):
        xr.testing.assert_equal(dvis.chimera(tmp_path / "net.zarr", name=name), expected)
    assert dvis.check_store(tmp_path / "net.zarr") == []


def test_another_cut_is_added_and_another_final_checkpoint_is_refused(tmp_path: Path) -> None:
    make_chimeras(chimera_options(tmp_path, layers=("conv2",), to=("fc",)))
    assert (
        make_chimeras(chimera_options(tmp_path, layers=("conv1", "conv2"), to=("fc",))).n_measured
        == 3
    )
    found = dvis.chimera(tmp_path / "net.zarr")
    assert found.cut.values.tolist() == ["conv1", "conv2"]
    assert bool((found.status == dvis.Status.COMPLETE).all())
    write_checkpoints(tmp_path / "run", 4)
    options = chimera_options(tmp_path, layers=("conv2",), to=("fc",))
    with pytest.raises(
        ValueError, match=r"were made with other settings: final.*Give another --name.* them"
    ):
        make_chimeras(options)
    label = str(found.checkpoint.values[0])
    make_chimeras(replace(options, final=label, name="backwards"))
    back = dvis.chimera(tmp_path / "net.zarr", name="backwards")
    assert (back.correlation.isel(checkpoint=0, channel=slice(4)) == 1).all()
    assert nested(back.attrs["final"])["checkpoint"] == label


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        make_chimeras(chimera_options(tmp_path, layers=("conv22",)))
    with pytest.raises(KeyError, match="No checkpoint 'nought'"):
        make_chimeras(chimera_options(tmp_path, final="nought"))
    with pytest.raises(ValueError, match="no layers given"):
        chimera_options(tmp_path, layers=())
    with pytest.raises(ValueError, match="dataset and noise given; give one of dataset"):
        chimera_options(tmp_path, noise=3)
    with pytest.raises(ValueError, match=r"takes 3 or more\. Give --n-images 256"):
        make_chimeras(chimera_options(tmp_path, n_images=2))
    two = {"a": Sharing(), "b": Sharing()}
    with pytest.raises(ValueError, match="work on both sides of 'pool'"):
        chimeras_of(tmp_path / "s.zarr", two, Sharing(), layers="pool", to="relu")
    with pytest.raises(KeyError, match="No option 'layer'"):
        measure.chimera(Skipping(), layer="first")


def test_what_cannot_say_anything_is_left_out_or_refused(tmp_path: Path) -> None:
    report = make_chimeras(chimera_options(tmp_path, to=("conv1", "conv2")))
    assert [note for note in report.notes if note.startswith("no ")] == [
        "no target comes after conv2: it is not cut there",
        "no cut comes before conv1: it is not looked at",
    ]
    found = dvis.chimera(tmp_path / "net.zarr")
    assert (found.cut.values.tolist(), found.layer.values.tolist()) == (["bn1"], ["conv2"])
    for layers, to in ((("conv2",), ("conv2",)), (("conv2", "fc"), ("bn1",)), (("fc",), ())):
        with pytest.raises(ValueError, match=r"comes after .*; cut behind layers that run before"):
            make_chimeras(chimera_options(tmp_path, layers=layers, to=to, name="none"))
    labels = found.checkpoint.values.tolist()
    for options in ({}, {"final": labels[0]}):
        with pytest.raises(ValueError, match=r"only checkpoint asked for and the final one itself"):
            make_chimeras(
                chimera_options(tmp_path, checkpoint_patterns=(labels[0],), name="none", **options)
            )
    assert (
        make_chimeras(
            chimera_options(
                tmp_path, checkpoint_patterns=(labels[0],), final=labels[2], name="one", to=("fc",)
            )
        ).n_measured
        == 2
    )
    assert set(dvis.tree(tmp_path / "net.zarr")["checkpoints/chimera"].children) == {
        "shapes-val",
        "one",
    }


def test_dead_and_broken_networks(tmp_path: Path) -> None:
    broken, dead = seeded_net(0).state_dict(), seeded_net(0).state_dict()
    broken["conv1.weight"] = broken["conv1.weight"] * np.nan
    dead["fc.weight"][1] = 0
    states = {"step_0": broken, "step_1": dead, "step_2": seeded_net(1).state_dict()}
    given = {"layers": "conv2", "to": "fc", "noise": 24, "workers": 0, **INPUT}
    report = measure.chimera(seeded_net(), states, store=tmp_path / "s.zarr", **given)
    assert report.n_failed == 1
    assert report.notes[-1].startswith("step_0, cut at conv2: failed: a response of fc is not fin")
    found = dvis.chimera(tmp_path / "s.zarr").load()
    assert found.status.values.ravel().tolist() == [3, 1, 1]
    assert found.correlation.isel(checkpoint=0).isnull().all()
    of_dead = found.correlation.sel(checkpoint="step_1", layer="fc", part="both").squeeze()
    assert of_dead.isnull().values.tolist() == [False, True, False, False]


def test_correlation_is_numpys_and_flat_ones_are_unknown() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 30, 4))
    first[:, 1], second[:, 2] = 3.0, 0.0
    expected = [np.corrcoef(first[:, i], second[:, i])[0, 1] for i in (0, 3)]
    np.testing.assert_allclose(correlation(first, second)[[0, 3]], expected)
    assert np.isnan(correlation(first, second)[[1, 2]]).all()
    others = another_of_each(7, 3)
    assert sorted(others) == [*range(7)]
    assert (others != np.arange(7)).all()
