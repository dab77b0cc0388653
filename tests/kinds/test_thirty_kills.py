"""Commands that measure layers, each killed thirty times over its whole run, and gone on with.

Every store is to the last bit that of an unbroken run: in one process on one thread a part that is
measured again is measured from the same numbers, by batches of images that do not depend on what
was there before.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from dying import changes_of, killed_and_run_again, left_behind
from tiny_activations import options_of as activation_options
from tiny_attributes import attribute_options
from tiny_chimeras import chimera_options, size_options
from tiny_influence import options_of as influence_options
from tiny_llc import options_of_chains
from tiny_models import write_checkpoints
from tiny_probes import probe_options
from tiny_runs import run_tiny

import dvis
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.attributes.plan import measure_attributes
from dvis.kinds.chimera.plan import make_chimeras
from dvis.kinds.influence.plan import measure_influence
from dvis.kinds.llc.estimation import estimate_llc
from dvis.kinds.probes.plan import train_probes
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.responses.plan import respond
from dvis.kinds.sizes.plan import measure_sizes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
N_CHECKPOINTS = 3


@dataclass(frozen=True)
class Command:
    """What a command is asked in a folder, which has its checkpoints in `run`."""

    measure: Callable[[Any], object]
    options: Callable[[Path], Any]

    def __call__(self, folder: Path) -> None:
        self.measure(self.options(folder))


def _of_responses(folder: Path) -> RespondOptions:
    return RespondOptions(
        model="tiny_models:net",
        checkpoint_path=(folder / "run",),
        layers=("conv1", "conv2", "fc"),
        dataset="shapes",
        n_images=10,
        store=folder / "net.zarr",
        workers=0,
    )


def _of_chains(folder: Path) -> Any:
    return options_of_chains(folder / "run", folder / "net.zarr")


COMMANDS = {
    "respond": Command(respond, _of_responses),
    "llc estimate": Command(estimate_llc, _of_chains),
    "activations": Command(keep_activations, activation_options),
    "probe": Command(train_probes, probe_options),
    "influence": Command(measure_influence, influence_options),
    "chimera": Command(make_chimeras, chimera_options),
    "attributes": Command(measure_attributes, attribute_options),
    "sizes": Command(measure_sizes, size_options),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_change_and_run_again_equals_an_unbroken_run(
    name: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    if name == "llc estimate":  # of a training, whose data it is of
        run_tiny(whole / "run", every=4)
    else:
        write_checkpoints(whole / "run", N_CHECKPOINTS)

    def begin(folder: Path) -> None:
        shutil.copytree(whole / "run", folder / "run")

    changes_of(COMMANDS[name], whole)
    wanted = dvis.tree(whole / "net.zarr").load()
    for folder in killed_and_run_again(begin, COMMANDS[name], tmp_path):
        found = dvis.tree(folder / "net.zarr").load()
        assert left_behind(folder) == [], folder.name
        xr.testing.assert_equal(found, wanted)
        assert dvis.check_store(folder / "net.zarr") == []
        shutil.rmtree(folder)
