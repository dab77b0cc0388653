"""What dvis opens, written elsewhere by xarray and read back: the same values, the same labels."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_chains import write_all
from made_up_responses import RUN, write_responses
from recorded_stores import write_store
from slowly import slowly
from trees import write_tree

import dvis
from dvis.store.portable import nested, portable_attrs

pytestmark = [
    # Of zarr, of any text that numpy holds at a fixed width.
    pytest.mark.filterwarnings("ignore:The data type .FixedLengthUTF32"),
    # Of xarray, of chunks that were asked for.
    pytest.mark.filterwarnings("ignore:The specified chunks separate the stored chunks"),
]
LABELS = [f"checkpoint_2024-03-25-00h{i:02d}_epoch_0_train_{10 * i}.pth.tar" for i in range(23)]

FORMATS = ["netcdf", "zarr 2", "zarr 3"]


def written_and_read(written: xr.Dataset, path: Path, form: str) -> xr.Dataset:
    if form == "netcdf":
        pytest.importorskip("h5py")
        written.to_netcdf(path, engine="h5netcdf")
        return xr.open_dataset(path, engine="h5netcdf")
    written.to_zarr(path, zarr_format=int(form[-1]), consolidated=False)
    return xr.open_zarr(path, consolidated=False, chunks=None)


def assert_same(read: xr.Dataset, written: xr.Dataset) -> None:
    assert set(read.variables) == set(written.variables)
    for name, variable in written.variables.items():
        assert read.variables[name].dims == variable.dims
        np.testing.assert_array_equal(read.variables[name].values, variable.values, str(name))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported in three parts, so that rows lie in another order than checkpoints were trained."""
    root = tmp_path_factory.mktemp("abroad")
    mixed = np.random.default_rng(0).permutation(LABELS).tolist()
    for part in (mixed[:9], mixed[9:16], mixed[16:]):
        tree = write_tree(root, part, ("layer1", "layer2"), 2, size=8)
        dvis.ingest_tree(tree, store=root / "s.zarr", workers=1)
        shutil.rmtree(tree)
    return root / "s.zarr"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "chunks",
    [
        *(None, {}, {"checkpoint": 7}),
        *map(slowly, ("auto", {"checkpoint": 1}, {"channel": 1, "layer": 2}, -1)),
    ],
    ids=str,
)
def test_features_are_the_same_abroad(store: Path, chunks: Any, form: str, tmp_path: Path) -> None:
    opened = dvis.open(store, chunks=chunks)
    read = written_and_read(opened, tmp_path / "abroad", form)
    assert_same(read, dvis.open(store))
    assert read.checkpoint.values.tolist() == LABELS
    assert read.status.attrs["flag_meanings"] == "absent complete incomplete failed dead"
    tables = nested(read.attrs["parameters"])
    assert (tables if isinstance(tables, dict) else tables[0])["learning_rate"] == 0.1


def test_chunks_are_as_long_as_they_were_asked_for(store: Path) -> None:
    opened = dvis.open(store, chunks={"checkpoint": 7})
    assert opened.image.chunksizes["checkpoint"] == (7, 7, 7, 2)
    assert opened.loss.chunksizes["checkpoint"] == (7, 7, 7, 2)


@pytest.mark.parametrize("form", FORMATS)
def test_one_variable_goes_abroad(store: Path, form: str, tmp_path: Path) -> None:
    some = dvis.open(store)[["activation"]].sel(layer="layer1").isel(checkpoint=slice(3, 9))
    assert_same(written_and_read(some, tmp_path / "abroad", form), some)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["image", "class", "image_checkpoint"])
def test_responses_go_abroad(kind: Any, form: str, tmp_path: Path) -> None:
    write_responses(tmp_path / "r.zarr", kind)
    responses = dvis.responses(tmp_path / "r.zarr")
    read = written_and_read(responses, tmp_path / "abroad", form)
    assert_same(read, responses)
    images = {"name": "made up", "run": RUN, "checkpoint": "all"}
    assert json.loads(read.attrs["images"]) == images


@pytest.mark.parametrize("form", ["netcdf", "zarr 3", slowly("zarr 2")])
def test_chains_and_their_llc_go_abroad(form: str, tmp_path: Path) -> None:
    write_all(tmp_path / "c.zarr")
    for name, opened in (
        ("traces", dvis.llc_traces(tmp_path / "c.zarr")),
        ("llc", dvis.llc(tmp_path / "c.zarr")),
        ("lazy", dvis.llc(tmp_path / "c.zarr", chunks={})),
    ):
        read = written_and_read(opened, tmp_path / name, form)
        assert_same(read, opened)
        assert json.loads(read.attrs["shown"])["gamma"] == 1.0


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_tree_goes_abroad(store: Path, form: str, tmp_path: Path) -> None:
    whole = dvis.tree(store)
    if form == "netcdf":
        pytest.importorskip("h5py")
        whole.to_netcdf(tmp_path / "abroad.nc", engine="h5netcdf")
        read = xr.open_datatree(tmp_path / "abroad.nc", engine="h5netcdf")
    else:
        whole.to_zarr(tmp_path / "abroad", zarr_format=int(form[-1]), consolidated=False)
        read = xr.open_datatree(tmp_path / "abroad", engine="zarr", consolidated=False)
    path = "/checkpoints/features/average-0"
    assert_same(read[path].to_dataset(), whole[path].to_dataset())
    assert read.attrs["model"] == "resnet18"


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_read_back_says_what_it_can_and_cannot(form: str, tmp_path: Path) -> None:
    labels = LABELS[:4]
    written = dvis.open(write_store(tmp_path / "s.zarr", labels, ["layer1"]))
    read = written_and_read(written, tmp_path / "abroad", form)
    unit = (labels[1], "layer1", 0)
    xr.testing.assert_equal(
        read.dvis.model_input(*unit).drop_vars(read.coords, errors="ignore"),
        written.dvis.model_input(*unit).drop_vars(written.coords, errors="ignore"),
    )
    assert_same(read.dvis.births().load(), written.dvis.births().load())
    assert read.dvis.at(step=12).checkpoint.item() == written.dvis.at(step=12).checkpoint.item()
    with pytest.raises(ValueError, match=r"was read from another file(.|\n)*llc_traces\(STORE\)"):
        read.dvis.llc_traces()


def test_what_a_store_tells_of_itself_is_left_as_it_was(store: Path) -> None:
    opened = dvis.open(store)
    for variable in opened.variables.values():
        assert not {"chunks", "serializer", "compressors", "shards"} & variable.encoding.keys()
    dvis.open(store).attrs["model"] = "other"
    assert dvis.open(store).attrs == opened.attrs


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("text", "text"),
        (True, 1),
        ([1, 2.5], [1, 2.5]),
        (["a", "b"], ["a", "b"]),
        ({"a": None}, '{"a": null}'),
        ([{"a": 1}, {"b": [True]}], ['{"a": 1}', '{"b": [true]}']),
        ([[1, 2], [3]], ["[1, 2]", "[3]"]),
        ([True, None], ["true", "null"]),
        (2**64, str(2**64)),
    ],
)
def test_attributes_are_made_plain(value: Any, plain: Any) -> None:
    made = portable_attrs({"value": value})["value"]
    assert made == plain
    assert type(made) is type(plain)
    if plain != value and not isinstance(value, bool):
        assert nested(made) == value


@pytest.mark.parametrize("value", [None, []])
def test_attributes_that_say_nothing_are_left_out(value: Any) -> None:
    assert portable_attrs({"value": value}) == {}
