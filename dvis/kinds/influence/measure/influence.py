"""Influence as a measurement: one model and pairs of units in, one labelled Dataset out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from torch import nn

from dvis.kinds.influence.measure.ablation import Ablation, plain_means
from dvis.kinds.influence.measure.attribution import Attribution
from dvis.kinds.influence.measure.layers import nodes_of
from dvis.kinds.influence.measure.nodes import Node
from dvis.kinds.influence.measure.replaced import Course, Way, find_course
from dvis.kinds.influence.measure.sums import Means, Sums
from dvis.kinds.influence.measure.task import InfluenceTask
from dvis.kinds.influence.options import OF_LATENTS, Method, Value
from dvis.kinds.influence.words import CHANNEL_TO
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.mixing import why_alone
from dvis.models.recalibration import Recalibrated
from dvis.schema import NOTES

PART = "part"
_NOT_FINITE = "a response is not finite: weights that it depends on are not"
GRAPH_BATCH = 32  # images whose whole graph is held
_PLAIN_BATCH = 64
Found = dict[tuple[str, str], tuple[np.ndarray, Sums]]  # places of channels in the sums


@dataclass(frozen=True, kw_only=True)
class InfluenceMeasurement:
    """Influence of units on those of later layers.

    Parameters
    ----------
    images : FixedImages
        The images, the same at all checkpoints.
    recalibrated : Recalibrated
        Which statistics batch norm has.
    method : {"ablation", "attribution"}
        How it is measured.
    value : {"mean", "zero", "resample"}
        What takes the place of a unit.
    chosen : mapping of str to tuple of int
        Units of targets that are kept, of layers of which not all are.
    seed : int
        Of which image `resample` takes a map.
    batch_size : int
        Rows of a pass at most.
    """

    images: FixedImages
    recalibrated: Recalibrated
    method: Method = "ablation"
    value: Value = "mean"
    chosen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 256

    def measure(
        self, model: nn.Module, task: InfluenceTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Influence of a task's pairs.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : InfluenceTask
            The pairs.
        start : None
            Not used.

        Returns
        -------
        Dataset
            Dims (part, channel_to) with `strength`, `share`, `direction` and `half_difference`,
            float64 within what float16 holds, `response_sd`, and `error` (part); the coordinates
            are the labels of the parts.
        """
        model = self.recalibrated(model)
        like = next(model.parameters())
        outputs = trace_layers(model, self.images.batch(0, 1, like))
        nodes = nodes_of(outputs, [*task.sources, *task.targets], task.autoencoders)
        notes: list[str] = []
        pairs = [pair for pair in task.asked if {pair[0], pair[2]} <= nodes.keys()]
        known = InfluenceTask(tuple(pairs), tuple(range(len(pairs))), task.by_target)
        found: Found = {}
        if pairs:
            how = self._by_gradients if task.by_target else self._by_ablation
            found = how(model, known, nodes, outputs, notes)
        return _labelled(task, found, self.chosen, 2**0.5 if self.value == "resample" else 1, notes)

    def forget(self) -> None:
        """Let go of the images as they were prepared, and of a model's copy."""
        forget_prepared()
        self.recalibrated.forget()

    def ablation(
        self,
        model: nn.Module,
        layer: str,
        units: tuple[int, ...],
        nodes: Mapping[str, Node],
        course: Course,
    ) -> Ablation:
        """Some units of a layer onto the other layers."""
        return Ablation(
            model=model,
            source=nodes[layer],
            units=units,
            targets={name: node for name, node in nodes.items() if name != layer},
            course=course,
            images=self.images,
            value=self.value,
            partners=derangement(len(self.images), self.seed),
            batch_size=self.batch_size,
        )

    def _by_ablation(
        self,
        model: nn.Module,
        task: InfluenceTask,
        nodes: Mapping[str, Node],
        outputs: Mapping[str, LayerOutput],
        notes: list[str],
    ) -> Found:
        ((layer, units),) = task.sources.items()
        own = nodes[layer].layer
        wanted = {name: nodes[name] for name in (layer, *task.targets)}
        traced = {node.layer: outputs[node.layer] for node in wanted.values()}
        image = self.images.batch(0, 1, next(model.parameters()))
        course = find_course(model, own, traced, image)
        notes += [course.why] if course.why else []
        is_alone = course.way is Way.ALONE
        means = plain_means(model, wanted, self.images, _PLAIN_BATCH, is_alone=is_alone)
        sources = Means(means[layer].values[:, list(units)])
        targets = {name: means[name] for name in task.targets}
        ablation = self.ablation(model, layer, units, wanted, course)
        sums = ablation.sums(
            sources, Means(np.concatenate([m.values for m in targets.values()], 1))
        )
        found: Found = {}
        first = 0
        for name, of_target in targets.items():
            stop = first + nodes[name].n_units
            is_unreached = nodes[name].layer in course.unreached
            part = sums.of(slice(first, stop), of_target, is_unreached=is_unreached)
            found[layer, name] = np.array(units), part
            notes += [_said_of_unreached(layer, name)] if is_unreached else []
            first = stop
        return found

    def _by_gradients(
        self,
        model: nn.Module,
        task: InfluenceTask,
        nodes: Mapping[str, Node],
        outputs: Mapping[str, LayerOutput],
        notes: list[str],
    ) -> Found:
        (target,) = task.targets
        image = self.images.batch(0, 1, next(model.parameters()))
        calls = {node.layer: node.output.n_calls for node in nodes.values()}
        why = why_alone(model, calls, image)
        notes += [why] if why else []
        means = plain_means(model, nodes, self.images, _PLAIN_BATCH, is_alone=bool(why))
        sources = {name: nodes[name] for name in task.sources}
        units = self.chosen.get(target) or tuple(range(nodes[target].n_units))
        attribution = Attribution(
            model=model,
            sources=sources,
            target=nodes[target],
            units=units,
            images=self.images,
            value=self.value,
            batch_size=1 if why else min(self.batch_size, GRAPH_BATCH),
        )
        sums = attribution.sums(means, means[target])
        return {
            (name, target): (np.arange(sources[name].n_units), of_source)
            for name, of_source in sums.items()
        }


