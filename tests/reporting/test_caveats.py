"""Doubts that a report computes: controls beaten or not at chance; which units it looks at."""

from pathlib import Path

import numpy as np
import xarray as xr
from recorded_stores import write_store

from dvis.kinds.features.told import feature_sections
from dvis.kinds.parts import Asked
from dvis.kinds.probes.told import _caveats
from dvis.kinds.told import ToldTable
from dvis.store.contents import contents

LAYERS = ["early", "late"]


def scores(score: list[float], **controls: object) -> xr.Dataset:
    """Probes of one target at one checkpoint: a score for each layer, ± 0.02, and its controls."""
    held: dict[str, object] = {
        "untrained_score": [0.2, 0.2],
        "pixel_score": [0.15],
        "majority_score": [0.1],
        "null_score": [[0.05, 0.15], [0.05, 0.15]],
    } | controls
    return xr.Dataset(
        {
            "score": (("checkpoint", "target", "layer"), [[score]]),
            "score_se": (("checkpoint", "target", "layer"), [[[0.02, 0.02]]]),
            "null_score": (("checkpoint", "target", "layer", "bound"), [[held["null_score"]]]),
            "untrained_score": (("target", "layer"), [held["untrained_score"]]),
            "pixel_score": ("target", held["pixel_score"]),
            "majority_score": ("target", held["majority_score"]),
        },
        {"layer": LAYERS, "target": ["shape"]},
    )


def texts_of(probes: xr.Dataset) -> list[str]:
    return [each.text for each in _caveats(probes, ["shape"])]


def test_probes_that_beat_all_their_controls_raise_no_doubt() -> None:
    assert texts_of(scores([0.8, 0.9])) == []


def test_shuffled_targets_that_are_told_are_a_control_that_is_not_at_chance() -> None:
    (text,) = texts_of(scores([0.8, 0.9], null_score=[[0.05, 0.15], [0.3, 0.4]]))
    assert "not at chance" in text
    assert "late" in text
    assert "early" not in text


def test_what_an_untrained_network_tells_as_well_is_no_sign_of_learning() -> None:
    (text,) = texts_of(scores([0.8, 0.9], untrained_score=[0.79, 0.3]))
    assert "no better than by the untrained network's same layer, in early:" in text
    (text,) = texts_of(scores([0.4, 0.9], pixel_score=[0.6]))
    assert "no better than by the pixels, in early:" in text


def test_what_is_not_told_at_all_is_not_said_to_be_no_better() -> None:
    assert texts_of(scores([0.1, 0.9], untrained_score=[0.5, 0.2])) == []


def test_drift_is_looked_at_in_channels_that_were_measured(tmp_path: Path) -> None:
    labels = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3)]
    unmeasured = [(place, c) for place in range(3) for c in range(300) if c not in (1, 299)]
    store = write_store(
        tmp_path / "net.zarr", labels, ["layer1", "layer2"], n_channels=300, skip=unmeasured
    )
    sections = list(
        feature_sections(Asked(store=store, contents=contents(store), run="checkpoints"))
    )
    tables = [each for s in sections for each in s.shown if isinstance(each, ToldTable)]
    (drifting,) = (each for each in tables if each.title == "Units whose images move most")
    assert {int(row[1]) for row in drifting.rows} == {1, 299}
    assert all(np.isfinite(float(row[3].replace("−", "-"))) for row in drifting.rows)
