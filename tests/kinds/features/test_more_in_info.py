"""What an info.json holds beside what a store has variables for: kept, in little room."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trees import CHECKPOINTS, info_of, write_unit

import dvis
from dvis.kinds.features import group as groups
from dvis.kinds.features.tree.differences import difference, with_difference
from dvis.store.contents import contents, open_group

LOSSES = [float(i) / 8 for i in range(1000)]
RUN = "checkpoints"


def tree_of(root: Path, infos: list[dict[str, Any]]) -> Path:
    folder = root / "feature_images" / "resnet18" / RUN / CHECKPOINTS[0]
    for channel, more in enumerate(infos):
        record = info_of("layer1", channel, **{"Loss Values": LOSSES})
        record = {key: value for key, value in (record | more).items() if value is not ...}
        write_unit(folder, "layer1", channel, info=record)
    return root / "feature_images" / "resnet18"


def exported(store: Path, out: Path) -> list[dict[str, Any]]:
    dvis.export_tree(store, out)
    folder = out / "resnet18" / RUN / CHECKPOINTS[0]
    names = [
        f"layer_layer1_channel_{c}_average.info.json"
        for c in range(len(list(folder.glob("*.jpg"))))
    ]
    return [json.loads((folder / name).read_text()) for name in names]


def kept_texts(store: Path) -> np.ndarray:
    (entry,) = contents(store).of("features")
    return np.asarray(open_group(store, entry)["source/info"][0, 0])


MORE: list[dict[str, Any]] = [
    {"Date": "2024-03-25"},
    {"Neuron": ...},
    {"Convergence Iteration": 10**30, "Huge": -(10**40)},
    {"Parameters": ...},
    {"Parameters": {"seed": 2**40, "lr": 0.1}},
    {"Activation": 0.1},
    {"Activation": 3},
    {"Image Number": 0, "Date": None},
    {"+": {"set": {}}, "Nested": {"a": [True, 0, 0.0, -0.0]}},
]


def test_what_is_beside_the_variables_comes_back_and_is_kept_without_the_losses(
    tmp_path: Path,
) -> None:
    tree = tree_of(tmp_path, MORE)
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    names = sorted((tree / RUN / CHECKPOINTS[0]).glob("*.json"))
    before = [json.loads(path.read_text()) for path in names]
    found = exported(store, tmp_path / "out")
    assert found == before
    assert list(map(repr_sorted, found)) == list(map(repr_sorted, before))
    assert max(map(len, kept_texts(store).tolist())) < 200


def repr_sorted(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)  # tells 0 from 0.0


def test_losses_that_are_odd_are_kept_as_they_are(tmp_path: Path) -> None:
    odd = [{"Loss Values": [0.1, float("nan")]}, {"Loss Values": [1, 2]}, {"Loss Values": ...}]
    tree = tree_of(tmp_path, [each | {"Date": "today"} for each in odd])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    names = sorted((tree / RUN / CHECKPOINTS[0]).glob("*.json"))
    before = [repr_sorted(json.loads(path.read_text())) for path in names]
    assert [repr_sorted(each) for each in exported(tmp_path / "s.zarr", tmp_path / "out")] == before


def test_where_the_table_of_parameters_is_full_the_whole_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_MOST_PARAMETERS", 1)
    more = [{"Parameters": {"lr": lr}, "Date": "today"} for lr in (0.1, 0.2, 0.3)]
    tree = tree_of(tmp_path, [*more, {"Parameters": {"lr": 0.4}}])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    found = exported(tmp_path / "s.zarr", tmp_path / "out")
    assert [each["Parameters"] for each in found] == [{"lr": lr} for lr in (0.1, 0.2, 0.3, 0.4)]
    assert [each.get("Date") for each in found] == ["today"] * 3 + [None]


def test_whole_texts_of_stores_of_before_come_back_as_they_are(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_of(tmp_path, [{}]), store=store)
    (entry,) = contents(store).of("features")
    text = ' {"Layer": "layer1", "Of": "before"}'
    zarr.open_group(store, path=entry.group, mode="r+")["source/info"][0, 0, 0] = text
    assert exported(store, tmp_path / "out") == [json.loads(text)]


def test_texts_of_other_blocks_are_not_rewritten(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_of(tmp_path, [{"Date": "today"}]), store=store)
    (entry,) = contents(store).of("features")
    array = open_group(store, entry)["source/info"]
    assert array.chunks[1:] == (1, groups.BLOCK_CHANNELS)
    assert array.chunks[0] <= 16


def test_a_damaged_difference_says_so() -> None:
    for text in ("+", "+[]", '+{"set": 3, "without": []}', "+" + "[" * 10**5):
        with pytest.raises(ValueError, match=r"difference of an info\.json is damaged"):
            with_difference({}, text)
    assert with_difference({"a": 1}, difference({"b": 1}, {"a": 1})) == {"b": 1}
