"""Probes of what is read of one layer: scores, errors, and what shuffled targets score.

Numbers (sample, input) in, fields of the parts of a result out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr

from dvis.analysis.linear_probes import (
    FittedProbe,
    Splits,
    Standardised,
    band_of,
    errors_of_accuracies,
    errors_of_determinations,
)
from dvis.analysis.resampling import BOUND
from dvis.kinds.probes.options import LinearProbeOptions
from dvis.kinds.probes.targets import Target
from dvis.kinds.probes.words import INPUT, OUTPUT, SCORE, SPLIT
from dvis.schema import UNIT

OF_PARTS = (UNIT, SPLIT)

Fields = dict[str, Any]  # of a part, by array


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    """How probes are trained and scored.

    Parameters
    ----------
    targets : mapping of str to Target
        What is read off, by name.
    splits : Splits
        Which samples are for what.
    n_shuffles : int
        Probes of shuffled targets.
    keeps_weights : bool
        Whether weights of probes are handed back.
    seed : int
        Of shuffles and bootstrap samples.
    """

    targets: Mapping[str, Target]
    splits: Splits
    n_shuffles: int = 5
    keeps_weights: bool = False
    seed: int = 0

    @classmethod
    def of(cls, options: LinearProbeOptions, targets: Sequence[Target], n_samples: int) -> Self:
        """Those that options ask for, with splits of samples at random.

        Raises
        ------
        ValueError
            When there is nothing to tell apart.
        """
        splits = Splits.drawn(
            n_samples,
            validation=options.validation,
            held_out=options.held_out,
            seed=options.seed,
        )
        for target in targets:
            target.require_learnable(splits.among(target.is_known))
        return cls(
            targets={target.name: target for target in targets},
            splits=splits,
            n_shuffles=options.n_shuffles,
            keeps_weights=options.keep_weights,
            seed=options.seed,
        )

    def of_layer(
        self, layer: str, inputs: np.ndarray, names: Sequence[str], n_shuffles: int | None = None
    ) -> Iterator[tuple[str, Fields]]:
        """What is known of probes of some targets, by what is read of one layer."""
        n_shuffles = self.n_shuffles if n_shuffles is None else n_shuffles
        if not np.isfinite(inputs).all():
            error = f"an activation of {layer} is not finite: weights are not"
            yield from ((name, _unknown(error)) for name in names)
            return
        prepared: dict[bytes, Standardised] = {}
        for name in names:
            target = self.targets[name]
            key = target.is_known.tobytes()
            if key not in prepared:
                splits = self.splits.among(target.is_known)
                prepared[key] = Standardised.of(inputs, splits)
            yield name, self._of_target(prepared[key], target, n_shuffles)

    def _of_target(self, inputs: Standardised, target: Target, n_shuffles: int) -> Fields:
        shuffled = target.shuffled(n_shuffles, self.seed)
        values = np.concatenate([target.values[None], shuffled])
        if target.is_class:
            probes = [inputs.told_classes(labels) for labels in values]
        else:
            probes = inputs.told_numbers(np.nan_to_num(values))
        probe, *of_shuffled = probes
        mean, band = band_of(
            np.array([each.scores for each in of_shuffled]).reshape(n_shuffles, len(probe.scores)),
            lowest=0 if target.is_class else -np.inf,
            highest=1,
        )
        n_unconverged = sum(each.n_unconverged for each in probes)
        return {
            SCORE: probe.scores,
            "score_se": self._errors(probe, target, inputs.splits),
            "shuffled_score": mean,
            "null_score": band,
            "regularisation": probe.strength,
            "n_steps": probe.n_steps,
            "is_converged": int(probe.is_converged),
            "n_unconverged": n_unconverged,
            "weights": _weights(inputs, probe, target) if self.keeps_weights else None,
            "error": "",
            "note": "" if probe.is_converged else f"the fit had not ended in {probe.n_steps} steps",
        }

    def _errors(self, probe: FittedProbe, target: Target, splits: Splits) -> np.ndarray:
        if target.is_class:
            is_right = probe.predicted == target.values
            return errors_of_accuracies(is_right, splits, seed=self.seed)
        values = np.nan_to_num(target.values)
        return errors_of_determinations(probe.predicted, values, splits, seed=self.seed)

    def result(self, found: Sequence[Fields], labels: Mapping[str, Any]) -> xr.Dataset:
        """Fields of parts as a result, (unit, ...), with the labels of the parts."""
        weights = [of_part.pop("weights") for of_part in found]
        fields = {name: [of_part[name] for of_part in found] for name in found[0]}
        dims: dict[str, tuple[str, ...]] = {
            SCORE: OF_PARTS,
            "score_se": OF_PARTS,
            "shuffled_score": OF_PARTS,
        }
        dims["null_score"] = (*OF_PARTS, BOUND)
        variables = {
            name: (dims.get(name, (UNIT,)), np.array(values, object if _is_text(name) else None))
            for name, values in fields.items()
        }
        if self.keeps_weights:
            variables |= _padded(weights)
        return xr.Dataset(variables, {name: (UNIT, values) for name, values in labels.items()})


def _weights(inputs: Standardised, probe: FittedProbe, target: Target) -> np.ndarray:
    """Weights of what is read and, in the last column, intercepts, (output, input + 1)."""
    weights, intercept = inputs.of_inputs(probe)
    rows = np.unique(target.values[inputs.splits.train]) if target.is_class else slice(None)
    found = np.full((target.n_outputs, weights.shape[1] + 1), np.nan)
    found[rows] = np.column_stack([weights, intercept])
    return found


def _padded(of_parts: Sequence[np.ndarray | None]) -> Fields:
    """Weights and intercepts of parts, NaN where a part has no such output or input."""
    known = [each for each in of_parts if each is not None]
    n_outputs, n_columns = (max((each.shape[i] for each in known), default=1) for i in (0, 1))
    weights = np.full((len(of_parts), n_outputs, n_columns - 1), np.nan, np.float32)
    intercepts = np.full((len(of_parts), n_outputs), np.nan, np.float32)
    for part, each in enumerate(of_parts):
        if each is not None:
            weights[part, : len(each), : each.shape[1] - 1] = each[:, :-1]
            intercepts[part, : len(each)] = each[:, -1]
    return {"weights": ((UNIT, OUTPUT, INPUT), weights), "intercept": ((UNIT, OUTPUT), intercepts)}


def _is_text(name: str) -> bool:
    return name in ("error", "note")


def _unknown(error: str) -> Fields:
    """What is known of a part that failed."""
    nothing = np.full(3, np.nan)
    return {
        SCORE: nothing,
        "score_se": nothing,
        "shuffled_score": nothing,
        "null_score": np.full((3, 2), np.nan),
        "regularisation": np.nan,
        "n_steps": -1,
        "is_converged": -1,
        "n_unconverged": -1,
        "weights": None,
        "error": error,
        "note": "",
    }
