"""Fixtures: the committed sample tree and a store made of it once; a training run; one thread."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest
from hypothesis import HealthCheck, settings

import dvis
from dvis.measure.feature_settings import VisualizeOptions, feature_settings

if TYPE_CHECKING:
    from dvis.models.training import TrainingRun

mpl.use("agg")

# Each example imports and reads back real files, which takes longer than hypothesis' default.
settings.register_profile(
    "dvis",
    deadline=None,
    max_examples=int(os.environ.get("DVIS_EXAMPLES", "12")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("dvis")

SAMPLE = Path(__file__).parent / "data" / "feature_images" / "resnet18"


@pytest.fixture(scope="session")
def sample_tree() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("sample") / "resnet18.zarr"
    dvis.ingest_tree(SAMPLE, store=store)
    return store


@pytest.fixture
def own_store(sample_store: Path, tmp_path: Path) -> Path:
    """A copy of the sample's store, to change."""
    return Path(shutil.copytree(sample_store, tmp_path / "resnet18.zarr"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> "TrainingRun":
    """A training run that has ended, to read."""
    from tiny_runs import run_tiny  # loads torch, which most tests do without

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
    import matplotlib.pyplot as plt

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
