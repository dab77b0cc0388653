"""What a group of probes has beside scores: settings, labels, columns, and what is counted once.

Options, targets and samples in, what is put into a group out; for probes of images and of
activations alike.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dvis.analysis.linear_probes import MAX_STEPS, STRENGTHS
from dvis.analysis.resampling import BOUND
from dvis.kinds.probes.fits import Fits
from dvis.kinds.probes.options import LinearProbeOptions
from dvis.kinds.probes.targets import LabelFile
from dvis.kinds.probes.words import BOUNDS, INPUT, OUTPUT, SPLIT, SPLITS, TARGET, WEIGHTS_KEPT
from dvis.schema import DEPTH, LAYER
from dvis.store.group import Group


def settings_of(options: LinearProbeOptions, labels: LabelFile | None) -> dict[str, Any]:
    """What all probes of a group must share, beside what their images are."""
    return {
        "pool": options.pool,
        "held_out": options.held_out,
        "validation": options.validation,
        "n_shuffles": options.n_shuffles,
        "labels": "" if labels is None else labels.fingerprint,
        "strengths": list(STRENGTHS),
        "max_steps": MAX_STEPS,
        "seed": options.seed,
        WEIGHTS_KEPT: options.keep_weights,
    }


def labels_of(fits: Fits, n_inputs: Mapping[str, int]) -> dict[str, Any]:
    """Labels along the dims of a group; of weights, where they are kept."""
    labels: dict[str, Any] = {
        LAYER: [*n_inputs],
        TARGET: [*fits.targets],
        SPLIT: SPLITS,
        BOUND: BOUNDS,
    }
    if fits.keeps_weights:
        n_outputs = max(target.n_outputs for target in fits.targets.values())
        labels |= {OUTPUT: range(n_outputs), INPUT: range(max(n_inputs.values()))}
    return labels


def columns_of(
    fits: Fits, n_inputs: Mapping[str, int], depths: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Coordinates of layers and targets."""
    targets = fits.targets.values()
    return {
        DEPTH: dict(depths),
        "n_inputs": dict(n_inputs),
        "metric": {target.name: target.metric for target in targets},
        "n_classes": {target.name: target.n_classes for target in targets},
        "chance": {target.name: target.chance for target in targets},
    }


def write_counts(group: Group, fits: Fits) -> None:
    """Write how many samples there are of each target, and how its commonest class scores."""
    for target in fits.targets.values():
        splits = fits.splits.among(target.is_known)
        row = group.rows[TARGET][target.name]
        group.array("n")[row] = np.array([len(places) for places in splits], np.int32)
        group.array("majority_score")[row] = target.majority(splits)


def noted_classes(group: Group, fits: Fits) -> dict[str, Any]:
    """Names of the classes of targets, for a group to keep."""
    own = {target.name: list(target.classes) for target in fits.targets.values()}
    return {"classes": {**group.attrs.get("classes", {}), **own}}
