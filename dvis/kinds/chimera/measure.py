"""Chimeras as a measurement: one model in, how its chimeras with the final one answer out.

Weights of two checkpoints are put together in a private copy, batch norm is measured anew, and one
pass over the images gives the responses of all layers that are looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.chimera.words import ABOVE, BELOW, BOTH, CUT, PART, PARTS
from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointFile
from dvis.models.copying import private_copy
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput, as_maps, stopping
from dvis.models.mixing import why_alone
from dvis.models.model_reference import Model
from dvis.models.recalibration import Recalibrated
from dvis.models.splitting import Split
from dvis.schema import CHANNEL, LAYER, NOTES

# A spread below this share of the numbers that it is of is rounding of float32.
_LEAST_SPREAD = 1e-6

Answers = dict[str, np.ndarray]  # (image, channel), float64, by layer
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class ChimeraTask:
    """Chimeras of one checkpoint.

    Parameters
    ----------
    cuts : tuple of str
        All layers behind which the network is cut.
    parts : tuple of int
        Which of them.
    """

    cuts: tuple[str, ...]
    parts: tuple[int, ...]

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers, and others of them."""
        return replace(self, parts=parts)

    @property
    def wanted(self) -> list[str]:
        """The cuts that are asked for."""
        return [self.cuts[part] for part in self.parts]

    @property
    def labels(self) -> dict[str, Any]:
        """Cut of each part."""
        return {CUT: self.wanted}

    def __str__(self) -> str:
        return f"cut at {', '.join(self.wanted)}"