def derangement(n: int, seed: int) -> np.ndarray:
    """Another number for each of 0 to n - 1, (n,), int64: each once, none its own."""
    order = np.random.default_rng(seed).permutation(n)
    partners = np.empty(n, np.int64)
    partners[order] = np.roll(order, 1)
    return partners


def _said_of_unreached(source: str, target: str) -> str:
    return f"{target} does not depend on {source}: influence there is exactly 0"


def _labelled(
    task: InfluenceTask,
    found: Found,
    chosen: Mapping[str, tuple[int, ...]],
    scale: float,
    notes: list[str],
) -> xr.Dataset:
    """Numbers of a task's parts as a Dataset, with an error where one is not finite."""
    n_parts = len(task.asked)
    width = max((len(sums.deviation) for _, sums in found.values()), default=1)
    names = ("strength", "share", "direction", "half_difference", "response_sd")
    arrays = {name: np.full((n_parts, width), np.nan) for name in names}
    errors = np.full(n_parts, "", object)
    for pair, parts in _by_pair(task):
        if pair not in found:
            lacking = next((each for each in pair if OF_LATENTS in each), pair[0])
            errors[parts] = f"there is no autoencoder for {lacking} at this checkpoint"
            continue
        channels, sums = found[pair]
        rows = np.searchsorted(channels, [task.asked[part][1] for part in parts])
        kept = np.array(chosen.get(pair[1]) or range(len(sums.deviation)))
        for name, values in sums.found(scale).items():
            arrays[name][np.ix_(parts, kept)] = values[np.ix_(rows, kept)]
        arrays["response_sd"][np.ix_(parts, kept)] = sums.deviation[kept]
        errors[parts] = np.where(sums.is_finite[rows], "", _NOT_FINITE)
    return xr.Dataset(
        {
            **{name: ((PART, CHANNEL_TO), values) for name, values in arrays.items()},
            "error": (PART, errors),
        },
        {
            label: (PART, values) if np.ndim(values) else values
            for label, values in task.labels.items()
        },
        {NOTES: notes},
    )


def _by_pair(task: InfluenceTask) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Layers of source and target, with the numbers of the parts that are of them."""
    parts: dict[tuple[str, str], list[int]] = {}
    for part, (source, _, target) in enumerate(task.asked):
        parts.setdefault((source, target), []).append(part)
    yield from ((pair, np.array(own)) for pair, own in parts.items())
