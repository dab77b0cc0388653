"""The words of linear probes: targets, splits of samples, and the arrays of a group.

{run}/probes/{name}/    score, score_se, shuffled_score (checkpoint, layer, target, split)
                        null_score (checkpoint, layer, target, split, bound)
                        regularisation, n_steps, is_converged, status (checkpoint, layer, target)
                        weights (checkpoint, layer, target, output, input) and intercept, where kept
                        untrained_score, untrained_score_se (layer, target, split)
                        pixel_score, pixel_score_se, majority_score, n (target, split)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dvis.analysis.resampling import BOUND
from dvis.schema import (
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    COORDINATES,
    DEPTH,
    LAYER,
    SOURCE,
    TEXT,
    Status,
    VariableSpec,
    Words,
    spec,
    status_spec,
)

KIND: Final = "probes"
SCORE: Final = "score"
TARGET, SPLIT = "target", "split"
OUTPUT, INPUT = "output", "input"  # of kept weights: a class or a number, and what is read
WEIGHTS_KEPT: Final = "weights_kept"  # attribute of a group
TRAIN, VALIDATION, HELD_OUT = SPLITS = ("train", "validation", "held-out")
BOUNDS = ("lower", "upper")
PART_DIMS = (CHECKPOINT, LAYER, TARGET)
SCORE_DIMS = (*PART_DIMS, SPLIT)
UNTRAINED_DIMS, PIXEL_DIMS = (LAYER, TARGET, SPLIT), (TARGET, SPLIT)
PROBLEM, WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"
EXCHANGED = "targets of samples"
ACCURACY, R_SQUARED = "accuracy", "r2"  # metrics
CALLED = {ACCURACY: "accuracy", R_SQUARED: "R²"}  # as pictures have them

_CHUNKS: Mapping[str, int] = {
    CHECKPOINT: 64,
    LAYER: 32,
    TARGET: 8,
    SPLIT: len(SPLITS),
    BOUND: len(BOUNDS),
}
_LABEL_CHUNK = 4096
_WEIGHTS_CHUNK = (64, 1024)


def _of(dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str, **attrs: Any) -> VariableSpec:
    if len(dims) == 1:
        return spec(dims, dtype, fill, long_name, layout={"chunks": (_LABEL_CHUNK,)}, **attrs)
    layout = {"chunks": tuple(_CHUNKS[dim] for dim in dims)}
    return spec(dims, dtype, fill, long_name, layout=layout, **attrs)


def _score(dims: tuple[str, ...], long_name: str) -> VariableSpec:
    return _of(dims, "float64", np.nan, long_name, units="1")


def probe_words(attrs: Mapping[str, Any]) -> Words:
    """Words of a group by its attributes: with weights, where they are kept."""
    if not attrs.get(WEIGHTS_KEPT):
        return WORDS
    dims = (*PART_DIMS, OUTPUT, INPUT)
    kept = {
        OUTPUT: _of((OUTPUT,), "int32", -1, "class, or number"),
        INPUT: _of((INPUT,), "int32", -1, "number that is read of a layer"),
        "weights": spec(
            dims,
            "float32",
            np.nan,
            "weight of what is read",
            layout={"chunks": (1, 1, 1, *_WEIGHTS_CHUNK)},
        ),
        "intercept": spec(
            dims[:-1], "float32", np.nan, "intercept", layout={"chunks": (16, 8, 8, 64)}
        ),
    }
    return replace(WORDS, arrays={**WORDS.arrays, **kept})


WORDS = Words(
    kind=KIND,
    arrays={
        **CHECKPOINT_COORDINATES,
        **{name: COORDINATES[name] for name in (LAYER, DEPTH)},
        "n_inputs": _of((LAYER,), "int32", 0, "numbers that a probe of the layer reads"),
        TARGET: _of((TARGET,), TEXT, "", "what is read off"),
        "metric": _of((TARGET,), TEXT, "", "what the score is"),
        "n_classes": _of((TARGET,), "int32", 0, "classes, 0 of a number"),
        "chance": _of((TARGET,), "float64", np.nan, "score of guessing", units="1"),
        SPLIT: _of((SPLIT,), TEXT, "", "split of the samples"),
        BOUND: _of((BOUND,), TEXT, "", "end of an interval"),
        SCORE: _of(
            SCORE_DIMS, "float64", np.nan, "score of the probe", units="1", exchangeable=EXCHANGED
        ),
        "score_se": _score(SCORE_DIMS, "standard error of the score, over samples"),
        "shuffled_score": _score(SCORE_DIMS, "mean score of probes of shuffled targets"),
        "null_score": _score((*SCORE_DIMS, BOUND), "95 % of scores of probes of shuffled targets"),
        "regularisation": _score(PART_DIMS, "C of the penalty, chosen by the validation split"),
        "n_steps": _of(PART_DIMS, "int32", -1, "steps of the fit, 0 of one in closed form"),
        "is_converged": _of(PART_DIMS, "int8", -1, "whether the fit converged"),
        "n_unconverged": _of(PART_DIMS, "int32", -1, "fits that did not, of all that were made"),
        "untrained_score": _score(UNTRAINED_DIMS, "score of the network untrained"),
        "untrained_score_se": _score(UNTRAINED_DIMS, "its standard error, over samples"),
        "pixel_score": _score(PIXEL_DIMS, "score of a probe of pixels"),
        "pixel_score_se": _score(PIXEL_DIMS, "its standard error, over samples"),
        "majority_score": _score(PIXEL_DIMS, "score of the commonest class, or of the mean"),
        "n": _of(PIXEL_DIMS, "int32", 0, "samples whose target is known", units="1"),
        "status": status_spec(
            PART_DIMS, "probe", Status, {"chunks": tuple(_CHUNKS[dim] for dim in PART_DIMS)}
        ),
        PROBLEM: _of(PART_DIMS, TEXT, "", "what was wrong"),
        WEIGHTS: _of(PART_DIMS, "uint64", 0, "hash of the checkpoint's weights"),
    },
    coordinates=(
        *("epoch", "phase", "batch", "step", "time"),
        *(DEPTH, "n_inputs", "metric", "n_classes", "chance"),
    ),
    noun="probes",
    said={
        "images": (dict, "what its images are"),
        "batch_norm": (str, "whose statistics batch norm used"),
        "pool": (str, "what of a layer's output probes read"),
    },
)
