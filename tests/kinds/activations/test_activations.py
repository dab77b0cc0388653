"""Activations of an image set: what plain passes give, labelled, in files that are arrays."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from slowly import slowly
from tiny_activations import (
    LAYERS,
    N_IMAGES,
    as_rows,
    first_net,
    fixed_images,
    loaded,
    options_of,
    plain_outputs,
    small_blocks,
    store_of,
    value_files,
)
from tiny_models import seeded_net, transformer, write_checkpoints

import dvis
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.forgetting import forget_checkpoints
from dvis.models.data import load_images
from dvis.store.checksums import with_checksum, without_checksum
from dvis.store.datasets import are_held_out, open_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)


@pytest.fixture
def options(tmp_path: Path) -> ActivationOptions:
    return options_of(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ActivationOptions:
    """Activations that are kept, to read."""
    options = options_of(tmp_path_factory.mktemp("kept"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_blocks(monkeypatch)
        keep_activations(options)
    return options


@pytest.fixture
def own(kept: ActivationOptions, tmp_path: Path) -> ActivationOptions:
    """A copy of these and of their checkpoints, to change."""
    shutil.copytree(store_of(kept).parent, tmp_path, dirs_exist_ok=True)
    return options_of(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_are_those_of_a_plain_pass(options: ActivationOptions, dtype: str) -> None:
    report = keep_activations(replace(options, dtype=dtype))
    n_blocks = 3 if dtype == "float16" else 6
    assert (report.n_measured, report.n_failed) == (2 * 3 * n_blocks, 0)
    images = fixed_images()
    for layer in LAYERS:
        dataset = loaded(options, layer)
        assert dataset["values"].dims == ("checkpoint", "sample", "token", "channel")
        assert dataset["sample"].values.tolist() == list(images.images.sample_ids)
        output = plain_outputs(first_net(), layer, images)
        expected = as_rows(output) if output.ndim == 4 else output[:, None].numpy()
        assert dataset["values"].dtype == dtype
        tolerance = 1e-5 if dtype == "float32" else 2e-3
        values = dataset["values"].values[0].astype(np.float32)
        np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)


def test_tokens_of_a_map_are_row_by_row(options: ActivationOptions) -> None:
    keep_activations(replace(options, dtype="float32"))
    dataset = loaded(options, "conv1")
    output = plain_outputs(first_net(), "conv1", fixed_images()).numpy()
    for token in (0, 1, 16, 37, 255):
        row, column = (int(dataset[name][token]) for name in ("row", "column"))
        values = dataset["values"].values[0, :, token]
        np.testing.assert_allclose(values, output[:, :, row, column], rtol=1e-5, atol=1e-5)
    assert not dataset["is_special"].any()


def test_moments_are_those_of_the_values(kept: ActivationOptions) -> None:
    for layer in LAYERS:
        dataset = loaded(kept, layer)
        values = dataset["values"].astype(np.float64)
        over = ("sample", "token")
        np.testing.assert_allclose(dataset["mean"], values.mean(over), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(dataset["std"], values.std(over), rtol=1e-6, atol=1e-9)
        assert int(dataset["count"].sum("block")[0]) == values[0, ..., 0].size


def test_moments_are_lazy_and_select(kept: ActivationOptions) -> None:
    dataset = dvis.activations(store_of(kept), "conv1")
    one = dataset["mean"].isel(checkpoint=1, channel=[3, 1])
    np.testing.assert_array_equal(one, loaded(kept, "conv1")["mean"].values[1, [3, 1]])


def test_a_chunk_file_is_the_array(kept: ActivationOptions) -> None:
    folder = store_of(kept) / "checkpoints/activations/shapes-val/conv2/values"
    values = loaded(kept, "conv2")["values"].values
    for block in range(3):
        path = folder / f"c/1/{block}/0/0"
        mapped = np.memmap(path, "<f2", mode="r", shape=(8, 64, 16))
        n_samples = min(8, N_IMAGES - 8 * block)
        np.testing.assert_array_equal(mapped[:n_samples], values[1, 8 * block : 8 * block + 8])
        assert np.isnan(mapped[n_samples:]).all()


@pytest.mark.parametrize("workers", [slowly(1), 2])
def test_bytes_are_the_same_with_workers(
    kept: ActivationOptions, tmp_path: Path, workers: int
) -> None:
    parallel = replace(kept, store=tmp_path / "parallel.zarr", workers=workers)
    keep_activations(parallel)
    assert len(value_files(store_of(kept))) == 2 * 3 * 3
    assert value_files(store_of(parallel)) == value_files(store_of(kept))
    for layer in LAYERS:
        xr.testing.assert_identical(
            loaded(parallel, layer).drop_attrs(), loaded(kept, layer).drop_attrs()
        )


def test_bytes_are_the_same_where_workers_hand_values_back(
    kept: ActivationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvis.kinds.activations.value_files.is_held_by", lambda *_: False)
    handed = replace(kept, store=tmp_path / "handed.zarr")
    keep_activations(handed)
    assert value_files(store_of(handed)) == value_files(store_of(kept))


def test_a_second_call_adds_layers_and_checkpoints_alone(
    options: ActivationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_activations(replace(options, layers=("conv2",)))
    before = value_files(store_of(options))
    small_blocks(monkeypatch, 10**9)  # the store's blocks count, not those of now
    write_checkpoints(tmp_path / "run", 3)
    report = keep_activations(replace(options, layers=("conv2", "conv1")))
    after = value_files(store_of(options))
    n_blocks = -(-N_IMAGES // loaded(options, "conv2").attrs["block_samples"])
    assert len(after) == 2 * 3 * n_blocks
    # The middle one of three checkpoints is of other weights than the last of two under its label.
    assert report.n_measured == len(after) - len(before)
    assert all(after[path] == data for path, data in before.items())
    assert keep_activations(replace(options, layers=("conv2", "conv1"))).n_measured == 0


def test_blocks_of_other_weights_are_not_mixed(options: ActivationOptions, tmp_path: Path) -> None:
    keep_activations(replace(options, layers=("conv2",)))
    before = loaded(options, "conv2")
    first, second = sorted((tmp_path / "run").iterdir())
    second.write_bytes(first.read_bytes())
    report = keep_activations(replace(options, layers=("conv2",)))
    assert report.n_measured == 0
    assert sum(report.kept.values()) > 0
    xr.testing.assert_equal(loaded(options, "conv2")["values"], before["values"])
    keep_activations(replace(options, layers=("conv2",), overwrite=True))
    again = loaded(options, "conv2")["values"].values
    np.testing.assert_array_equal(again[1], again[0])
    np.testing.assert_array_equal(again[0], before["values"].values[0])


def test_samples_are_kept_once_for_all(kept: ActivationOptions) -> None:
    attrs = loaded(kept, "fc").attrs
    samples = open_dataset(store_of(kept), attrs["dataset"])
    images = load_images("shapes", split="val", size=16, n_samples=N_IMAGES)
    assert samples["sample"].values.tolist() == list(images.sample_ids)
    np.testing.assert_array_equal(samples["label"], images.labels)
    np.testing.assert_array_equal(samples["is_held_out"], are_held_out(images.sample_ids))
    assert samples.attrs["classes"] == list(images.classes) == attrs["classes"]
    assert samples.attrs["fingerprint"] == images.fingerprint == attrs["fingerprint"]
    assert len(np.unique(samples["content"])) == N_IMAGES
    assert (samples["height"] == 16).all()
    contents = dvis.contents(store_of(kept))
    assert contents.runs("activations") == ["checkpoints"]
    assert {entry.kind for entry in contents.entries} == {"activations"}


def test_a_tenth_is_held_out_whatever_the_order() -> None:
    ids = [f"sample-{i}" for i in range(5000)]
    held = are_held_out(ids)
    assert 0.08 < held.mean() < 0.12
    np.testing.assert_array_equal(are_held_out(ids[::-1])[::-1], held)


def test_another_set_under_the_name_is_refused(own: ActivationOptions) -> None:
    with pytest.raises(ValueError, match=r"fingerprint .* there, .* asked for.*another --name"):
        keep_activations(replace(own, n_images=N_IMAGES - 1))


def test_the_mean_over_tokens(options: ActivationOptions) -> None:
    keep_activations(replace(options, tokens="mean", layers=("conv1",)))
    dataset = loaded(options, "conv1")
    expected = as_rows(plain_outputs(first_net(), "conv1", fixed_images())).mean(1)
    np.testing.assert_allclose(dataset["values"].values[0, :, 0], expected, rtol=2e-3, atol=2e-3)
    assert dataset["place"].values.tolist() == [-1]


def test_random_tokens_are_the_same_of_all(options: ActivationOptions) -> None:
    keep_activations(replace(options, layers=("conv1",), name="all", seed=3))
    keep_activations(replace(options, layers=("conv1",), name="some", tokens="random:5", seed=3))
    some, whole = (loaded(options, "conv1", name=name) for name in ("some", "all"))
    places = some["place"].values
    assert len(set(places.tolist())) == 5
    np.testing.assert_array_equal(some["values"], whole["values"][:, :, places])
    np.testing.assert_array_equal(some["row"] * 16 + some["column"], places)
    with pytest.raises(ValueError, match=r"257 random tokens.*has 256"):
        keep_activations(replace(options, layers=("conv1",), tokens="random:257"))


def test_tokens_of_a_transformer(tmp_path: Path) -> None:
    layer = "encoder.layers.encoder_layer_0"
    to = {"dataset": "shapes", "n_images": 7, "store": tmp_path / "vit.zarr", "workers": 0}
    dvis.measure.activations(transformer(), layers=["-2"], name="all", dtype="float32", **to)
    dvis.measure.activations(transformer(), layers=[layer], tokens="cls", name="cls", **to)
    whole = dvis.activations(to["store"], layer, name="all").load()
    assert whole["is_special"].values.tolist() == [True, False, False, False, False]
    assert whole["row"].values.tolist() == [-1, 0, 0, 1, 1]
    assert whole["column"].values.tolist() == [-1, 0, 1, 0, 1]
    of_class = dvis.activations(to["store"], layer, name="cls").load()
    np.testing.assert_allclose(
        of_class["values"][:, :, 0], whole["values"][:, :, 0], rtol=2e-3, atol=2e-3
    )


def test_numbers_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    net = seeded_net()
    with torch.no_grad():
        net.conv2.weight *= 1e6
    to = {"dataset": "shapes", "n_images": 5, "store": tmp_path / "net.zarr", "workers": 0}
    report = dvis.measure.activations(net, layers=["conv1", "conv2"], input_size=16, **to)
    assert (report.n_measured, report.n_failed) == (1, 1)
    assert any("conv2 reach" in note and "--dtype float32" in note for note in report.notes)
    dvis.activations(to["store"], "conv1")
    with pytest.raises(ValueError, match=r"1 block of 1 .* not there, of model"):
        dvis.activations(to["store"], "conv2")
    partial = dvis.activations(to["store"], "conv2", allow_partial=True)
    assert np.isnan(partial["values"]).all()
    assert partial["mean"].isnull().all()
    wide = {**to, "name": "wide", "dtype": "float32", "input_size": 16}
    assert dvis.measure.activations(net, layers=["conv2"], **wide).n_failed == 0


def write_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cats/a.png", "cats/b.png", "dogs/c.png", "dogs/d.png"):
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return folder


def test_unreadable_images_are_named_before_anything_runs(
    options: ActivationOptions, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "images")
    (folder / "train/cats/empty.png").touch()
    (folder / "train/dogs/short.png").write_bytes((folder / "train/dogs/c.png").read_bytes()[:200])
    of_folder = replace(
        options, dataset="folder", data_path=folder, split="train", n_images=None, name="pets"
    )
    with pytest.raises(ValueError, match=r"2 images.*\n.*cats/empty\.png.*\n.*dogs/short\.png"):
        keep_activations(of_folder)
    assert value_files(store_of(options)) == {}


def test_duplicates_are_said_and_kept(options: ActivationOptions, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    copy = folder / "train/dogs/copy.png"
    copy.write_bytes((folder / "train/cats/a.png").read_bytes())
    report = keep_activations(
        replace(options, dataset="folder", data_path=folder, split="train", n_images=None)
    )
    said = "2 images show what another one shows: cats/a.png and dogs/copy.png"
    assert any(said in note for note in report.notes)
    values = loaded(options, "conv1")["values"]
    np.testing.assert_array_equal(
        values.sel(sample="cats/a.png"), values.sel(sample="dogs/copy.png")
    )


def test_check_finds_missing_short_and_broken_blocks(own: ActivationOptions) -> None:
    assert dvis.check_store(store_of(own)) == []
    folder = store_of(own) / "checkpoints/activations/shapes-val"
    (folder / "conv1/values/c/0/1/0/0").unlink()
    short = folder / "conv2/values/c/1/2/0/0"
    short.write_bytes(short.read_bytes()[:-2])
    broken = folder / "fc/values/c/0/0/0/0"
    values = np.frombuffer(without_checksum(broken.read_bytes(), "it"), "<f2").copy()
    values[5 * 4 + 1] = np.nan
    broken.write_bytes(with_checksum(values.tobytes()))
    faults = {str(fault) for fault in dvis.check_store(store_of(own))}
    assert len(faults) == 3
    assert any("block 1" in f and "is not there" in f for f in faults)
    assert any("block 2" in f and "should have 16,388" in f for f in faults)
    assert any("block 0" in f and "sample 5 of the block" in f for f in faults)
    dvis.check_store(store_of(own), fix=True)
    assert dvis.check_store(store_of(own)) == []
    with pytest.raises(ValueError, match="not there"):
        loaded(own, "conv1")
    assert keep_activations(own).n_measured == 3
    assert dvis.check_store(store_of(own)) == []
    loaded(own, "fc")


def test_a_forgotten_checkpoint_takes_its_files_along(own: ActivationOptions) -> None:
    before = loaded(own, "conv1")
    label = str(before["checkpoint"].values[0])
    said = list(forget_checkpoints(store_of(own), [label]))
    assert len(said) == 3
    assert len(value_files(store_of(own))) == 9
    xr.testing.assert_equal(loaded(own, "conv1"), before.isel(checkpoint=[1]))
    keep_activations(own)
    xr.testing.assert_equal(loaded(own, "conv1"), before)


def test_the_house_knows_activations(
    own: ActivationOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    from dvis.info import describe

    store = store_of(own)
    lines = describe(store)
    assert any("shapes-val/conv1, 2 checkpoints, 6 complete" in line for line in lines)
    tree = dvis.tree(store)
    of_fc = tree["checkpoints/activations/shapes-val/fc"]
    np.testing.assert_array_equal(of_fc["values"], loaded(own, "fc")["values"])
    opened = dvis.open(store, kind="activations", name="shapes-val/fc")
    np.testing.assert_array_equal(opened["values"], loaded(own, "fc")["values"])
    dvis.compact_store(store)
    assert dvis.check_store(store) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layers": ("conv3",)}, r"No layer 'conv3' in TinyNet.*Did you mean 'conv2'"),
        ({"layers": ("-9",)}, r"layer -9 was asked for; layers are counted from -1 back to -6"),
        ({"layers": ("fc", "-1")}, r"layer fc was asked for twice"),
        ({"tokens": "cls"}, r"tokens is cls, and conv1 has no class token"),
    ],
)
def test_what_is_not_there_is_said(
    options: ActivationOptions, changes: dict[str, object], match: str
) -> None:
    with pytest.raises((KeyError, ValueError), match=match):
        keep_activations(replace(options, **changes))
    assert not store_of(options).exists()


def test_odd_options_are_refused(tmp_path: Path) -> None:
    for changes, match in (
        ({"tokens": "some"}, r"tokens is 'some'; give all, cls, mean, or random:16"),
        ({"dataset": None}, "no dataset given"),
        ({"layers": ()}, "no layers given"),
        ({"budget": "much"}, r"budget is 'much'; give bytes, such as 50GB"),
        ({"name": "a/b"}, "without a slash"),
    ):
        with pytest.raises(ValueError, match=match):
            options_of(tmp_path, **changes)
