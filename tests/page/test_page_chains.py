"""Chains on the page: from a latent to those that are made of it, and back to their other parts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_client import serving
from tiny_chained import LAYER, NAME

import dvis
from dvis.page import documents, lists
from dvis.page.plain import as_json
from dvis.page.static import export_page

LEVELS = [f"{NAME}.chain-decoder, level {depth}" for depth in (1, 2)]
OF_CODES = [f"{NAME}.chain-codes, level {depth}" for depth in (1, 2)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(chain_store: Path) -> Path:
    return chain_store


@pytest.fixture(scope="module")
def numbers(store: Path) -> dict[str, int]:
    there = documents.overview(documents.shown_units(store))["lists"]
    return {each["name"]: each["number"] for each in there}


def plain(document: Any) -> Any:
    return json.loads(as_json(document))


def graph_of(store: Path, number: int, unit: int) -> Any:
    """The graph of a unit of a list."""
    (document,) = plain(lists.units(documents.shown_units(store), number, unit))["units"]
    (graph,) = (part for part in document["parts"] if part["title"] == "Chain on decoder rows")
    return graph


def edges_of(graph: Any, row: int) -> set[tuple[str, str, float]]:
    """Ends and weights of the edges that are there at a checkpoint."""
    names = [
        f"{graph['columns'][column]['label']} {number}"
        for column, number in zip(graph["column"], graph["channel"], strict=True)
    ]
    return {
        (names[source], names[target], round(strength[row] * direction[row], 4))
        for source, target, strength, direction in zip(
            graph["source"], graph["target"], graph["strength"], graph["direction"], strict=True
        )
        if strength[row] is not None
    }


def test_each_level_is_a_list(store: Path, numbers: dict[str, int]) -> None:
    assert [*numbers] == [NAME, *OF_CODES, *LEVELS]
    chain = dvis.chains(store, LAYER, on="decoder").isel(seed=0).load()
    for depth, name in enumerate(LEVELS, 1):
        head = plain(lists.list_head(documents.shown_units(store), numbers[name]))
        at = chain.sel(depth=depth)
        n_latents = int(at.n_latents[0])
        assert head["units"] == [*range(n_latents)]
        np.testing.assert_allclose(head["facts"]["explained variance"], at.ev[:, 0], rtol=1e-5)
        np.testing.assert_allclose(head["facts"]["of random directions"], at.ev[:, 1], rtol=1e-5)
        assert "One of 2 seeds" in head["remarks"][0]
        rows = plain(lists.rows(documents.shown_units(store), numbers[name], 1))["numbers"]
        for column in ("frequency", "latent_selectivity", "n_parents"):
            values = np.array(rows[column], float)
            np.testing.assert_allclose(values, at[column][1, :n_latents], rtol=1e-5)
    with pytest.raises(ValueError, match="notes are of latents of an autoencoder"):
        lists.keep_list_note(documents.shown_units(store), "text", numbers[name], 0)


@pytest.mark.parametrize("row", [0, 1])
def test_graphs_lead_up_and_down(store: Path, numbers: dict[str, int], row: int) -> None:
    chain = dvis.chains(store, LAYER, on="decoder").isel(seed=0, checkpoint=row).load()
    parent, weight = chain.parent.values, chain.parent_weight.values

    def edge(depth: int, latent: int, rank: int) -> tuple[str, str, float]:
        ends = f"level {depth - 1} {parent[depth, latent, rank]}", f"level {depth} {latent}"
        return *ends, round(float(weight[depth, latent, rank]), 4)

    middle = int(parent[2, 0, 0])
    graph = graph_of(store, numbers[LEVELS[0]], middle)
    found = edges_of(graph, row)
    wanted = {edge(1, middle, rank) for rank in range(5) if parent[1, middle, rank] >= 0}
    wanted |= {edge(2, child, rank) for child, rank in np.argwhere(parent[2] == middle)}
    assert {(a, b) for a, b, _ in found} == {(a, b) for a, b, _ in wanted}
    for (*_, own), (*_, other) in zip(sorted(found), sorted(wanted), strict=True):
        assert own == pytest.approx(other, abs=1e-3)
    leaf = int(parent[1, middle, 0])
    of_leaf = {(a, b) for a, b, _ in edges_of(graph_of(store, numbers[NAME], leaf), row)}
    assert (f"level 0 {leaf}", f"level 1 {middle}") in of_leaf
    top = {(a, b) for a, b, _ in edges_of(graph_of(store, numbers[LEVELS[1]], 0), row)}
    assert (f"level 0 {leaf}", f"level 1 {middle}") in top  # of what it is made of, its parents
    assert [each["list_name"] for each in graph["columns"]] == [NAME, *LEVELS]


def test_the_line_of_python_selects_the_latent(store: Path, numbers: dict[str, int]) -> None:
    (unit,) = plain(lists.units(documents.shown_units(store), numbers[LEVELS[0]], 2))["units"]
    chosen = eval(unit["select"], {"dvis": dvis})
    assert chosen.sizes["checkpoint"] == 2
    assert (int(chosen.seed), int(chosen.depth), int(chosen.latent)) == (0, 1, 2)


@pytest.fixture(params=["live", "static"])
def address(request: pytest.FixtureRequest, store: Path, tmp_path: Path) -> Iterator[str]:
    if request.param == "static":
        yield export_page(store, tmp_path / "page").index.as_uri()
        return
    with serving(store) as client:
        yield f"{client.origin}/"


def test_links_lead_from_a_latent_to_a_level_and_back(
    request: pytest.FixtureRequest, store: Path, address: str
) -> None:
    pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
    from browser import MISSING

    if MISSING:
        pytest.skip(MISSING)
    browser = request.getfixturevalue("browser")
    parent = (
        dvis.chains(store, LAYER, on="decoder").isel(seed=0, checkpoint=-1).parent.load().values
    )
    middle = int(np.flatnonzero(parent[1, :, 1] >= 0)[0])
    first, second = (int(each) for each in parent[1, middle, :2])

    def follow(text: str) -> None:
        links = """[...document.querySelectorAll('ul[aria-label="Chain on decoder rows"] a')]"""
        link = f"{links}.find(each => each.title === '{text}')"
        browser.wait(f"const link = {link}; return link && link.getAttribute('href')")
        browser.js(f"{link}.click()")

    title = "return document.querySelector('.listed-view h1').textContent"
    browser.open(f"{address}#/list/{LAYER}/{NAME}/{first}")
    follow(f"level 1 {middle}")
    browser.wait(f"{title}.endsWith('level 1 latent {middle}')")
    follow(f"level 0 {second}")
    browser.wait(f"{title}.endsWith('{NAME} latent {second}')")
    assert browser.errors() == []
