"""Groups find their places, and never take those of other runs."""

from pathlib import Path

import pytest

import dvis
from dvis.kinds.responses.words import response_words
from dvis.store.making import make_group
from dvis.store.writer import create_store, restructuring

WORDS = response_words("image", n_channels=2, n_images=2)


def make(store: Path, run: str, name: str) -> None:
    with restructuring(store):
        make_group(store, WORDS, run, name, {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    create_store(tmp_path / "net.zarr", "net")
    return tmp_path / "net.zarr"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("1", "shapes"), ("1/responses/shapes", "shapes")),  # a run in a group
        (("1", "shapes"), ("1/responses/shapes/of mine", "shapes")),
        (("1/responses/shapes", "noise"), ("1", "shapes")),  # a group over a run
        (("1/responses/responses", "noise"), ("1", "responses")),
    ],
)
def test_a_group_that_would_lie_in_or_over_another_run_is_refused(
    store: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    make(store, *first)
    before = {p: p.read_bytes() for p in store.rglob("zarr.json")}
    with pytest.raises(ValueError, match="Give another --run or --name"):
        make(store, *second)
    assert {p: p.read_bytes() for p in store.rglob("zarr.json")} == before


def test_runs_beside_and_below_each_other_keep_their_groups(store: Path) -> None:
    made = [("1", "shapes"), ("1/a", "shapes"), ("1/a/b", "noise"), ("1", "noise"), ("10", "a")]
    for run, name in made:
        make(store, run, name)
    assert {(e.run, e.name) for e in dvis.contents(store).entries} == set(made)
