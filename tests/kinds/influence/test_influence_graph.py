"""The circuit about a unit: what is chosen, where it stands, and what the page is told of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up_influence import LABELS, RUN, made_up_influence, write_influence
from scipy.stats import spearmanr

import dvis
from dvis.kinds.influence.graph import unit_graph
from dvis.kinds.influence.parts import unit_graphs
from dvis.kinds.influence.read import halves
from dvis.kinds.parts import Asked, Graph, Unit
from dvis.page.plain import as_json


def planted() -> xr.Dataset:
    """Unit 2 of layer3 is made of 5 and 1 of layer2, those of 0 and 3 of layer1; it makes fc 7."""
    made = made_up_influence({"layer1": 4, "layer2": 6, "layer3": 8, "fc": 9})
    strong = {
        ("layer2", 5, "layer3", 2): 9.0,
        ("layer2", 1, "layer3", 2): 8.0,
        ("layer1", 3, "layer2", 5): 7.0,
        ("layer1", 0, "layer2", 5): 6.0,
        ("layer1", 0, "layer2", 1): 6.0,
        ("layer1", 2, "layer2", 1): 5.0,
        ("layer3", 2, "fc", 7): 9.0,
        ("layer3", 2, "fc", 0): 8.0,
        ("layer1", 1, "layer3", 2): 99.0,  # goes through layer2, and is not drawn beside it
    }
    last = {"checkpoint": LABELS[-1]}
    for (source, c, target, d), value in strong.items():
        place = {"layer_from": source, "channel_from": c, "layer_to": target, "channel_to": d}
        made["strength"].loc[{**last, **place}] = value
    return made


def units(graph: xr.Dataset) -> list[tuple[str, int]]:
    return [*zip(graph.layer.values.tolist(), graph.channel.values.tolist(), strict=True)]


def test_the_strongest_of_the_last_checkpoint_are_chosen_and_ordered() -> None:
    graph = unit_graph(planted(), "layer3", 2, k=2)
    assert graph is not None
    assert units(graph) == [
        *(("layer1", 3), ("layer1", 0), ("layer1", 2)),
        *(("layer2", 5), ("layer2", 1)),
        ("layer3", 2),
        *(("fc", 7), ("fc", 0)),
    ]
    assert graph.is_root.values.tolist() == [False] * 5 + [True] + [False] * 2
    edges = zip(*(graph[end].values.tolist() for end in ("source", "target", "rank")), strict=True)
    assert set(edges) == {
        *((0, 3, 0), (1, 3, 1), (1, 4, 0), (2, 4, 1)),
        *((3, 5, 0), (4, 5, 1), (5, 6, 0), (5, 7, 1)),
    }


def test_numbers_of_edges_are_those_of_the_dataset_with_their_null() -> None:
    made = planted()
    graph = unit_graph(made, "layer3", 2, k=2)
    assert graph is not None
    named = units(graph)
    even, odd = halves(made)
    for edge in range(graph.sizes["edge"]):
        (source, c), (target, d) = (named[int(graph[end][edge])] for end in ("source", "target"))
        place = {"layer_from": source, "channel_from": c, "layer_to": target, "channel_to": d}
        np.testing.assert_array_equal(graph.strength[edge], made.strength.sel(place))
        np.testing.assert_array_equal(graph.direction[edge], made.direction.sel(place))
        np.testing.assert_allclose(graph.spread[edge], abs(even - odd).sel(place) / 2, rtol=1e-3)
    onto = {"layer_from": "layer2", "layer_to": "layer3", "channel_to": 2}
    of_unit = made.strength.sel(onto).values.astype(np.float32)[:, :6]
    np.testing.assert_allclose(graph.null[5], np.median(of_unit, axis=1), rtol=1e-3)
    assert np.isnan(graph.null[0]).all()
    expected = [
        spearmanr(a[:6], b[:6]).statistic
        for a, b in zip(even.sel(onto).values, odd.sel(onto).values, strict=True)
    ]
    np.testing.assert_allclose(graph.reliability, expected, atol=1e-6)


def test_units_at_either_end_have_what_they_have() -> None:
    first = unit_graph(planted(), "layer1", 3, k=2)
    last = unit_graph(planted(), "fc", 0, k=2)
    assert first is not None
    assert [name for name, _ in units(first)] == ["layer1", "layer2", "layer2"]
    assert np.isnan(first.reliability).all()
    assert last is not None
    assert {name for name, _ in units(last)} == {"layer2", "layer3", "fc"}
    assert unit_graph(planted(), "layer9", 0) is None
    assert unit_graph(planted(), "layer3", 99) is None


def test_what_does_nothing_or_is_not_measured_is_no_edge() -> None:
    made = planted()
    made["strength"].loc[{"layer_from": "layer2", "layer_to": "layer3", "channel_to": 2}] = 0
    made["strength"].loc[{"checkpoint": LABELS[-1], "layer_from": "layer3"}] = np.nan
    graph = unit_graph(made, "layer3", 2, k=2)
    assert graph is not None
    assert {name for name, _ in units(graph)} == {"layer3", "fc"}
    assert np.isnan(graph.strength[:, -1]).all()
    assert graph.strength[:, -2].notnull().all()
    made["strength"] = made["strength"].where(made["layer_from"] != "layer3")
    assert unit_graph(made, "layer3", 2) is None


def part_of(store: Path, unit: Unit | None) -> list[Graph]:
    found = dvis.contents(store)
    return [*unit_graphs(Asked(store=store, contents=found, run=RUN, unit=unit))]


def test_the_page_is_told_what_influence_it_is(tmp_path: Path) -> None:
    made = planted()
    made["is_cut"].values[:] = [0, -1, 1, 1]
    made["strength"] *= 1.2345
    write_influence(tmp_path / "net.zarr", made)
    assert part_of(tmp_path / "net.zarr", None) == []
    assert part_of(tmp_path / "net.zarr", Unit(layer="layer3", channel=2, list_name="wide")) == []
    (part,) = part_of(tmp_path / "net.zarr", Unit(layer="layer3", channel=2))
    plain = json.loads(as_json({"shape": part.shape, **vars(part)}))
    assert [column["label"] for column in plain["columns"]] == ["layer1", "layer2", "layer3", "fc"]
    assert plain["root"] == plain["column"].index(2)
    for said in ("128 images of made up", "ablation", "goes around layer1", "go around layer2"):
        assert said in plain["note"]
    assert "layer3," not in plain["note"]
    assert all("Spearman" in said for said in plain["said"])
    digits = [len(str(value).replace("0.", "").replace(".", "").strip("0"))
              for row in plain["strength"] for value in row]  # fmt: skip
    assert max(digits) <= 3, "kept small for static pages"


def test_the_page_says_of_how_few_channels_it_is(tmp_path: Path) -> None:
    made = planted()
    is_measured = made["channel_from"] < 3
    made["strength"] = made["strength"].where(is_measured)
    made["status"] = made["status"].where(is_measured, 0).astype(np.uint8)
    write_influence(tmp_path / "net.zarr", made)
    (part,) = part_of(tmp_path / "net.zarr", Unit(layer="layer2", channel=2))
    assert "Measured: 3 of 4 channels of layer1, 3 of 6 channels of layer2." in part.note
    assert part.null_text.endswith("that were measured")
    assert len(part.null[part.root]) == 0  # no others are known
    few = unit_graph(made, "layer2", 2, k=2)
    assert few is not None
    assert few.null[few.is_root].notnull().all()


@pytest.mark.parametrize("of_list", ["", "wide"])
def test_latents_are_units_of_their_list(tmp_path: Path, of_list: str) -> None:
    write_influence(tmp_path / "net.zarr", made_up_influence({"conv1": 4, "conv2~wide": 3}))
    (part,) = part_of(
        tmp_path / "net.zarr",
        Unit(layer="conv2" if of_list else "conv1", channel=1, list_name=of_list),
    )
    assert [(each.layer, each.list_name) for each in part.columns] == [
        ("conv1", ""),
        ("conv2", "wide"),
    ]
