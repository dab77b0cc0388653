"""Export: tree -> store -> tree is identity, for every tree that an import takes."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_responses import write_responses
from recorded_stores import write_store
from slowly import slowly
from trees import CHECKPOINTS, info_of, jpg_of, read_tree, write_tree, write_unit

import dvis
from dvis.info import list_problems
from dvis.kinds.features.tree.command import export
from dvis.kinds.features.tree.tree_names import FeatureName, parse_stem, stem_of
from dvis.kinds.features.words import Variant
from dvis.schema import TEXT, group_path
from dvis.store.writer import restructuring

# Of examples that take two seconds.
FEWER = settings(max_examples=settings.default.max_examples // 3)
JPGS = [jpg_of(i) for i in range(6)] + [jpg_of(6, size=24), jpg_of(7, mode="L")]

name_letters = st.characters(
    codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs", "Cc")
)
names = st.text(name_letters, min_size=1, max_size=12).filter(
    lambda name: name.strip(".") != "" and len(name.encode()) < 60
)
layers = names | st.sampled_from(["layer1", "layer2.0.conv1", "Mixed_5b.branch1x1.conv"])
# Hidden folders are no checkpoints.
labels = st.sampled_from(CHECKPOINTS) | names.filter(lambda name: not name.startswith("."))
floats = st.floats(width=64) | st.floats(width=32) | st.integers(-(10**20), 10**20)
json_values = (
    st.none() | st.booleans() | floats | st.text(max_size=5) | st.lists(floats, max_size=3)
)
kinds = st.sampled_from(
    ["average", "average-0", "average-3", "sum", "center-1", "neuron_3_4", "neuron_0_11-0"]
)


@st.composite
def infos(draw: st.DrawFn, layer: str, channel: int, kind: str) -> dict[str, Any]:
    """Content of an info.json: mostly as written by the old command, sometimes odd."""
    objective, _, image = kind.partition("-")
    variant = Variant(objective, int(image or 0))
    record: dict[str, Any] = info_of(
        layer,
        channel,
        Neuron=variant.neuron,
        Aggregation=variant.aggregation,
        Activation=draw(floats),
        **{
            "Convergence Iteration": draw(st.integers(-5, 2**40)),
            "Loss Values": draw(st.lists(floats, max_size=5) | json_values),
            "Parameters": draw(st.dictionaries(st.text(max_size=4), json_values, max_size=3)),
        },
    )
    if draw(st.booleans()):
        record["Image Number"] = variant.image
    if draw(st.booleans()):
        record["Parameters"]["seed"] = draw(st.none() | st.integers(-1, 2**33))
    for key in draw(
        st.sets(st.sampled_from(["Parameters", "Loss Values", "Layer", "Neuron"]), max_size=1)
    ):
        del record[key]
    if draw(st.booleans()):
        record[draw(st.text(max_size=4))] = draw(json_values)
    return record


@st.composite
def units(draw: st.DrawFn) -> tuple[str, str, int, str, bytes | None, dict[str, Any] | None]:
    layer, channel, kind = draw(layers), draw(st.integers(0, 70)), draw(kinds)
    jpg = draw(st.none() | st.sampled_from(JPGS))
    info = draw(
        infos(layer, channel, kind) if jpg is None else st.none() | infos(layer, channel, kind)
    )
    return draw(labels), layer, channel, kind, jpg, info


def write(
    model: Path, unit: tuple[str, str, int, str, bytes | None, dict[str, Any] | None]
) -> None:
    label, layer, channel, kind, jpg, info = unit
    stem = write_unit(model / "a run" / label, layer, channel, kind=kind, jpg=jpg, info=info)
    if jpg is None:
        stem.with_name(stem.name + ".jpg").unlink()
    if info is None:
        stem.with_name(stem.name + ".info.json").unlink()


def one_form_each(drawn: list[Any]) -> list[Any]:
    """Units without a second one of another form: of those, the older is not kept."""
    kept: dict[Any, Any] = {}
    for unit in drawn:
        label, layer, channel, kind, *_ = unit
        name = parse_stem(f"layer_{layer}_channel_{channel}_{kind}")
        assert name is not None
        kept[label, name.layer, name.channel, name.variant] = unit
    return list(kept.values())


@FEWER
@given(st.lists(units(), min_size=1, max_size=8).map(one_form_each))
def test_tree_to_store_to_tree_is_identity(drawn: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "feature_images" / "resnet18"
        for unit in drawn:
            write(model, unit)
        store = Path(folder) / "s.zarr"
        dvis.ingest_tree(model, store=store)
        assert dvis.check_store(store) == []
        assert read_tree(dvis.export_tree(store, Path(folder) / "out").folder) == read_tree(model)


@FEWER
@given(st.data())
def test_order_in_which_files_arrive_does_not_matter(data: st.DataObject) -> None:
    drawn = data.draw(st.lists(units(), min_size=2, max_size=8).map(one_form_each))
    order = data.draw(st.permutations(range(len(drawn))))
    cut = data.draw(st.integers(0, len(drawn)))
    drawn = [(*unit[:4], JPGS[len(unit[1]) % 6], unit[5]) for unit in drawn]  # of one size
    with tempfile.TemporaryDirectory() as folder:
        stores = []
        for name, parts in (
            ("at_once", [list(range(len(drawn)))]),
            ("in_two", [order[:cut], order[cut:]]),
        ):
            model = Path(folder) / name / "feature_images" / "resnet18"
            stores.append(Path(folder) / name / "s.zarr")
            for part in filter(None, parts):
                for i in part:
                    write(model, drawn[i])
                dvis.ingest_tree(model, store=stores[-1])
        assert dvis.variants(stores[0]) == dvis.variants(stores[1])
        for variant in dvis.variants(stores[0]):
            at_once, in_two = (dvis.open(store, "a run", variant).load() for store in stores)
            assert at_once.drop_vars("params").equals(in_two.drop_vars("params"))
        assert list_problems(stores[0]) == list_problems(stores[1])


@given(layers, st.integers(0, 10**6), kinds)
def test_names_of_units_round_trip(layer: str, channel: int, kind: str) -> None:
    stem = f"layer_{layer}_channel_{channel}_{kind}"
    name = parse_stem(stem)
    assert isinstance(name, FeatureName)
    variant = Variant.parse(name.variant)
    assert stem_of(name.layer, name.channel, variant, 4 if name.is_numbered else 0) == stem


def test_sample_comes_back_byte_for_byte(
    sample_store: Path, sample_tree: Path, tmp_path: Path
) -> None:
    out = dvis.export_tree(sample_store, tmp_path).folder
    exported, original = read_tree_bytes(out), read_tree_bytes(sample_tree)
    # The half jpg, the half json, and the two files that contradict each other.
    assert len(original) - len(exported) == 4
    assert exported.items() <= original.items()


def read_tree_bytes(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.suffix in (".jpg", ".json")
    }


def test_export_goes_on_and_replaces_only_when_told(sample_store: Path, tmp_path: Path) -> None:
    report = dvis.export_tree(sample_store, tmp_path)
    changed = sorted(report.folder.rglob("*.jpg"))[3]
    content = changed.read_bytes()
    changed.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        dvis.export_tree(sample_store, tmp_path)
    assert changed.read_bytes() == b"mine"
    again = dvis.export_tree(sample_store, tmp_path, overwrite=True)
    assert changed.read_bytes() == content
    assert again.n_unchanged == report.n_images + report.n_infos - 1


def test_raw_store_exports_its_pixels_as_jpgs(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", codec="raw")
    report = dvis.export_tree(tmp_path / "s.zarr", tmp_path / "out")
    assert report.n_encoded == report.n_images == 12
    dvis.ingest_tree(report.folder, store=tmp_path / "s2.zarr")
    first, second = (dvis.open(tmp_path / name).image for name in ("s.zarr", "s2.zarr"))
    assert float(np.abs(first.astype(int) - second.astype(int)).mean()) < 3


def test_numbers_beyond_float32_survive(tmp_path: Path) -> None:
    info = info_of("layer1", 0, Activation=0.1, **{"Loss Values": [math.pi, 1e300, math.nan]})
    tree = tmp_path / "feature_images" / "resnet18"
    write_unit(tree / "checkpoints" / "full", info=info)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    out = dvis.export_tree(tmp_path / "s.zarr", tmp_path / "out").folder
    (file,) = out.rglob("*.json")
    assert json.dumps(json.loads(file.read_text())) == json.dumps(info)


def test_responses_are_named_as_no_part_of_the_tree(
    own_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dvis.export_tree(own_store, tmp_path / "before").others == []
    write_responses(own_store, "class")
    assert dvis.export_tree(own_store, tmp_path / "after").others == [
        "responses mine of checkpoints"
    ]
    before, after = (read_tree_bytes(tmp_path / name) for name in ("before", "after"))
    assert before == after
    assert export(own_store, tmp_path / "after") == 0
    assert "not part of the tree: responses mine of checkpoints\n" in capsys.readouterr().out


def relabelled(store: Path, what: str, label: str) -> None:
    """Write another label into a store, as somebody who means harm would."""
    path = "" if what == "model" else group_path("checkpoints", "features", "average-0")
    with restructuring(store):
        group = zarr.open_group(store, path=path, mode="r+", use_consolidated=False)
        if what in ("model", "run"):
            group.update_attributes({what: label})
        else:
            array: Any = group[what]
            array[-1:] = np.array([label], TEXT)


@pytest.mark.parametrize("what", ["model", "run", "checkpoint", "layer"])
@pytest.mark.parametrize(
    "label", ["/{outside}/x", "nul\0", *map(slowly, ("../../x", "a/../../../x", "a//b", "a/"))]
)
def test_labels_that_are_no_names_of_files_are_refused_before_anything_is_written(
    what: str, label: str, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0", "step_1"], ["conv1", "conv2"], model="net")
    label = label.format(outside=tmp_path / "outside")
    relabelled(store, what, label)
    out = tmp_path / "deep" / "er" / "out"
    with pytest.raises(ValueError, match=rf"The {what} .* lead elsewhere.*Nothing was written"):
        dvis.export_tree(store, out)
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", ".s.zarr.locks"}


@pytest.mark.parametrize("label", ["", ".", ".."])
@pytest.mark.parametrize("what", ["model", "run", "checkpoint"])
def test_labels_that_name_the_folder_itself_are_refused(
    what: str, label: str, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"])
    relabelled(store, what, label)
    with pytest.raises(ValueError, match=f"The {what} "):
        dvis.export_tree(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_backslash_in_a_label_is_a_letter(tmp_path: Path) -> None:
    labels = ["a\\b", "..\\x", "C:\\x"]
    store = write_store(tmp_path / "s.zarr", labels, ["conv1"], n_channels=1)
    report = dvis.export_tree(store, tmp_path / "out")
    assert {path.name for path in (report.folder / "checkpoints").iterdir()} == set(labels)


def test_a_row_that_a_killed_writer_left_without_label_does_not_stop_an_export(
    own_store: Path, tmp_path: Path
) -> None:
    group = zarr.open_group(
        own_store,
        path=group_path("checkpoints", "features", "average-0"),
        mode="r+",
        use_consolidated=False,
    )
    for name, array in group.arrays():
        if "checkpoint" in (array.metadata.dimension_names or ()):
            group[name].resize((array.shape[0] + 1, *array.shape[1:]))
    for name in ("form", "info", "problem", "fingerprint"):
        array = group[f"source/{name}"]
        array.resize((array.shape[0] + 1, *array.shape[1:]))
    assert dvis.export_tree(own_store, tmp_path / "out").n_images


@pytest.mark.parametrize("link", ["", "/checkpoints", "/checkpoints/{label}", "{file}"])
def test_nothing_is_exported_through_a_link(link: str, own_store: Path, tmp_path: Path) -> None:
    dvis.export_tree(own_store, tmp_path / "first")
    file = sorted((tmp_path / "first").rglob("*.jpg"))[0]
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis").write_text("years of work")
    out = tmp_path / "out"
    relative = "resnet18" + link.format(
        label=file.parent.name, file=file.as_posix().partition("/resnet18")[2]
    )
    (out / relative).parent.mkdir(parents=True)
    (out / relative).symlink_to(home / "thesis" if link == "{file}" else home)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is a symbolic link"):
            dvis.export_tree(own_store, out, overwrite=overwrite)
    assert [path.name for path in home.rglob("*")] == ["thesis"]
    assert (home / "thesis").read_text() == "years of work"
