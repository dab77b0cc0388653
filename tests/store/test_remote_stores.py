"""A finished store in memory by fsspec: the same to readers, analysis, loader and page."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
import torch
import xarray as xr
from recorded_stores import write_store
from tiny_activations import LAYERS, options_of

import dvis
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.page import documents, static
from dvis.page.plain import as_json
from dvis.page.server import serve

LABELS = [f"step_{step}" for step in (0, 5, 30, 70)]


class Copied(NamedTuple):
    """A store on this machine, and where its copy lies."""

    local: Path
    url: str
    options: dict[str, Any]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature images of four checkpoints, and activations of two."""
    folder = tmp_path_factory.mktemp("local")
    torch.set_num_threads(1)
    keep_activations(options_of(folder))
    write_store(folder / "net.zarr", LABELS, LAYERS[:2], run="images")
    return folder / "net.zarr"


@pytest.fixture(scope="module")
def copied(local: Path) -> Copied:
    fsspec.filesystem("memory").put(str(local), "/copied/net.zarr", recursive=True)
    return Copied(local, "memory://copied/net.zarr", {})


def test_all_that_is_opened_is_the_same(copied: Copied) -> None:
    whole = dvis.tree(copied.local)
    remote = dvis.tree(copied.url, storage_options=copied.options)
    paths = [node.path for node in whole.subtree if node.variables]
    assert len(paths) > len(LAYERS)
    for path in paths:
        assert remote[path].to_dataset().load().identical(whole[path].to_dataset().load()), path


def test_questions_have_the_same_answers(copied: Copied) -> None:
    here = dvis.open(copied.local, "images")
    there = dvis.open(copied.url, "images", storage_options=copied.options)
    xr.testing.assert_identical(there.dvis.births().load(), here.dvis.births().load())
    moved = here.dvis.drift().load()
    assert any((moved[name] > 0).any() for name in moved.data_vars)
    xr.testing.assert_identical(there.dvis.drift().load(), moved)


def test_a_training_reads_the_same_batches(copied: Copied) -> None:
    label = str(dvis.activations(copied.local, LAYERS[0]).checkpoint.values[0])
    how = {"batch_size": 64, "block_rows": 32, "pool_blocks": 4}
    here = ActivationRows.open(copied.local, LAYERS[0], label, **how)
    there = ActivationRows.open(copied.url, LAYERS[0], label, storage_options=copied.options, **how)
    assert there.fingerprint == here.fingerprint
    for step in (0, 3, here.steps_per_epoch):
        np.testing.assert_array_equal(there.batch(step), here.batch(step))


def test_the_page_shows_the_same(copied: Copied) -> None:
    here, there = (documents.shown_units(each) for each in (copied.local, copied.url))
    shown = json.loads(as_json(documents.overview(there)))
    own = json.loads(as_json(documents.overview(here)))
    assert shown["runs"] == own["runs"]
    at = [(entry.run, entry.kind) for entry in here.entries()].index(("images", "features"))
    layers = [json.loads(as_json(documents.layer(each, at, 0))) for each in (there, here)]
    for each in layers:
        del each["versions"]  # of files, which a reader from afar takes for new each time
    assert layers[0] == layers[1]
    unit, own_unit = (json.loads(as_json(documents.unit(x, at, 0, 1))) for x in (there, here))
    # Lines of Python name their store, and a strip its version.
    assert {k for k in unit if unit[k] != own_unit[k]} <= {"select", "strip"}


def test_a_page_is_written_of_it(copied: Copied, tmp_path: Path) -> None:
    static.export_page(copied.url, tmp_path / "page")
    assert (tmp_path / "page" / "index.html").is_file()


def test_what_is_not_there_is_said() -> None:
    url = "memory://empty/net.zarr"
    with pytest.raises(FileNotFoundError, match=f"No store at {url}"):
        dvis.open(url)


def test_what_writes_needs_a_disk_of_this_machine(copied: Copied) -> None:
    with pytest.raises(ValueError, match="read from afar"):
        serve(copied.url, edit=True, on_start=lambda _: None)
