"""What parts of a group have in common, with a dim of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_influence import LABELS, RUN, SETTINGS, WIDTHS

from dvis.kinds.influence.words import KIND, WORDS
from dvis.names import parse_checkpoint
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing

LAYERS, CHANNELS = list(WIDTHS), range(8)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    with writing(tmp_path / "net.zarr", "net", RUN, KIND) as path, restructuring(path):
        made = Group.open(path, WORDS, RUN, "shapes", SETTINGS)
        labels = {"layer_from": LAYERS, "channel_from": CHANNELS}
        labels |= {"layer_to": LAYERS, "channel_to": CHANNELS}
        made.grow([parse_checkpoint(label) for label in LABELS], labels)
    return made


def part(channels: list[int], to: list[str], deviations: Any, **also: Any) -> xr.Dataset:
    """Parts from layer1, with one vector of standard deviations each."""
    return xr.Dataset(
        {"response_sd": (("part", "channel_to"), np.array(deviations, np.float32)), **also},
        {
            "checkpoint": LABELS[1],
            "layer_from": "layer1",
            "channel_from": ("part", channels),
            "layer_to": ("part", np.array(to, object)),
        },
    )


def deviations(group: Group, layer: str) -> list[float]:
    row, place = group.rows["checkpoint"][LABELS[1]], group.rows["layer_to"][layer]
    return np.asarray(group.array("response_sd")[row, place])[:3].tolist()


def test_each_place_is_written_with_its_first_part_and_only_once(group: Group) -> None:
    two = part([0, 1, 0], ["layer2", "layer2", "layer3"], [[1, 2], [3, 4], [5, 6]])
    group.commit(two)
    np.testing.assert_array_equal(deviations(group, "layer2"), [1, 2, np.nan])
    np.testing.assert_array_equal(deviations(group, "layer3"), [5, 6, np.nan])
    group.commit(part([2], ["layer2"], [[7, 8]]))
    assert deviations(group, "layer2")[:2] == [1, 2]
    assert np.isnan(np.asarray(group.array("response_sd")[0])).all()


def test_what_failed_gives_way_to_what_is_sound(group: Group) -> None:
    error = ("part", np.array(["went wrong", ""], object))
    group.commit(part([0, 1], ["layer2", "layer2"], [[1, 2], [3, 4]], error=error))
    assert deviations(group, "layer2")[:2] == [3, 4]
    all_failed = ("part", np.array(["went wrong"] * 2, object))
    group.commit(part([0, 1], ["layer3", "layer3"], [[1, 2], [3, 4]], error=all_failed))
    assert np.isnan(deviations(group, "layer3")).all()
    group.commit(part([1], ["layer3"], [[5, 6]]))
    assert deviations(group, "layer3")[:2] == [5, 6]
