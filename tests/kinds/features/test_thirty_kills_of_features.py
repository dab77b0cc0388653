"""Commands of feature images, each killed thirty times over its whole run, and gone on with.

Every store is to the last bit that of an unbroken run: units are optimised from noise of their own,
and a batch is committed whole, so that what is resumed is made of the same batches.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from dying import changes_of, killed_and_run_again, left_behind
from known_trees import Tree, labels_of, write_mixed_tree
from tiny_models import write_checkpoints
from whole_stores import assert_same_state, state_of

import dvis
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
GROUP = "checkpoints/features/average-0"


@dataclass(frozen=True)
class Command:
    """What is put into a folder, and what is run there."""

    begin: Callable[[Path], object]
    run: Callable[[Path], object]


def _trees(folder: Path) -> None:
    write_mixed_tree(folder)


def _ingest(folder: Path) -> None:
    dvis.ingest_tree(folder / "feature_images/resnet18", store=folder / "s.zarr", workers=1)


def _imported(folder: Path) -> None:
    tree = Tree(folder)
    tree.write(labels_of(range(0, 150, 50)), "layer1", range(3))
    changes_of(_ingest, folder)
    shutil.rmtree(tree.root)
    write_mixed_tree(folder)


def _overwrite(folder: Path) -> None:
    tree = folder / "feature_images/resnet18"
    dvis.ingest_tree(tree, store=folder / "s.zarr", workers=1, overwrite=True)


def _checkpoints(folder: Path) -> None:
    write_checkpoints(folder / "run", 3)


def _visualize(folder: Path) -> None:
    visualize(
        VisualizeOptions(
            model="tiny_models:net",
            checkpoint_path=(folder / "run",),
            layers=("conv1", "conv2"),
            channels=(0, 1, 2, 3),
            batch_size=2,
            store=folder / "s.zarr",
            workers=0,
            settings=feature_settings("default", {"max_iterations": 4, "min_iterations": 2}),
        )
    )


def _made(folder: Path) -> None:
    _checkpoints(folder)
    changes_of(_visualize, folder)


def _compact(folder: Path) -> None:
    dvis.compact_store(folder / "s.zarr")


def _damaged(folder: Path) -> None:
    _made(folder)
    for array in ("image", "loss", "activation"):
        files = [p for p in (folder / "s.zarr" / GROUP / array / "c").rglob("*") if p.is_file()]
        for path in sorted(files)[::3]:
            path.write_bytes(path.read_bytes()[:-9])


def _fix(folder: Path) -> None:
    dvis.check_store(folder / "s.zarr", fix=True)


COMMANDS = {
    "ingest": Command(_trees, _ingest),
    "ingest --overwrite": Command(_imported, _overwrite),
    "visualize": Command(_checkpoints, _visualize),
    "compact": Command(_made, _compact),
    "check --fix": Command(_damaged, _fix),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_change_and_run_again_equals_an_unbroken_run(
    name: str, tmp_path: Path
) -> None:
    command, start, whole = COMMANDS[name], tmp_path / "start", tmp_path / "whole"
    start.mkdir()
    command.begin(start)

    def begin(folder: Path) -> None:
        # Times too, by which an import knows what it has read.
        shutil.copytree(start, folder, dirs_exist_ok=True)

    begin(whole)
    changes_of(command.run, whole)
    wanted = state_of(whole / "s.zarr")
    for folder in killed_and_run_again(begin, command.run, tmp_path):
        assert left_behind(folder) == [], folder.name
        assert_same_state(folder / "s.zarr", wanted)
        shutil.rmtree(folder)
