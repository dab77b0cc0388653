"""Linear probes as a measurement: one model in, how well targets are read off its layers out.

One forward pass serves all layers. What the scores are held against is measured the same way: the
network untrained and pixels once, shuffled targets at every checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import xarray as xr
from torch import nn

from dvis.analysis.linear_probes import (
    FittedProbe,
    Splits,
    Standardised,
    band_of,
    errors_of_accuracies,
    errors_of_determinations,
)
from dvis.analysis.resampling import BOUND
from dvis.kinds.probes.pooling import Pooling
from dvis.kinds.probes.targets import Target
from dvis.kinds.probes.words import INPUT, OUTPUT, SCORE, SPLIT, TARGET
from dvis.models.architectures import load_model
from dvis.models.building import Shapes, seeded_model
from dvis.models.checkpoints import CheckpointFile
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.devices import device_of
from dvis.models.hooks import LayerOutput
from dvis.models.model_reference import Model
from dvis.models.recalibration import Recalibrated
from dvis.schema import LAYER, NOTES, UNIT

_OF_PARTS = (UNIT, SPLIT)

Fields = dict[str, Any]  # of a part, by array


@dataclass(frozen=True)
class ProbeTask:
    """Probes of one checkpoint.

    Parameters
    ----------
    layers, targets : tuple of str
        All of them.
    parts : tuple of int
        Which of their pairs, counted on from layer to layer.
    """

    layers: tuple[str, ...]
    targets: tuple[str, ...]
    parts: tuple[int, ...]

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers and targets, and other pairs of them."""
        return replace(self, parts=parts)

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Layer and target of each part."""
        n_targets = len(self.targets)
        return [(self.layers[p // n_targets], self.targets[p % n_targets]) for p in self.parts]

    @property
    def labels(self) -> dict[str, Any]:
        """Layer and target of each part."""
        layers, targets = zip(*self.wanted, strict=True)
        return {LAYER: np.array(layers, object), TARGET: np.array(targets, object)}

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(layer for layer, _ in self.wanted))


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """The network before training: weights of a checkpoint, or drawn by a seed.

    Parameters
    ----------
    model : str or GivenModel
        The model.
    checkpoint : CheckpointFile or None
        The file of its weights.
    shapes : mapping of str to Size
        Shapes of the weights that are drawn where there is no file.
    seed : int
        What draws them.
    """

    model: Model
    checkpoint: CheckpointFile | None
    shapes: Shapes
    seed: int

    def made(self, like: nn.Module) -> nn.Module:
        """The network, where another one computes."""
        device = device_of(like)
        if self.checkpoint is not None:
            return load_model(self.model, self.checkpoint, device)
        drawn = seeded_model(self.model, self.shapes, self.seed)
        assert drawn is not None, "the plan has seen that weights are drawn"
        return drawn.to(device).eval()


class LinearProbes:
    """Scores of probes of layers, and what they are held against.

    Parameters
    ----------
    images : FixedImages
        The images.
    targets : sequence of Target
        What is read off them.
    splits : Splits
        Which of them are for what.
    outputs : mapping of str to LayerOutput
        The layers.
    pooling : Pooling
        What of their outputs is read.
    recalibrated : Recalibrated
        The network that is looked at in place of a checkpoint: with batch norm measured anew.
    untrained : Untrained, optional
        The network before training.
    batch_size : int
        Images in one forward pass.
    n_shuffles : int
        Probes of shuffled targets.
    keeps_weights : bool
        Whether weights of probes are handed back.
    seed : int
        Of shuffles and bootstrap samples.
    """

    def __init__(
        self,
        *,
        images: FixedImages,
        targets: Sequence[Target],
        splits: Splits,
        outputs: Mapping[str, LayerOutput],
        pooling: Pooling,
        recalibrated: Recalibrated,
        untrained: Untrained | None = None,
        batch_size: int = 32,
        n_shuffles: int = 5,
        keeps_weights: bool = False,
        seed: int = 0,
    ) -> None:
        self.images, self.splits = images, splits
        self.targets = {target.name: target for target in targets}
        self.outputs, self.pooling = dict(outputs), pooling
        self.untrained = untrained
        self.batch_size, self.n_shuffles, self.seed = batch_size, n_shuffles, seed
        self.keeps_weights = keeps_weights
        self._recalibrated = recalibrated
        self._known: dict[ProbeTask, Fields] = {}

    def measure(
        self, model: nn.Module, task: ProbeTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Scores of a checkpoint's probes.

        Parameters
        ----------
        model : nn.Module
            The checkpoint in eval mode; it is not touched.
        task : ProbeTask
            Which layers, and what is read off them.
        start : ndarray of bool, optional
            Whether what the scores are held against is known already, of the network untrained
            and of pixels; by default it is not.

        Returns
        -------
        Dataset
            Arrays of `dvis.kinds.probes.words` and `error`, `note`, (unit, ...), with the layer and
            target of each part.
        """
        found, why = self._probed(self._recalibrated(model), task, n_shuffles=self.n_shuffles)
        weights = [of_part.pop("weights") for of_part in found]
        fields = {name: [of_part[name] for of_part in found] for name in found[0]}
        dims: dict[str, tuple[str, ...]] = {
            SCORE: _OF_PARTS,
            "score_se": _OF_PARTS,
            "shuffled_score": _OF_PARTS,
        }
        dims["null_score"] = (*_OF_PARTS, BOUND)
        variables = {
            name: (dims.get(name, (UNIT,)), np.array(values, object if _is_text(name) else None))
            for name, values in fields.items()
        }
        if self.keeps_weights:
            variables |= _padded(weights)
        if start is None or not start.all():
            for name, values in self._held_against(model, task).items():
                variables[name] = (_OF_PARTS, values)
        labels = {name: (UNIT, of_parts) for name, of_parts in task.labels.items()}
        return xr.Dataset(variables, labels, {NOTES: [why] if why else []})

    def forget(self) -> None:
        """Let go of what this process keeps."""
        self._known.clear()
        self._recalibrated.forget()
        forget_prepared()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: nothing that it measures itself."""
        return {**self.__dict__, "_known": {}}

    def _probed(
        self, network: nn.Module, task: ProbeTask, *, n_shuffles: int
    ) -> tuple[list[Fields], str]:
        """What is known of each part, in the task's order; and why images went through alone."""
        wanted = task.wanted
        outputs = {each: self.outputs[each] for each in dict.fromkeys(name for name, _ in wanted)}
        of_layers, why = self.pooling.inputs(
            network, outputs, self.images, self.splits.train, self.batch_size
        )
        found = {}
        for layer, inputs in of_layers:
            targets = [target for name, target in wanted if name == layer]
            for target, of_part in self._of_layer(inputs, targets, n_shuffles):
                if of_part["error"]:
                    of_part["error"] = f"an activation of {layer} {of_part['error']}"
                found[layer, target] = of_part
        return [found[each] for each in wanted], why

    def _of_layer(
        self, inputs: np.ndarray, names: Sequence[str], n_shuffles: int
    ) -> Iterator[tuple[str, Fields]]:
        """What is known of probes of some targets, by what is read of one layer."""
        if not np.isfinite(inputs).all():
            yield from ((name, _unknown("is not finite: weights are not")) for name in names)
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
            np.array([each.scores for each in of_shuffled]).reshape(n_shuffles, len(probe.scores))
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

    def _held_against(self, model: nn.Module, task: ProbeTask) -> dict[str, np.ndarray]:
        """Scores of the network untrained and of pixels, (unit, split), with their errors."""
        if task not in self._known:
            pixels = self.pooling.pixels(self.images, self.splits.train, self.batch_size)
            of_pixels = dict(self._of_layer(pixels, list(self.targets), 0))
            of_parts = {"pixel_score": [of_pixels[target] for _, target in task.wanted]}
            if self.untrained is not None:
                network = self._recalibrated(self.untrained.made(model))
                of_parts["untrained_score"] = self._probed(network, task, n_shuffles=0)[0]
                self._recalibrated.forget()
            self._known = {
                task: {
                    f"{name}{end}": np.array([each[f"{SCORE}{end}"] for each in found])
                    for name, found in of_parts.items()
                    for end in ("", "_se")
                }
            }
        return self._known[task]


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
