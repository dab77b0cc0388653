"""Attributes as a measurement: one model in, what tells sides of pairs apart and uses it out.

One pass of the images serves all layers. Then each layer lacks, one after the other, the
attribute's direction and random ones, and the output is looked at again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.analysis.linear_probes import band_of, reduced
from dvis.analysis.resampling import BOUND
from dvis.kinds.attributes.options import N_FOLDS
from dvis.kinds.attributes.passes import ITSELF, Cut, Passes
from dvis.kinds.attributes.statistics import (
    error_of_mean,
    error_of_share,
    exchanges,
    folds_of,
    separations,
    told_right,
    with_random,
)
from dvis.kinds.attributes.words import ATTRIBUTE, PAIR, SCORE, SHUFFLE, TELLS, USES
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput
from dvis.models.mixing import why_alone
from dvis.models.recalibration import Recalibrated
from dvis.schema import CHANNEL, LATENT, LAYER, NOTES, UNIT

_DIMS = {
    SCORE: (UNIT, CHANNEL),
    "null_score": (UNIT, SHUFFLE),
    "latent_score": (UNIT, LATENT),
    "null_latent_score": (UNIT, SHUFFLE),
    "told": (UNIT, PAIR),
    "lost": (UNIT, PAIR),
    "squared": (UNIT, PAIR),
    "null_tells": (UNIT, BOUND),
    "null_uses": (UNIT, BOUND),
}
_TEXTS = ("error", "note")
# Of a response to another scene: less is what sums in another order give.
_LEAST_STEP = 1e-5
_UNANSWERED = "the output does not depend on it"
_PIXEL_SIDE, _N_COMPONENTS = 32, 128  # of images whose pixels are read

Fields = dict[str, Any]  # of a part, by array


@dataclass(frozen=True)
class AttributeTask:
    """Attributes at layers of one checkpoint.

    Parameters
    ----------
    layers, attributes : tuple of str
        All of them.
    parts : tuple of int
        Which of their pairs, counted on from layer to layer.
    autoencoders : mapping of str to Autoencoder
        By the layer that they are of, as the task travels to a worker.
    """

    layers: tuple[str, ...]
    attributes: tuple[str, ...]
    parts: tuple[int, ...]
    autoencoders: Mapping[str, Autoencoder] = field(default_factory=dict, hash=False)

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers and attributes, and other pairs of them."""
        return replace(self, parts=parts)

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Layer and attribute of each part."""
        n = len(self.attributes)
        return [(self.layers[part // n], self.attributes[part % n]) for part in self.parts]

    @property
    def labels(self) -> dict[str, Any]:
        """Layer and attribute of each part."""
        layers, attributes = zip(*self.wanted, strict=True)
        return {LAYER: np.array(layers, object), ATTRIBUTE: np.array(attributes, object)}

    @property
    def looked_at(self) -> set[str]:
        """Layers of the parts."""
        return {layer for layer, _ in self.wanted}

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(layer for layer, _ in self.wanted))


class AttributeMeasurement:
    """What tells the sides of pairs apart at layers, and how much of it the output uses.

    Parameters
    ----------
    stimuli : FixedImages
        Pairs, of one attribute after the other, as `paired_images` has them.
    attributes : sequence of str
        What the attributes are called.
    outputs : mapping of str to LayerOutput
        The layers.
    recalibrated : Recalibrated
        The network that is looked at in place of a checkpoint: with batch norm measured anew.
    batch_size : int
        Images in one pass.
    n_shuffles : int
        How often sides of pairs are exchanged.
    n_random : int
        Random directions.
    n_latents : int
        Most latents of a layer's autoencoder; 0 where latents have no scores.
    seed : int
        Of folds, exchanges, random directions and bootstrap samples.
    """

    def __init__(
        self,
        *,
        stimuli: FixedImages,
        attributes: Sequence[str],
        outputs: Mapping[str, LayerOutput],
        recalibrated: Recalibrated,
        batch_size: int = 32,
        n_shuffles: int = 20,
        n_random: int = 10,
        n_latents: int = 0,
        seed: int = 0,
    ) -> None:
        self.stimuli, self.attributes = stimuli, tuple(attributes)
        self.outputs, self.batch_size = dict(outputs), batch_size
        self.n_random, self.n_latents, self.seed = n_random, n_latents, seed
        self.n_pairs = len(stimuli) // (2 * len(self.attributes))
        self.folds = folds_of(self.n_pairs, N_FOLDS, seed)
        self.is_exchanged = exchanges(self.n_pairs, n_shuffles, seed)
        self._recalibrated = recalibrated

    def measure(
        self, model: nn.Module, task: AttributeTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Scores, what layers tell, and what the output uses of it, of a checkpoint.

        Parameters
        ----------
        model : nn.Module
            The checkpoint in eval mode; it is not touched.
        task : AttributeTask
            Which layers and attributes.
        start : None
            Not used.

        Returns
        -------
        Dataset
            Arrays of `dvis.kinds.attributes.words` and `error`, `note`, (unit, ...), with the layer
            and attribute of each part.
        """
        network = self._recalibrated(model)
        wanted = task.wanted
        calls = {**{layer: self.outputs[layer].n_calls for layer, _ in wanted}, ITSELF: 1}
        why = why_alone(network, calls, self.stimuli.batch(0, 1, next(network.parameters())))
        found: dict[tuple[str, str], Fields] = {}
        for attribute in dict.fromkeys(attribute for _, attribute in wanted):
            passes = Passes(
                network=network,
                images=self.stimuli,
                rows=self.rows_of(attribute),
                batch_size=1 if why else self.batch_size,
            )
            layers = {layer: self.outputs[layer] for layer, name in wanted if name == attribute}
            for layer, fields in self._of_attribute(passes, layers, task.autoencoders).items():
                found[layer, attribute] = fields
        parts = [found[each] for each in wanted]
        variables = {
            name: (
                _DIMS.get(name, (UNIT,)),
                np.array([part[name] for part in parts], object if name in _TEXTS else None),
            )
            for name in parts[0]
        }
        labels = {name: (UNIT, of_parts) for name, of_parts in task.labels.items()}
        return xr.Dataset(variables, labels, {NOTES: [why] if why else []})

    def forget(self) -> None:
        """Let go of what this process keeps."""
        self._recalibrated.forget()
        forget_prepared()

    def rows_of(self, attribute: str) -> np.ndarray:
        """Places of an attribute's images among all, (2 pair,)."""
        first = self.attributes.index(attribute) * 2 * self.n_pairs
        return np.arange(first, first + 2 * self.n_pairs)

    def of_pixels(self, attribute: str) -> tuple[float, float]:
        """What principal components of pixels tell, 32 x 32 at most, and its standard error."""
        rows, side = self.rows_of(attribute), min(self.stimuli.transform.size, _PIXEL_SIDE)
        parts = []
        for first in range(0, len(rows), self.batch_size):
            batch = self.stimuli.at(rows[first : first + self.batch_size], torch.zeros(()))
            parts.append(nn.functional.adaptive_avg_pool2d(batch, side).flatten(1).numpy())
        everything = np.arange(len(rows))
        values = reduced(np.concatenate(parts), everything, _N_COMPONENTS, self.seed)
        (told,) = told_right(values, self.is_exchanged[:1], self.folds)
        return float(told.mean()), error_of_mean(told, self.seed)

    def _of_attribute(
        self,
        passes: Passes,
        layers: Mapping[str, LayerOutput],
        autoencoders: Mapping[str, Autoencoder],
    ) -> dict[str, Fields]:
        """What is known of layers for one attribute."""
        values, outputs = passes.looked_at(layers)
        width = max(output.n_channels for output in self.outputs.values())
        found, sound = {}, {}
        for layer, of_layer in values.items():
            why = _why_unknown(layer, of_layer, outputs)
            if not why:
                sound[layer] = layers[layer]
            found[layer] = {**self._unknown(width), "error": why}
        cuts = self._cuts(passes, sound, values)
        for layer, cut in cuts.items():
            found[layer] |= self._told(values[layer], width)
            found[layer] |= self._used(passes, layer, cut, outputs)
        if self.n_latents and sound:
            self._add_latents(found, passes, sound, autoencoders)
        return found

    def _add_latents(
        self,
        found: dict[str, Fields],
        passes: Passes,
        layers: Mapping[str, LayerOutput],
        autoencoders: Mapping[str, Autoencoder],
    ) -> None:
        """Add scores of latents to what is known of layers, or that there is no autoencoder."""
        own = {layer: each for layer, each in autoencoders.items() if layer in layers}
        codes = passes.codes(layers, own) if own else {}
        for layer, values in codes.items():
            scores = separations(values, self.is_exchanged)
            found[layer]["latent_score"] = _widened(scores[0], self.n_latents)
            found[layer]["null_latent_score"] = np.abs(scores[1:]).max(1)
        for layer in layers.keys() - codes.keys():
            said = (found[layer]["note"], "there is no autoencoder of it at this checkpoint")
            found[layer]["note"] = "; ".join(filter(None, said))

    def _told(self, values: np.ndarray, width: int) -> Fields:
        scores = separations(values, self.is_exchanged)
        told = told_right(values, self.is_exchanged, self.folds)
        return {
            SCORE: _widened(scores[0], width),
            "null_score": np.abs(scores[1:]).max(1),
            TELLS: told[0].mean(),
            "tells_se": error_of_mean(told[0], self.seed),
            "null_tells": band_of(told[1:].mean(1), 0, 1)[1],
            "told": told[0],
        }

    def _cuts(
        self,
        passes: Passes,
        layers: Mapping[str, LayerOutput],
        values: Mapping[str, np.ndarray],
    ) -> dict[str, Cut]:
        """Of each layer the attribute's direction and random ones, whose change is as large."""
        directions = {
            layer: with_random(values[layer], self.folds, self.n_random, (self.seed, output.depth))
            for layer, output in layers.items()
        }
        flat = {layer: each.reshape(-1, each.shape[-1]) for layer, each in directions.items()}
        squares = passes.squares(layers, flat) if layers else {}
        others = np.repeat(self.folds, 2) != np.arange(N_FOLDS)[:, None]
        shares = others / others.sum(1, keepdims=True)  # (fold, image): of those learnt on
        found = {}
        for layer, of_layer in directions.items():
            offsets = np.einsum("fi,ic,fdc->fd", shares, values[layer], of_layer)
            of_images = squares[layer].reshape(len(values[layer]), *of_layer.shape[:2])
            lengths = np.einsum("fi,ifd->fd", shares, of_images) - offsets**2
            lengths = np.sqrt(np.maximum(lengths, 0))
            strengths = np.divide(
                lengths[:, :1], lengths, out=np.zeros_like(lengths), where=lengths > 0
            )
            found[layer] = Cut(directions=of_layer, offsets=offsets, strengths=strengths)
        return found

    def _used(self, passes: Passes, layer: str, cut: Cut, outputs: np.ndarray) -> Fields:
        """How much of the output's response to the attribute goes with the direction."""
        steps = _steps(outputs)
        squared = (steps**2).sum(1)
        elsewhere = np.concatenate([np.roll(side, 1, 0) - side for side in _sides(outputs)])
        scale = np.sqrt((elsewhere**2).sum() / 2)
        size = np.sqrt(squared.sum()) / scale if scale > 0 else 0.0
        if size < _LEAST_STEP:
            return self._unanswered(float(size))
        folds = np.repeat(self.folds, 2)
        draws = range(1 + self.n_random)
        left = passes.without(layer, self.outputs[layer], cut, folds, draws)
        of_draws = [((steps - _steps(each)) * steps).sum(1) for each in left]
        lost = np.array(of_draws) / squared.mean()
        squared = squared / squared.mean()
        shares = lost.sum(1) / squared.sum()
        if not np.isfinite(shares).all():
            return {"error": f"without a direction of {layer} the output is not finite"}
        return {
            USES: shares[0],
            "uses_se": error_of_share(lost[0], squared, self.seed),
            "null_uses": band_of(shares[1:])[1],
            "lost": lost[0],
            "squared": squared,
            "response": size,
        }

    def _unanswered(self, size: float) -> Fields:
        """What is known where the output is the same of both sides."""
        nothing = np.zeros(self.n_pairs)
        return {
            **{USES: 0.0, "uses_se": 0.0, "null_uses": np.zeros(2)},
            **{"lost": nothing, "squared": nothing, "response": size, "note": _UNANSWERED},
        }

    def _unknown(self, width: int) -> Fields:
        """A part of which nothing is known yet."""
        sizes = {SCORE: width, "null_score": len(self.is_exchanged) - 1}
        sizes |= dict.fromkeys(("told", "lost", "squared"), self.n_pairs)
        sizes |= dict.fromkeys(("null_tells", "null_uses"), 2)
        if self.n_latents:
            sizes |= {"latent_score": self.n_latents, "null_latent_score": sizes["null_score"]}
        single = dict.fromkeys((TELLS, "tells_se", USES, "uses_se", "response"), np.nan)
        several = {name: np.full(n, np.nan) for name, n in sizes.items()}
        return {**several, **single, "error": "", "note": ""}


def _widened(scores: np.ndarray, width: int) -> np.ndarray:
    """Scores of units, NaN for units that others have more."""
    return np.pad(scores, (0, width - len(scores)), constant_values=np.nan)


def _sides(of_images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the first and of the second sides, (pair, ...) each."""
    return of_images[::2], of_images[1::2]


def _steps(of_images: np.ndarray) -> np.ndarray:
    """Numbers of second sides less those of first, (pair, ...)."""
    first, second = _sides(of_images)
    return np.asarray(second - first)


def _why_unknown(layer: str, values: np.ndarray, outputs: np.ndarray) -> str:
    """Why nothing can be told of a layer, or nothing."""
    if not np.isfinite(values).all():
        return f"an activation of {layer} is not finite: weights are not"
    if not np.isfinite(outputs).all():
        return "an output of the network is not finite: weights are not"
    return ""
