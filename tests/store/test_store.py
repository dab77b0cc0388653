"""Opening a store: labels, order, laziness, places, and errors that help."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dask.array
import fsspec
import matplotlib.pyplot as plt
import numpy as np
import obstore.store
import pytest
import xarray as xr
import zarr
from trees import CHECKPOINTS, write_tree

import dvis
from dvis.info import list_problems
from dvis.kinds.features.tally import count_units
from dvis.names import parse_checkpoint
from dvis.schema import SchemaError, Status


def test_trajectory_is_one_selection_and_plots(sample_store: Path) -> None:
    ds = dvis.open(sample_store)
    (line,) = ds.sel(layer="layer4", channel=0).activation.plot()
    assert line.get_ydata().shape == (14,)
    for x in ("step", "time"):
        plt.figure()
        (line,) = ds.sel(layer="layer4", channel=0).activation.plot(x=x)
        assert len(line.get_xdata()) == 14


def test_checkpoints_are_in_training_order(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, [*reversed(CHECKPOINTS), "other_10", "other_9"], ("layer1",), 1)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    ds = dvis.open(tmp_path / "s.zarr")
    assert ds.checkpoint.values.tolist() == [*CHECKPOINTS, "other_9", "other_10"]
    assert ds.phase.values.tolist() == ["train"] * 3 + ["val", "end", "train", "", ""]
    # Unknown is NaN, never a number that plots.
    np.testing.assert_array_equal(ds.epoch, [0] * 5 + [1] + [np.nan] * 2)
    assert np.isnat(ds.time.values[-2:]).all()


def test_selections_of_several_units(sample_store: Path) -> None:
    ds = dvis.open(sample_store)
    assert ds.sel(layer=["layer1", "layer4"]).activation.shape == (14, 2, 4)
    assert ds.sel(layer="layer1", channel=slice(1, 2)).image.shape == (14, 2, 112, 112, 3)
    assert ds.sel(channel=[3, 0]).activation.shape == (14, 3, 2)
    last = ds.isel(checkpoint=-1)
    assert last.image.sel(layer="layer4", channel=1).values.any()


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
def test_any_selection_of_images_equals_the_same_of_all(
    sample_tree: Path, tmp_path: Path, codec: str
) -> None:
    dvis.ingest_tree(sample_tree / "checkpoints", store=tmp_path / "s.zarr", codec=codec)
    ds = dvis.open(tmp_path / "s.zarr")
    everything = ds.image.values
    for index in (
        np.s_[3, 1, 2],
        np.s_[2:9:3, :, 1],
        np.s_[[5, 1, 1], 0, [3, 0]],
        np.s_[:, 2, 3, 10:20, ::7, 1],
        np.s_[-1, [2, 0], :, 5],
        np.s_[::-1, 1, 1],
        np.s_[np.arange(14) > 9, 0, 0],
    ):
        dims = dict(zip(ds.image.dims, index, strict=False))
        expected = ds.image.copy(data=everything).isel(dims)
        np.testing.assert_array_equal(ds.image.isel(dims).values, expected.values)
    points = {
        "checkpoint": ("p", [3, 3, 8]),
        "layer": ("p", [0, 2, 0]),
        "channel": ("p", [1, 1, 3]),
    }
    points = {dim: xr.Variable(*value) for dim, value in points.items()}
    np.testing.assert_array_equal(
        ds.image.isel(points).values, everything[[3, 3, 8], [0, 2, 0], [1, 1, 3]]
    )


def test_opening_reads_no_image_and_no_scalar(own_store: Path) -> None:
    group = own_store / "checkpoints" / "features" / "average-0"
    for name in ("image", "activation", "loss", "status"):
        for path in (group / name).rglob("*"):
            if path.is_file() and path.name != "zarr.json":
                path.write_bytes(b"not to be read")
    ds = dvis.open(own_store)
    assert ds.image.shape == (14, 3, 4, 112, 112, 3)
    with pytest.raises(ValueError, match="chunk of pictures"):
        ds.image.isel(checkpoint=0).load()


def test_chunks_give_dask_arrays_of_whole_blocks(sample_store: Path) -> None:
    lazy, eager = dvis.open(sample_store, chunks={}), dvis.open(sample_store)
    assert isinstance(lazy.image.data, dask.array.Array)
    assert lazy.image.data.numblocks == (1, 3, 1, 1, 1, 1)
    assert not isinstance(eager.image.variable._data, dask.array.Array)
    assert lazy.image.mean(("y", "x", "rgb")).equals(eager.image.mean(("y", "x", "rgb")))


def test_plain_xarray_reads_the_same(sample_store: Path) -> None:
    plain = xr.open_zarr(sample_store, group="checkpoints/features/average-0", chunks=None)
    ds = dvis.open(sample_store)
    for name in ds.data_vars:
        np.testing.assert_array_equal(plain[name].values, ds[name].values)
    assert plain.checkpoint.values.tolist() == ds.checkpoint.values.tolist()


def test_plain_xarray_reads_without_importing_dvis(sample_store: Path) -> None:
    program = (
        "import sys, xarray; assert 'dvis' not in sys.modules;"
        f"ds = xarray.open_zarr({str(sample_store)!r}, group='checkpoints/features/average-0');"
        "print(int(ds.image[0, 0, 0].values.sum()))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = int(dvis.open(sample_store).image[0, 0, 0].values.sum())
    assert ended.stdout.strip() == str(expected), ended.stderr


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves ranges too: what Zarr asks of a block."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        first, _, last = wanted.partition("-")
        start = int(first) if first else len(data) - int(last)
        stop = int(last) + 1 if first and last else len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data[start:stop])))
        self.end_headers()
        self.wfile.write(data[start:stop])


@pytest.fixture
def served(sample_store: Path) -> Iterator[str]:
    handler = partial(_QuietHandler, directory=str(sample_store.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/resnet18.zarr"
    server.shutdown()
    server.server_close()
    thread.join()


def test_store_served_over_http(served: str, sample_store: Path) -> None:
    assert dvis.runs(served) == ["checkpoints", "pretrained"]
    remote, local = dvis.open(served), dvis.open(sample_store)
    unit = {"layer": "layer4", "channel": 2}
    assert remote.sel(unit).load().identical(local.sel(unit).load())


def test_store_served_without_ranges(
    served: str, sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_QuietHandler, "do_GET", SimpleHTTPRequestHandler.do_GET)
    unit = {"layer": "layer4", "channel": 2}
    local = dvis.open(sample_store).sel(unit).load()
    assert dvis.open(served).sel(unit).load().identical(local)


def test_counts_and_problems_over_http(served: str, sample_store: Path) -> None:
    assert count_units(served) == count_units(sample_store)
    assert list_problems(served) == list_problems(sample_store)


def test_store_in_memory(sample_store: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(sample_store), "/stores/resnet18.zarr", recursive=True)
    remote = dvis.open("memory://stores/resnet18.zarr", "pretrained", "neuron_3_4-0")
    assert remote.load().identical(dvis.open(sample_store, "pretrained", "neuron_3_4-0").load())


def test_store_through_obstore(sample_store: Path) -> None:
    store = zarr.storage.ObjectStore(obstore.store.LocalStore(sample_store), read_only=True)
    assert dvis.open(store).load().identical(dvis.open(sample_store).load())


def test_runs_and_variants(sample_store: Path) -> None:
    assert dvis.runs(sample_store) == ["checkpoints", "pretrained"]
    assert dvis.variants(sample_store) == ["average-0", "average-0@64px"]
    assert dvis.variants(sample_store, "pretrained")[-2:] == ["neuron_3_4-0", "sum-0"]
    small = dvis.open(sample_store, variant="average-0@64px")
    assert small.image.shape == (1, 1, 1 + 1, 64, 64, 3)
    assert small.attrs["model"] == "resnet18"


def test_errors_of_opening_say_what_there_is(sample_store: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"Runs: checkpoints, pretrained. Did you mean 'pretrained'"):
        dvis.open(sample_store, run="pretraned")
    with pytest.raises(KeyError, match="Did you mean 'average-0'"):
        dvis.open(sample_store, variant="average")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'resnet18.zarr'"):
        dvis.open(sample_store.with_name("resnet81.zarr"))
    with pytest.raises(FileNotFoundError, match="a jpg/json tree goes in by `dvis ingest`"):
        dvis.open(tmp_path)
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(SchemaError, match="no dvis store"):
        dvis.open(tmp_path / "other.zarr")
    with pytest.raises(ImportError, match=r"pip install 'dvis\[remote\]'"):
        dvis.open("nosuch://bucket/resnet18.zarr")


def test_a_wrong_label_is_answered_with_those_there_are(sample_store: Path) -> None:
    ds = dvis.open(sample_store)
    with pytest.raises(KeyError) as caught:
        ds.sel(layer="layr4", channel=0)
    assert "Layers: layer1, layer2.0.conv1, layer4. Did you mean 'layer4'?" in str(caught.value)
    with pytest.raises(KeyError) as caught:
        ds.isel(checkpoint=slice(3)).sel(checkpoint="checkpoint_2024-03-25-00h28")
    assert "epoch_0_train_0" in str(caught.value)


def test_labels_behave_as_xarrays_own(sample_store: Path) -> None:
    ds = dvis.open(sample_store)[["activation", "status"]].load()
    plain = xr.Dataset(
        {name: (var.dims, var.values) for name, var in ds.data_vars.items()},
        coords={"layer": ds.layer.values, "checkpoint": ds.checkpoint.values},
    )
    assert (ds.activation - plain.activation).fillna(0).sum() == 0
    assert xr.concat([ds, ds], "twice").sizes["twice"] == 2
    assert pickle.loads(pickle.dumps(ds)).identical(ds)
    assert ds.sel(layer=["layer4", "layer1"]).layer.values.tolist() == ["layer4", "layer1"]
    assert ds.reindex(layer=["layer1", "layer9"]).activation.isnull().sum() >= 56
    assert ds.groupby("phase").mean().sizes["phase"] == 1
    assert ds.to_dataframe().index.names == ["checkpoint", "layer", "channel"]
    assert ds.copy(deep=True).stack(unit=["layer", "channel"]).sizes["unit"] == 12


def test_a_store_of_a_newer_schema_is_refused(own_store: Path) -> None:
    zarr.open_group(own_store, mode="r+").attrs["dvis_schema"] = 2
    with pytest.raises(SchemaError, match="Update dvis"):
        dvis.open(own_store)


def test_a_group_that_a_killed_writer_left_half_grown_is_read_and_set_right(
    own_store: Path, sample_tree: Path
) -> None:
    before = dvis.open(own_store).load()
    group = zarr.open_group(
        own_store, path="checkpoints/features/average-0", mode="r+", use_consolidated=False
    )
    for name in ("image", "activation", "status"):
        group[name].resize((20, *group[name].shape[1:]))
    assert dvis.open(own_store).load().identical(before)
    dvis.ingest_tree(sample_tree, store=own_store)
    assert dvis.open(own_store).load().identical(before)
    assert dvis.check_store(own_store) == []


def test_absent_is_not_black(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2], ("layer1",), 2)
    (tree / "checkpoints" / CHECKPOINTS[0] / "layer_layer1_channel_1_average.jpg").unlink()
    (tree / "checkpoints" / CHECKPOINTS[0] / "layer_layer1_channel_1_average.info.json").unlink()
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    ds = dvis.open(tmp_path / "s.zarr")
    assert ds.status.values[:, 0].tolist() == [
        [Status.COMPLETE, Status.ABSENT],
        [Status.COMPLETE, Status.COMPLETE],
    ]
    assert not ds.image.values[0, 0, 1].any()


def test_import_of_dvis_is_light() -> None:
    program = (
        "import sys, dvis, dvis.cli;"
        "heavy = {'torch', 'matplotlib', 'distributed', 'dask.distributed'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("label", "epoch", "phase", "batch"),
    [
        ("checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar", 0, "train", 200),
        ("checkpoint_2024-03-25-00h28_epoch_12_val_3.pth.tar", 12, "val", 3),
        ("checkpoint_2024-03-25-00h28_epoch_7_end.pth.tar", 7, "end", -1),
        ("checkpoint_2024-13-25-00h28_epoch_7_end.pth.tar", 7, "end", -1),
        ("full", -1, "", -1),
    ],
)
def test_names_of_checkpoints_are_read(label: str, epoch: int, phase: str, batch: int) -> None:
    name = parse_checkpoint(label)
    assert (name.epoch, name.phase, name.batch) == (epoch, phase, batch)
    assert np.isnat(name.time) == ("2024-03-25" not in label)
