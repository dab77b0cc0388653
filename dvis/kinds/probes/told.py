"""What a report tells of linear probes: what layers tell, since when, beside their nulls."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.analysis.resampling import BOUND
from dvis.kinds.parts import Asked
from dvis.kinds.probes.analysis import COMMENT, tells_from
from dvis.kinds.probes.pictures import exchanged_of, held_out, untrained_of
from dvis.kinds.probes.read import PROBE_READER
from dvis.kinds.probes.words import CALLED, SCORE, TARGET
from dvis.kinds.told import Caveat, Code, Section, ToldFigure, ToldTable, long_list, number
from dvis.kinds.told_births import axis_of, values_numbers
from dvis.plots.selection import labels_of
from dvis.schema import CHECKPOINT, LAYER

_NUMBERS = (SCORE, "score_se", "null_score")


def probe_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of probes."""
    for entry, dataset in asked.groups(PROBE_READER):
        shown = held_out(dataset, None, None)
        if not bool(shown[SCORE].notnull().any()):
            continue
        opened = Code().then("probes", str(asked.store), asked.run, entry.name)
        targets = labels_of(shown, TARGET)
        yield Section(
            title=f"What linear probes read off layers · {entry.name}",
            finding=" ".join(_finding(shown.sel({TARGET: target}), target) for target in targets),
            texts=[
                "A linear probe is fitted to a layer's activations of some images and scored on "
                "others that were held out. It is held against targets shuffled "
                f"({exchanged_of(dataset)}), against the pixels themselves, and, where one was "
                "measured, against the untrained network.",
                f"{COMMENT}.",
            ],
            shown=list(_shown(dataset, shown, targets, opened)),
            caveats=list(_caveats(shown, targets)),
        )


def _shown(
    dataset: xr.Dataset, shown: xr.Dataset, targets: list[str], opened: Code
) -> Iterator[ToldFigure | ToldTable]:
    if shown.sizes[CHECKPOINT] > 1:
        yield ToldFigure(
            title="Scores of probes over training",
            caption="A small picture for each target, a line for each layer with its standard "
            "error over the images held out. Grey is where 95 % of scores lie when the targets "
            "are shuffled.",
            code=opened.then("dvis.accuracy_over_training", x=axis_of(dataset)),
            numbers=lambda: values_numbers(shown, _NUMBERS),
        )
    yield ToldFigure(
        title="Scores of probes by layer",
        caption="Layers from the first to the last, at the checkpoints that the legend names.",
        code=opened.then("dvis.accuracy_by_layer"),
        numbers=lambda: values_numbers(shown.isel({CHECKPOINT: [-1]}), _NUMBERS),
    )
    dates = tells_from(dataset).load() if shown.sizes[CHECKPOINT] > 1 else None
    for target in targets:
        yield _table(shown.sel({TARGET: target}), target, dates)


def _table(of_target: xr.Dataset, target: str, dates: xr.Dataset | None) -> ToldTable:
    last = of_target.isel({CHECKPOINT: -1})
    untrained = untrained_of(of_target)
    rows = []
    for layer in labels_of(of_target, LAYER):
        at = last.sel({LAYER: layer})
        low, high = at["null_score"].transpose(BOUND).values
        row = [
            layer,
            f"{number(float(at[SCORE]))} ± {number(float(at['score_se']), 2)}",
            f"{number(low)} to {number(high)}",
            number(float(untrained.sel({LAYER: layer}))),
        ]
        rows.append([*row, _when(dates, layer, target)] if dates is not None else row)
    metric = str(of_target["metric"].item())
    columns = ["layer", f"{CALLED.get(metric, metric)}, last checkpoint", "shuffled", "untrained"]
    return ToldTable(
        title=f"What layers tell of {target}",
        columns=[*columns, "above shuffled for good from step"] if dates is not None else columns,
        rows=rows,
        note=f"Of pixels {number(float(np.ravel(of_target['pixel_score'].values)[0]))}, of always "
        f"the commonest {number(float(np.ravel(of_target['majority_score'].values)[0]))}.",
    )


