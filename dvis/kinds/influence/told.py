"""What a report tells of influence: how circuits grow, how steady they are, what that is worth."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.analysis.births import births as find_births
from dvis.analysis.resampling import BOUND
from dvis.kinds.influence.analysis.assembly import STATISTIC, assembly
from dvis.kinds.influence.analysis.stability import circuit_stability
from dvis.kinds.influence.dead import said_of_dead
from dvis.kinds.influence.ends import TO, channels_of, nearest
from dvis.kinds.influence.read import INFLUENCE_READER, reliability
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.kinds.parts import Asked
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.words import IMAGE_CHECKPOINT
from dvis.kinds.told import LEVEL, Caveat, Code, Section, ToldFigure, ToldTable, number, p_text
from dvis.kinds.told_births import axis_of, images_beside, is_over_training, values_numbers
from dvis.plots.canvas import evenly
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, Status

_K = 8
_MOST_CHECKPOINTS = 8


def influence_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of influence."""
    for entry, dataset in asked.groups(INFLUENCE_READER):
        if not bool((dataset["status"] == Status.COMPLETE).any()):
            continue
        opened = Code().then("influence", str(asked.store), asked.run, entry.name)
        found, why_not = _assembly(asked, dataset)
        shown = list(_figures(asked, dataset, opened))
        if is_over_training(dataset):
            shown.append(_stability(dataset))
        shown += [] if found is None else [_assembly_table(found)]
        finding = why_not if found is None else _assembly_sentence(found)
        yield Section(
            title=f"Circuits · {entry.name}",
            finding=finding,
            texts=[
                "Influence is how much a channel of an earlier layer moves a channel of a later "
                "one over fixed images, in standard deviations of the later one.",
                "Some channels influence everything and some are influenced by everything; the "
                "statistics below take that away before they ask whether units are built of "
                "each other.",
            ],
            shown=shown,
            caveats=[Caveat(f"Influence {entry.name}: {text}.") for text in said_of_dead(dataset)],
        )


def _figures(asked: Asked, dataset: xr.Dataset, opened: Code) -> Iterator[ToldFigure | ToldTable]:
    layer = str(dataset[LAYER_TO].values[-1])
    source = nearest(dataset, TO, layer)
    if source is None:
        return
    pair = dataset.sel({LAYER_FROM: source, LAYER_TO: layer})
    strongest = _strongest_target(pair, dataset, layer)
    numbers = pair[["strength"]]
    last = numbers.isel({CHECKPOINT: [-1]})
    yield ToldFigure(
        title=f"Influence of {source} on {layer}",
        caption="A row is a source, a column a target, a panel a checkpoint; the darker the "
        "stronger, on one scale.",
        code=opened.then("dvis.influence_matrix", layer),
        numbers=lambda: values_numbers(last, ["strength"]),
    )
    of_unit = numbers.sel({CHANNEL_TO: strongest})
    images = images_beside(asked)
    yield ToldFigure(
        title=f"What {layer}, channel {strongest} is built of at the end",
        caption="Its strongest inputs and theirs, at the last checkpoint; wide lines are strong. "
        "It is the unit of the last layer that is moved most, picked for that.",
        code=opened.then("dvis.circuit_graph", layer, strongest, unit_images=images),
        numbers=lambda: values_numbers(of_unit.isel({CHECKPOINT: [-1]}), ["strength"]),
    )
    if is_over_training(dataset):
        yield ToldFigure(
            title=f"How the inputs of {layer}, channel {strongest} grow",
            caption="A row is an input, a column a checkpoint, each row on its own scale from 0 "
            "to its largest: when each came up. Bars at the right are strengths at the end.",
            code=opened.then("dvis.edge_heatmap", layer, strongest, x=axis_of(dataset)),
            numbers=lambda: values_numbers(of_unit, ["strength"]),
        )


def _strongest_target(pair: xr.Dataset, dataset: xr.Dataset, layer: str) -> int:
    """The channel of the layer on which all sources have most influence, at the last checkpoint."""
    channels = channels_of(dataset, TO, layer)
    at = pair["strength"].isel({CHECKPOINT: -1}).sel({CHANNEL_TO: channels}).load()
    return int(channels[int(at.astype(float).sum(CHANNEL_FROM).argmax(CHANNEL_TO))])