class Chimeras:
    """Correlations of chimeras' responses with those of the final network.

    Parameters
    ----------
    model : str or GivenModel
        The model, of which the final weights are loaded.
    final : CheckpointFile
        The final checkpoint, loaded once by each process.
    images : FixedImages
        The images.
    recalibrated : Recalibrated
        Batch norm as each chimera has it: of its own weights, or going with the weights beside it.
    splits : mapping of str to Split
        What of a model is below each cut.
    outputs : mapping of str to LayerOutput
        The layers whose units are looked at.
    batch_size : int
        Images in one forward pass.
    seed : int
        Draws which other unit of its layer each is held against.
    """

    def __init__(
        self,
        *,
        model: Model,
        final: CheckpointFile,
        images: FixedImages,
        splits: Mapping[str, Split],
        recalibrated: Recalibrated,
        outputs: Mapping[str, LayerOutput],
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        self.model, self.final, self.images = model, final, images
        self.splits, self.outputs = dict(splits), dict(outputs)
        self.batch_size, self.seed = batch_size, seed
        self._recalibrated = recalibrated
        self._known: dict[torch.device, tuple[State, Answers]] = {}

    def measure(
        self, model: nn.Module, task: ChimeraTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Correlations of a checkpoint's chimeras.

        Parameters
        ----------
        model : nn.Module
            The checkpoint in eval mode; it is not touched.
        task : ChimeraTask
            Where to cut.
        start : None
            Not used.

        Returns
        -------
        Dataset
            `correlation` and `null_correlation` (cut, part, layer, channel), float32, and `error`
            (cut).

        Raises
        ------
        ValueError
            When a response is not finite.
        """
        own = model.state_dict()
        why = why_alone(model, self._calls, self._batch(0, 1, model))
        copied = private_copy(model).eval().requires_grad_(False)
        final, expected = self._of_final(copied, bool(why))
        both = self._answers(copied, own, bool(why))
        found = []
        for split in (self.splits[cut] for cut in task.wanted):
            upper_final = {name: final[name] for name in own.keys() - split.below}
            lower_final = {name: final[name] for name in split.below}
            answers = {
                BELOW: self._answers(copied, {**own, **upper_final}, bool(why)),
                ABOVE: self._answers(copied, {**own, **lower_final}, bool(why)),
                BOTH: both,
            }
            found.append([self._correlations(answers[part], expected) for part in PARTS])
        return self._labelled(np.array(found, np.float32), task, [why] if why else [])

    def forget(self) -> None:
        """Let go of the final weights and of the images, which this process keeps."""
        self._known.clear()
        self._recalibrated.forget()
        forget_prepared()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: no weights."""
        return {**self.__dict__, "_known": {}}

    @property
    def _calls(self) -> dict[str, int]:
        return {layer: output.n_calls for layer, output in self.outputs.items()}

    def _batch(self, first: int, stop: int, model: nn.Module) -> Tensor:
        return self.images.batch(first, stop, next(model.parameters()))

    def _of_final(self, copied: nn.Module, is_alone: bool) -> tuple[State, Answers]:
        """Weights of the final network, and how it answers."""
        device = next(copied.parameters()).device
        if device not in self._known:
            final = load_model(self.model, self.final, device).state_dict()
            self._known[device] = final, self._answers(copied, final, is_alone)
        return self._known[device]

    def _answers(self, copied: nn.Module, state: State, is_alone: bool) -> Answers:
        """How a network with these weights answers: means over positions."""
        with torch.no_grad():
            for name, tensor in copied.state_dict().items():
                tensor.copy_(state[name])
        self._recalibrated.forget()  # it knows the copy by itself, not by its weights
        network = self._recalibrated(copied)

        def reduce(layer: str, output: Tensor) -> Tensor:
            return as_maps(output, self.outputs[layer].channel_dim).mean((-2, -1))

        kept: dict[str, list[np.ndarray]] = {layer: [] for layer in self.outputs}
        with (
            torch.no_grad(),
            stopping(network, self._calls, reduce, is_alone=is_alone) as forward,
        ):
            for first in range(0, len(self.images), self.batch_size):
                stop = min(first + self.batch_size, len(self.images))
                for layer, values in forward(self._batch(first, stop, network)).items():
                    kept[layer].append(values.double().cpu().numpy())
        found = {layer: np.concatenate(values) for layer, values in kept.items()}
        if broken := [layer for layer, values in found.items() if not np.isfinite(values).all()]:
            raise ValueError(
                f"a response of {broken[0]} is not finite: weights that it depends on are not, of "
                f"the checkpoint or of the final one, {self.final.label}"
            )
        return found

    def _correlations(self, answers: Answers, expected: Answers) -> np.ndarray:
        """Correlations with own and with others' final responses, (2, layer, channel)."""
        width = max(output.n_channels for output in self.outputs.values())
        found = np.full((2, len(self.outputs), width), np.nan)
        for place, layer in enumerate(self.outputs):
            n_channels = expected[layer].shape[1]
            others = another_of_each(n_channels, (self.seed, place))
            found[0, place, :n_channels] = correlation(answers[layer], expected[layer])
            if n_channels > 1:
                final = expected[layer][:, others]
                found[1, place, :n_channels] = correlation(answers[layer], final)
        return found

    def _labelled(self, found: np.ndarray, task: ChimeraTask, notes: list[str]) -> xr.Dataset:
        """Correlations (cut, part, own or other, layer, channel) as a Dataset."""
        dims = (CUT, PART, LAYER, CHANNEL)
        nothing = "no unit that is looked at varies over the images: the network is dead"
        is_known = np.isfinite(found[:, :, 0]).any((1, 2, 3))
        return xr.Dataset(
            {
                "correlation": (dims, found[:, :, 0]),
                "null_correlation": (dims, found[:, :, 1]),
                "error": (CUT, np.where(is_known, "", nothing).astype(object)),
            },
            {CUT: np.array(task.wanted, object)},
            {NOTES: notes},
        )


def correlation(answers: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Correlations (channel,) over images of responses (image, channel); NaN where one is flat."""
    centred, squares, is_told = [], [], np.ones(answers.shape[1], bool)
    for values in (answers, expected):
        centred.append(values - values.mean(0))
        squares.append((centred[-1] ** 2).sum(0))
        least = _LEAST_SPREAD * np.abs(values).max(0)
        is_told &= np.sqrt(squares[-1] / len(values)) > least
    lengths = np.sqrt(squares[0] * squares[1])
    products = (centred[0] * centred[1]).sum(0)
    return np.clip(np.where(is_told, products / np.where(is_told, lengths, 1.0), np.nan), -1, 1)


def another_of_each(n_units: int, seed: int | Sequence[int]) -> np.ndarray:
    """Another unit for each, (unit,), every one of them once."""
    order = np.random.default_rng(seed).permutation(n_units)
    others = np.empty(n_units, int)
    others[order] = np.roll(order, 1)
    return others