def _when(dates: xr.Dataset, layer: str, target: str) -> str:
    at = dates.sel({LAYER: layer, TARGET: target})
    state = str(at["state"].item())
    if state != "tells":
        return state
    bounds = [float(at[f"{name}_step"]) for name in ("earliest", "latest")]
    text = number(float(at["from_step"]))
    return f"{text} ({' to '.join(map(number, bounds))})" if np.isfinite(bounds).all() else text


def is_above(of_target: xr.Dataset) -> xr.DataArray:
    """Whether scores less two standard errors are above those of shuffled targets, at the end."""
    last = of_target.isel({CHECKPOINT: -1})
    high = last["null_score"].isel({BOUND: -1}, drop=True)
    return (last[SCORE] - 2 * last["score_se"]) > high


def _finding(of_target: xr.Dataset, target: str) -> str:
    """How many layers tell a target beyond chance, and the best beside what it is held against."""
    last, above = of_target.isel({CHECKPOINT: -1}), is_above(of_target)
    known = last[SCORE].notnull()
    n_all, n_above = int(known.sum()), int(above.sum())
    if not n_all:
        return f"{target}: nothing is known at the last checkpoint."
    if not n_above:
        return f"{target}: no layer tells it beyond chance at the last checkpoint."
    best = int(last[SCORE].fillna(-np.inf).argmax(LAYER))
    at = last.isel({LAYER: best})
    low, high = at["null_score"].transpose(BOUND).values
    text = (
        f"{target}: {n_above} of {n_all} layers tell it beyond shuffled targets at the last "
        f"checkpoint, best {at[LAYER].item()} with {number(float(at[SCORE]))} ± "
        f"{number(float(at['score_se']), 2)} (shuffled {number(low)} to {number(high)}"
    )
    untrained = untrained_of(of_target).values
    text += f", pixels {number(float(np.ravel(of_target['pixel_score'].values)[0]))}"
    if np.isfinite(untrained).any():
        text += f", untrained at most {number(float(np.nanmax(untrained)))}"
    return f"{text})."


def _caveats(shown: xr.Dataset, targets: list[str]) -> Iterator[Caveat]:
    if not bool(shown["untrained_score"].notnull().any()):
        yield Caveat(
            "Probes: no untrained network was measured, so what of a score training adds is not "
            "known but by the first checkpoint."
        )
    if not bool(shown["null_score"].notnull().any()):
        yield Caveat("Probes: no shuffled targets were scored; chance is not known.", "wrong")
    for target in targets:
        of_target = shown.sel({TARGET: target})
        yield from _odd_null(of_target, target)
        yield from _not_learnt(of_target, target)


def _not_learnt(of_target: xr.Dataset, target: str) -> Iterator[Caveat]:
    """Layers that tell a target, but no better than untrained or than pixels do."""
    last, above = of_target.isel({CHECKPOINT: -1}), is_above(of_target)
    low = last[SCORE] - 2 * last["score_se"]
    pixels = float(np.ravel(of_target["pixel_score"].values)[0])
    for scores, what in (
        (untrained_of(of_target), "the untrained network's same layer"),
        (xr.full_like(low, pixels), "the pixels"),
    ):
        no_better = above & scores.notnull() & ~(low > scores)
        layers = [str(name) for name in of_target[LAYER].values[no_better.values]]
        if layers:
            yield Caveat(
                f"Probes of {target}: at the last checkpoint it is told beyond shuffled targets, "
                f"but no better than by {what}, in {long_list(layers)}: no sign of learning."
            )


def _odd_null(of_target: xr.Dataset, target: str) -> Iterator[Caveat]:
    """Whether probes of shuffled targets score beyond what knows nothing."""
    low = of_target["null_score"].isel({BOUND: 0}, drop=True)
    majority = float(np.ravel(of_target["majority_score"].values)[0])
    is_odd = low > majority
    layers = [str(name) for name in of_target[LAYER].values[is_odd.any(CHECKPOINT).values]]
    if layers:
        yield Caveat(
            f"Probes of {target}: shuffled targets are told better than by always naming the "
            f"commonest ({number(majority)}) in {long_list(layers)}: this control is not at chance."
        )
