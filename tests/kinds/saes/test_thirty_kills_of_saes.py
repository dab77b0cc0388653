"""Commands of autoencoders, each killed thirty times over its whole run, and gone on with.

Every store is to the last bit that of an unbroken run: a training goes on from the state that it
kept, with the random numbers that come next, and all else is measured again from the same numbers.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from dying import changes_of, killed_and_run_again, left_behind
from tiny_activations import options_of, store_of
from tiny_chained import chain_options

import dvis
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.chains.plan import chain_saes
from dvis.kinds.saes.measure import probes
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.kinds.saes.tracks.plan import track_saes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "small_probes")]
LAYER, NAME = "conv1", "wide"


@pytest.fixture
def small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_LEAST", 1)


def _train(folder: Path) -> None:
    given = {"k": (2,), "expansion": (2.0,), "tokens": "2k", "batch_size": 256, "save_every": 2}
    train_saes(
        TrainOptions(
            store=folder / "net.zarr", layer=LAYER, checkpoints=("all",), name=NAME, **given
        )
    )


def _evaluate(folder: Path) -> None:
    how = {"split": "all", "n_top": 3, "n_shuffles": 4, "controls": True}
    evaluate_saes(EvaluateOptions(store=folder / "net.zarr", layer=LAYER, **how))


def _track(folder: Path) -> None:
    store = folder / "net.zarr"
    track_saes(TrackOptions(store=store, layer=LAYER, name=NAME, method="match", split="all"))


def _chain(folder: Path) -> None:
    chain_saes(chain_options(folder / "net.zarr"))


COMMANDS: dict[str, Callable[[Path], None]] = {
    "sae train": _train,
    "sae evaluate": _evaluate,
    "sae track": _track,
    "sae chain": _chain,
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activations of two checkpoints."""
    options = options_of(tmp_path_factory.mktemp("kept"), layers=(LAYER,), n_images=60)
    keep_activations(options)
    return store_of(options)


@pytest.fixture(scope="module")
def trained(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with autoencoders."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(kept, folder / "net.zarr")
    _train(folder)
    return folder / "net.zarr"


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_change_and_run_again_equals_an_unbroken_run(
    name: str, kept: Path, trained: Path, tmp_path: Path
) -> None:
    def begin(folder: Path) -> None:
        shutil.copytree(kept if name == "sae train" else trained, folder / "net.zarr")

    whole = tmp_path / "whole"
    begin(whole)
    changes_of(COMMANDS[name], whole)
    wanted = dvis.tree(whole / "net.zarr").load()
    for folder in killed_and_run_again(begin, COMMANDS[name], tmp_path):
        found = dvis.tree(folder / "net.zarr").load()
        assert left_behind(folder) == [], folder.name
        xr.testing.assert_equal(found, wanted)
        assert dvis.check_store(folder / "net.zarr") == []
        shutil.rmtree(folder)