def _stability(dataset: xr.Dataset) -> ToldTable:
    """How much of units' strongest inputs is there already, beside what halves of images share."""
    places = evenly(dataset.sizes[CHECKPOINT], _MOST_CHECKPOINTS)
    some = dataset.isel({CHECKPOINT: places})
    n_sources = int(np.min(np.atleast_1d(some["n_channels_from"].values)))
    k = max(1, min(_K, n_sources // 2))
    steady = circuit_stability(some, k).load()
    agreed = reliability(some).load()
    others = [LAYER_FROM, LAYER_TO, CHANNEL_TO]
    rows = []
    for place, moment in enumerate(moment_names(some)):
        at = steady.isel({CHECKPOINT: place})
        halves = agreed.isel({CHECKPOINT: place}).median(others)
        rows.append(
            [
                moment,
                number(float(at["overlap_last"].median(others)), 2),
                number(float(at["rank_correlation_last"].median(others)), 2),
                number(float(halves), 2),
                number(float(at["n_effective"].median(others)), 2),
            ]
        )
    return ToldTable(
        title="How early circuits are what they are at the end",
        columns=[
            "checkpoint",
            f"top {k} inputs shared with the end",
            "rank correlation with the end",
            "rank correlation of halves of the images",
            "effective inputs",
        ],
        rows=rows,
        note="Medians over units of all pairs of layers; 0 is chance for the shared inputs and for "
        "both correlations. Halves of the images say how much a number of this kind can be at "
        "most.",
    )


def _assembly(asked: Asked, dataset: xr.Dataset) -> tuple[xr.Dataset | None, str]:
    """Whether units are born together with what influences them; or why that cannot be told."""
    if not is_over_training(dataset):
        return None, "Of one checkpoint, nothing can be said of how circuits grow."
    why = "no responses to fixed images are there, of which births are read"
    for _, responses in asked.groups(RESPONSE_READER):
        if IMAGE_CHECKPOINT in responses.dims or not is_over_training(responses):
            continue
        try:
            born = find_births(responses, measure="correlation").load()
            return assembly(dataset, born), ""
        except ValueError as err:
            why = str(err)
    return None, f"Whether units are born together with their inputs cannot be told: {why}."


def _assembly_sentence(found: xr.Dataset) -> str:
    """What is beyond chance, after as many tests; first of all whether anything is."""
    p_values = found["pooled_p_value"].values
    n_tests = int(np.isfinite(p_values).sum())
    if not n_tests:
        why = next(filter(None, map(str, found["why_no_p"].values.tolist())), "too few units")
        return f"Whether units are born together with their inputs cannot be told: {why}."
    names = [
        _beside_null(found.sel({STATISTIC: name}), str(name), p)
        for name, p in zip(found[STATISTIC].values.tolist(), p_values.tolist(), strict=True)
        if p < LEVEL / n_tests
    ]
    if not names:
        least = p_text(float(np.nanmin(p_values)))
        return (
            f"Units are not born together with what influences them beyond chance: of {n_tests} "
            f"tests over all pairs of layers the lowest has {least}, and would need "
            f"{LEVEL / n_tests:.2g}."
        )
    return (
        f"Beyond chance, also after counting the {n_tests} tests: {'; '.join(names)}, over all "
        "pairs of layers."
    )


def _beside_null(at: xr.Dataset, name: str, p_value: float) -> str:
    """A statistic with its effect: one may be beyond chance and small."""
    effect = number(float(at["pooled_effect"]), 2)
    return f"{name} ({effect}, by chance {_band(at['null_pooled_effect'])}, {p_text(p_value)})"


def _assembly_table(found: xr.Dataset) -> ToldTable:
    rows = []
    for name in found[STATISTIC].values.tolist():
        at = found.sel({STATISTIC: name})
        p_value = float(at["pooled_p_value"])
        rows.append(
            [
                str(name),
                number(float(at["pooled_effect"]), 2),
                _band(at["pooled_effect_interval"]),
                _band(at["null_pooled_effect"]),
                p_text(p_value) if np.isfinite(p_value) else "no p",
                str(at["cannot_tell"].item()),
            ]
        )
    return ToldTable(
        title="Whether features are built out of others",
        columns=["statistic", "effect", "95 % interval", "null, 95 %", "p", "cannot tell"],
        rows=rows,
        note="Pooled over all pairs of layers. "
        "The null permutes births within a layer, or exchanges edges of like hubs.",
    )


def _band(bounds: xr.DataArray) -> str:
    low, high = bounds.transpose(BOUND).values
    known = np.isfinite([low, high]).all()
    return f"{number(low, 2)} to {number(high, 2)}" if known else "–"
