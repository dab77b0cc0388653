"""A store that an earlier dvis made, with groups of every kind: read, checked and grown ever after.

`data/old_layout.zip` holds it, and the checkpoints of its run. It was made before groups of all
kinds had one class; numbers below are what that dvis read of it.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import xarray as xr

import dvis
from dvis import measure

DATA = Path(__file__).parent / "data" / "old_layout.zip"
LAYERS = ("conv1", "conv2")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder with `net.zarr` and `run`."""
    with zipfile.ZipFile(DATA) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def ten_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny_models:net` as it was for the store: with ten classes."""
    net = tiny_models.TinyNet
    monkeypatch.setattr(tiny_models, "net", lambda num_classes=10: net(num_classes))


def digest(values: np.ndarray) -> str:
    return hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()


def test_every_kind_reads_as_it_did(old: Path) -> None:
    store = old / "net.zarr"
    assert dvis.runs(store) == ["checkpoints", "imported"]
    assert dvis.response_names(store) == ["classes", "features-all", "shapes-val"]
    dataset, imported = dvis.open(store), dvis.open(store, "imported")
    assert digest(dataset.image.values) == "8066951ac3c978df"
    assert digest(imported.image.values) == "003d870942199720"
    assert dataset.activation.sum().item() == pytest.approx(2.035823345184326, rel=1e-6)
    expected = [0.014240156325496767, 0.023801746778528195, -0.0773211855512889]
    np.testing.assert_allclose(dataset.llc, expected, rtol=1e-9)
    sums = {"classes": -5.055403709411621, "features-all": 4.881314277648926}
    for name, total in sums.items():
        response = dvis.responses(store, name=name).response
        assert np.nansum(response) == pytest.approx(total, rel=1e-6)
    assert float(dvis.llc_traces(store).loss.sum()) == pytest.approx(298.65690971910954)
    assert dvis.check_store(store) == []


def test_contents_and_the_tree_hold_all_kinds(old: Path) -> None:
    store = old / "net.zarr"
    found = dvis.contents(store)
    groups = [(entry.run, entry.kind, entry.name) for entry in found.entries]
    assert groups == [
        ("checkpoints", "features", "average-0"),
        ("imported", "features", "average-0"),
        ("checkpoints", "llc", "llc"),
        ("checkpoints", "responses", "classes"),
        ("checkpoints", "responses", "features-all"),
        ("checkpoints", "responses", "shapes-val"),
    ]
    assert "checkpoints  responses  shapes-val" in str(found)
    tree = dvis.tree(store)
    for run, kind, name in groups:
        node = tree[f"{run}/{kind}/{name}"].to_dataset()
        xr.testing.assert_identical(node.load(), dvis.open(store, run, kind=kind, name=name).load())
        assert node.attrs["model"] == "net"
    with pytest.raises(
        KeyError, match=r"No kind 'chains' in dvis. Kinds: features, responses, llc"
    ):
        dvis.open(store, kind="chains")
    with pytest.raises(ValueError, match="has responses by several names"):
        dvis.open(store, kind="responses")


@pytest.mark.usefixtures("one_thread", "ten_classes")
def test_every_kind_grows_by_the_door_from_python(old: Path) -> None:
    store, run = old / "net.zarr", old / "run"
    before = {kind: dvis.open(store, kind=kind).load() for kind in ("features", "llc")}
    of_images = dvis.responses(store, name="shapes-val").load()
    where = {"store": store, "workers": 0}
    made = measure.features(
        "tiny_models:net",
        run,
        layers=LAYERS,
        channels=(0, 1, 2),
        max_iterations=8,
        min_iterations=4,
        **where,
    )
    assert (made.n_measured, made.n_failed) == (2 * 3, 0)
    assert made.kept["of other options"] == 2 * 2 * 3  # the defaults were others
    measured = measure.responses(
        "tiny_models:net", [run], layers=[*LAYERS, "fc"], dataset="shapes", n_images=4, **where
    )
    assert (measured.n_measured, measured.n_failed) == (3 * 16, 0)
    sampled = measure.llc(
        "tiny_models:net",
        str(run),
        epsilon=(1e-4,),
        gamma=(10.0, 100.0),
        chains=3,
        dataset="shapes",
        n_images=8,
        draws=6,
        burn_in=4,
        batch_size=4,
        n_curvature_iterations=2,
        **where,
    )
    assert (sampled.n_measured, sampled.n_failed) == (3 * 2, 0)
    assert dvis.check_store(store) == []
    after = {kind: dvis.open(store, kind=kind).load() for kind in before}
    # What older versions did not keep.
    after["features"] = after["features"].drop_vars("depth")
    old_units = {"channel": [0, 1]}
    for name in ("image", "activation", "loss", "status"):
        xr.testing.assert_equal(
            after["features"][name].sel(old_units), before["features"][name].sel(old_units)
        )
    assert (after["features"].status.sel(channel=2) == 1).all()
    xr.testing.assert_equal(after["llc"].loss.sel(chain=[0, 1]), before["llc"].loss)
    grown = dvis.responses(store, name="shapes-val").load().drop_vars("depth")
    xr.testing.assert_equal(
        grown.response.sel(layer=of_images.layer)[:, :, :10], of_images.response
    )


def test_the_door_names_options_that_there_are() -> None:
    with pytest.raises(KeyError, match="Did you mean 'channels'"):
        measure.features("resnet18", channel=(1,))
    with pytest.raises(KeyError, match="Did you mean 'dataset'"):
        measure.responses("resnet18", data_set="digits")


def test_births_of_an_old_store_say_what_they_cannot_tell(old: Path) -> None:
    store = old / "net.zarr"
    for run in dvis.runs(store):
        found = dvis.open(store, run).dvis.births()
        assert (found.attrs["measure"], found.attrs["variable"]) == ("raw", "activation")
        assert "gains which grow at once look like births" in found.attrs["comment"]
    for name in ("classes", "shapes-val"):
        found = dvis.responses(store, name=name).dvis.births()
        assert found.attrs["measure"] == "correlation"
        assert found.birth.dims == ("layer", "channel")


def test_an_old_store_is_held_against_reference_images(old: Path, ten_classes: None) -> None:
    store = old / "net.zarr"
    before = dvis.open(store, "checkpoints").load()
    complete = before.status == 1
    channels = before.channel[complete.any(["checkpoint", "layer"])].values.tolist()
    measure.features(
        "tiny_models:net",
        old / "run",
        store=store,
        run="checkpoints",
        layers=[str(layer) for layer in before.layer.values],
        channels=channels,
        workers=0,
    )
    after = dvis.open(store, "checkpoints")
    kept = after.activation.where(complete), after.image.where(complete)
    np.testing.assert_array_equal(kept[0], before.activation.where(complete))
    np.testing.assert_array_equal(kept[1], before.image.where(complete))
    np.testing.assert_array_equal(after.reference_sd.notnull() & complete, complete)
    assert after.dvis.births().attrs["measure"] == "standardised"
