"""Export: tree -> store -> tree is identity, for every tree that an import takes."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_responses import write_responses
from trees import CHECKPOINTS, info_of, jpg_of, read_tree, write_tree, write_unit

import dvis
from dvis.kinds.features.tree.command import export
from dvis.kinds.features.tree.tree_names import FeatureName, parse_stem, stem_of
from dvis.kinds.features.words import Variant
from dvis.report import list_problems

JPGS = [jpg_of(i) for i in range(6)] + [jpg_of(6, size=24), jpg_of(7, mode="L")]

name_letters = st.characters(
    codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs", "Cc")
)
names = st.text(name_letters, min_size=1, max_size=12).filter(
    lambda name: name.strip(".") != "" and len(name.encode()) < 60
)
layers = names | st.sampled_from(["layer1", "layer2.0.conv1", "Mixed_5b.branch1x1.conv"])
labels = st.sampled_from(CHECKPOINTS) | names
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
    assert dvis.export_tree(own_store, tmp_path / "before").responses == []
    write_responses(own_store, "class")
    assert dvis.export_tree(own_store, tmp_path / "after").responses == ["mine"]
    before, after = (read_tree_bytes(tmp_path / name) for name in ("before", "after"))
    assert before == after
    assert export(own_store, tmp_path / "after") == 0
    assert "responses are not part of the tree: mine\n" in capsys.readouterr().out
