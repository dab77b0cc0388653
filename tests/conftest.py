"""Fixtures of several files: what is made once, and what is costly to start."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest
import xarray as xr
from colour_trees import LABELS, write_checkpoint
from hypothesis import HealthCheck, settings
from made_up import rising_units

import dvis
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.sweep.executors import worker_context

# Modules that load torch, selenium or all of dask are imported by the fixtures that need them.
if TYPE_CHECKING:
    from browser import Browser, Page
    from known_trees import Tree
    from program_server import Server

    from dvis.models.training import TrainingRun

# Local clusters of dask begin as other workers do, which have loaded torch before they are forked.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")

collect_ignore = [
    "moments"
]  # a kind of its own, which test_adding_a_kind.py adds to a copy of dvis
mpl.use("agg")
# A shell lets what it starts in the background ignore Ctrl-C, and so would the programs of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("browser", "known_trees", "program_server", "whole_stores")

# Each example imports and reads back real files, which takes longer than hypothesis' default.
settings.register_profile(
    "dvis",
    deadline=None,
    max_examples=int(os.environ.get("DVIS_EXAMPLES", "12")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("dvis")


def pytest_sessionstart() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # where many tests need it, it loads meanwhile
        worker_context()
        forkserver.ensure_running()


def pytest_collection_finish() -> None:
    gc.freeze()  # torch and xarray are half a million objects, which no collection need go over


SAMPLE = Path(__file__).parent / "data" / "feature_images" / "resnet18"


@pytest.fixture(scope="session")
def sample_tree() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("sample") / "resnet18.zarr"
    dvis.ingest_tree(SAMPLE, store=store, batches_per_epoch=1320)
    return store


@pytest.fixture
def own_store(sample_store: Path, tmp_path: Path) -> Path:
    """A copy of the sample's store, to change."""
    return Path(shutil.copytree(sample_store, tmp_path / "resnet18.zarr"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> "TrainingRun":
    """A training run that has ended, to read."""
    from tiny_runs import run_tiny

    return run_tiny(tmp_path_factory.mktemp("run") / "1", every=4)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: faster for tiny models, and the same to the last bit."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def closed_figures() -> object:
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")


@pytest.fixture
def options(tmp_path: Path) -> VisualizeOptions:
    """Three checkpoints of a tiny model, two layers, four channels; in this process."""
    from tiny_models import write_checkpoints

    write_checkpoints(tmp_path / "run", 3)
    return VisualizeOptions(
        model="tiny_models:net",
        checkpoint_path=(tmp_path / "run",),
        layers=("conv1", "conv2"),
        channels=(0, 1, 2, 3),
        store=tmp_path / "net.zarr",
        workers=0,
        settings=feature_settings("default", {"max_iterations": 8, "min_iterations": 4}),
    )


@pytest.fixture(scope="session")
def run_of_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three checkpoints, and a store of feature images of them, to read."""
    from tiny_responses import write_run_of_features

    folder = tmp_path_factory.mktemp("features")
    write_run_of_features(folder)
    return folder


@pytest.fixture(scope="session")
def labelled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of evaluated autoencoders of digits at two checkpoints, to read."""
    from labelled_latents import write_latents

    return write_latents(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="session")
def chain_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with chains of autoencoders on autoencoders, to read."""
    from tiny_chained import write_chains

    return write_chains(tmp_path_factory.mktemp("chains"))


@pytest.fixture
def rising() -> xr.Dataset:
    """Two layers of four units that rise from 0 to 1 at planted checkpoints of eight."""
    return rising_units()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """Starts the programs that are killed and watched."""
    from program_server import Server

    server = Server(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def mixed_tree(tmp_path_factory: pytest.TempPathFactory) -> "Tree":
    """Units of every state, to import."""
    from known_trees import write_mixed_tree

    return write_mixed_tree(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="session")
def mixed_state(
    mixed_tree: "Tree", tmp_path_factory: pytest.TempPathFactory
) -> dict[str, xr.Dataset]:
    """What an unbroken import of the mixed tree makes."""
    from whole_stores import state_of

    store = tmp_path_factory.mktemp("unbroken") / "unbroken.zarr"
    dvis.ingest_tree(mixed_tree.root, store=store, workers=1)
    assert dvis.check_store(store) == []
    return state_of(store)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium, started once."""
    from browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def colour_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of plain colours with odd labels, to look at."""
    folder = tmp_path_factory.mktemp("page")
    model = folder / "feature_images" / "resnet18"
    for i, label in enumerate(LABELS):
        write_checkpoint(model / "checkpoints", i, label)
    dvis.ingest_tree(model, store=folder / "resnet18.zarr", batches_per_epoch=1000)
    return folder / "resnet18.zarr"


@pytest.fixture(scope="session")
def folder_page(colour_store: Path) -> Path:
    """First file of the page of the store of colours, in a folder."""
    from dvis.page.static import export_page

    return export_page(colour_store, colour_store.with_name("page")).index


@pytest.fixture(scope="session")
def served_page(colour_store: Path) -> Iterator[str]:
    """Address of the same page, from `dvis view`."""
    from browser import server

    with server(colour_store) as (address, _):
        yield address


# The two last, while this is made anew for each file.
@pytest.fixture(scope="session", params=["live", "static"])
def page(request: pytest.FixtureRequest, browser: "Browser") -> "Page":
    """The page of the store of colours, from `dvis view` and from a folder."""
    from browser import Page

    if request.param == "live":
        return Page("live", request.getfixturevalue("served_page"), browser)
    return Page("static", request.getfixturevalue("folder_page").as_uri(), browser)
