"""What measuring influence would cost: passes, pairs, bytes, and time by a few timed passes.

A survey in, lines of text out. Nothing is written.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from dvis.kinds.influence.measure.ablation import Ablation
from dvis.kinds.influence.measure.attribution import Attribution
from dvis.kinds.influence.measure.influence import GRAPH_BATCH
from dvis.kinds.influence.measure.replaced import find_course
from dvis.kinds.influence.measure.sums import Means
from dvis.kinds.influence.survey import Survey
from dvis.kinds.influence.words import BLOCK
from dvis.models.data.fixed_images import FixedImages
from dvis.models.mixing import why_alone
from dvis.progress import in_bytes, in_time
from dvis.schema import counted

_ARRAYS = ("strength", "share", "direction", "half_difference")
_TIMED_TARGETS = 2
_TIMED = 2  # after one that finds things out


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the work on one layer takes at a checkpoint."""

    what: str
    n_pairs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a checkpoint takes, in seconds: layers, statistics, all; and one forward pass."""

    costs: list[Cost]
    statistics: float
    seconds: float
    one_pass: float


def estimate(survey: Survey) -> Estimate:
    """What measuring one checkpoint takes, by passes that are timed."""
    survey.model.to(survey.options.device)
    one_pass = _forward_seconds(survey)
    is_backward = survey.options.method == "attribution"
    costs = (_of_attribution if is_backward else _of_ablation)(survey, one_pass)
    statistics = _of_statistics(survey, one_pass)
    seconds = sum(cost.seconds for cost in costs) + statistics
    return Estimate(costs=costs, statistics=statistics, seconds=seconds, one_pass=one_pass)


def cost_lines(survey: Survey, n_checkpoints: int) -> list[str]:
    """Passes, pairs, bytes and time of each layer and in all, by passes that are timed.

    Parameters
    ----------
    survey : Survey
        What is asked for.
    n_checkpoints : int
        Checkpoints.
    """
    found = estimate(survey)
    one_pass, seconds = found.one_pass, found.seconds
    lines = [
        f"{cost.what}: {cost.n_pairs:,} pairs, {_passes(cost.seconds / one_pass)} a checkpoint, "
        f"{in_time(cost.seconds)}"
        for cost in found.costs
    ]
    if found.statistics:
        lines.append(
            f"statistics of batch norm: {_passes(found.statistics / one_pass)} a checkpoint, "
            f"{in_time(found.statistics)}"
        )
    n_pairs = sum(cost.n_pairs for cost in found.costs)
    n_bytes = n_pairs * len(_ARRAYS) * np.dtype(np.float16).itemsize * n_checkpoints
    return [
        *lines,
        f"in all: {n_pairs:,} pairs, {_passes(seconds / one_pass)}, {in_time(seconds)} a "
        f"checkpoint; at {counted(n_checkpoints, 'checkpoint')} {in_bytes(n_bytes)} before "
        f"compression, {in_time(seconds * n_checkpoints)} in one process; nothing was written",
    ]


def _passes(number: float) -> str:
    return f"{number:,.3g} forward passes over the images"


def _seconds(work: Callable[[], object]) -> float:
    """Time of some work, the mean of a few."""
    work()
    _wait()
    started = time.perf_counter()
    for _ in range(_TIMED):
        work()
    _wait()
    return (time.perf_counter() - started) / _TIMED


def _wait() -> None:
    """Until an accelerator has done what it was told."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _forward_seconds(survey: Survey) -> float:
    """Time of one forward pass over all images."""
    model, like = survey.model, next(survey.model.parameters())
    n_timed = min(32, len(survey.images))
    batch = survey.images.batch(0, n_timed, like)
    with torch.no_grad():
        return _seconds(lambda: model(batch)) / n_timed * len(survey.images)


def _of_ablation(survey: Survey, one_pass: float) -> list[Cost]:
    """By one pass behind each layer, with as many rows as it will have."""
    costs = []
    like = next(survey.model.parameters())
    image = survey.images.batch(0, 1, like)
    for source, targets in survey.later.items():
        if not targets:
            continue
        nodes = {name: survey.nodes[name] for name in (source, *targets)}
        traced = {node.layer: node.output for node in nodes.values()}
        course = find_course(survey.model, nodes[source].layer, traced, image)
        units = survey.units[source]
        ablation = survey.measurement.ablation(survey.model, source, units[:BLOCK], nodes, course)
        n_images, n_copies = ablation.shape
        sources = Means(np.zeros((len(survey.images), len(ablation.units))))
        before = _seconds(partial(ablation.outputs, np.arange(n_images)))
        first = _seconds(partial(_first, ablation, sources))
        n_rows = len(survey.images) * (len(units) + -(-len(units) // n_copies))
        n_blocks = -(-len(units) // BLOCK)
        n_targets = sum(_n_kept(survey, target) for target in targets)
        costs.append(
            Cost(
                what=f"{source}: {counted(len(units), 'source')} x {counted(n_targets, 'target')}",
                n_pairs=len(units) * n_targets,
                seconds=max(first - before, 0) * n_rows / (n_images * (1 + n_copies))
                + n_blocks * (one_pass + before * len(survey.images) / n_images),
            )
        )
    return costs


def _of_statistics(survey: Survey, one_pass: float) -> float:
    """Time in which a checkpoint's statistics of batch norm are measured."""
    recalibrated = survey.measurement.recalibrated
    if recalibrated.batch_norm == "running" or not recalibrated.changes(survey.model):
        return 0
    return one_pass * len(recalibrated.images) / len(survey.images)


def _first(ablation: Ablation, sources: Means) -> None:
    """What the first images give of the first copies."""
    changes = ablation.changes(sources)
    next(changes)
    changes.close()


def _of_attribution(survey: Survey, one_pass: float) -> list[Cost]:
    """By a few backward passes of the first images from each layer."""
    costs = []
    like = next(survey.model.parameters())
    for target in survey.targets:
        sources = {s: survey.nodes[s] for s, later in survey.later.items() if target in later}
        if not sources:
            continue
        nodes = {**sources, target: survey.nodes[target]}
        calls = {node.layer: node.output.n_calls for node in nodes.values()}
        is_alone = bool(why_alone(survey.model, calls, survey.images.batch(0, 1, like)))
        n_images = 1 if is_alone else min(GRAPH_BATCH, len(survey.images))
        some = FixedImages.of(
            survey.images.images.take(np.arange(n_images)), survey.images.transform
        )
        means = {name: Means(np.zeros((n_images, node.n_units))) for name, node in nodes.items()}
        n_targets = _n_kept(survey, target)
        seconds = []
        for n_timed in (1, 1 + _TIMED_TARGETS):
            attribution = Attribution(
                model=survey.model,
                sources=sources,
                target=nodes[target],
                units=[0] * n_timed,
                images=some,
                value=survey.options.value,
                batch_size=n_images,
            )
            seconds.append(_seconds(partial(attribution.sums, means, means[target])))
        backward = max(seconds[1] - seconds[0], 0) / _TIMED_TARGETS
        n_sources = sum(len(survey.units[source]) for source in sources)
        forward = max(seconds[0] - backward, 0)
        ends = counted(n_sources, "source"), counted(n_targets, "target")
        costs.append(
            Cost(
                what=f"onto {target}: {' x '.join(ends)}",
                n_pairs=n_sources * n_targets,
                seconds=(forward + n_targets * backward) * len(survey.images) / n_images + one_pass,
            )
        )
    return costs


def _n_kept(survey: Survey, target: str) -> int:
    """Units of a target that are asked for."""
    return len(survey.targets[target]) or survey.nodes[target].n_units
