"""What a report tells of feature images: births of units, and those that grow, drift and die."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.births import births as find_births
from dvis.analysis.deaths import deaths
from dvis.analysis.drift import drift
from dvis.analysis.measures import development
from dvis.analysis.ranking import rank
from dvis.analysis.telling import telling_units
from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.words import CONSTANT_MAX, KIND, SEED_NULL, SEED_SIMILARITY
from dvis.kinds.parts import Asked
from dvis.kinds.told import Code, Section, ToldFigure, ToldTable, number
from dvis.kinds.told_births import (
    axis_of,
    births_caveats,
    births_numbers,
    count_sentence,
    count_states,
    criterion_text,
    is_over_training,
    layer_table,
    order_of,
    order_sentence,
    values_numbers,
)
from dvis.plots.canvas import evenly
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, SchemaError, Status, counted

_MOST_FILMS = 6
_MOST_UNITS = 8
_MOST_DRIFTING = 256  # units whose images are read for their drift


def feature_sections(asked: Asked) -> Iterator[Section]:
    """Births, and units that stand out, of the run's default variant."""
    if not asked.contents.of(KIND, asked.run):
        return
    entry = FEATURE_READER.choose(asked.contents, asked.run, None)
    try:
        dataset = asked.group(FEATURE_READER, entry)
    except SchemaError:
        return
    if not bool((dataset["status"] == Status.COMPLETE).any()):
        return
    opened = Code().then("open", str(asked.store), asked.run, entry.name)
    if not is_over_training(dataset):
        yield _of_one_checkpoint(dataset, opened)
        return
    births = find_births(dataset).load()
    yield _births(dataset, births, opened)
    yield _outstanding(dataset, births, opened)
    if {SEED_SIMILARITY, SEED_NULL} <= set(dataset) and bool(
        dataset[SEED_SIMILARITY].notnull().any()
    ):
        yield _seeds(dataset, opened)


def _of_one_checkpoint(dataset: xr.Dataset, opened: Code) -> Section:
    """What there is to be said of the images of one checkpoint."""
    layers = (
        dataset[LAYER]
        .values[(dataset["status"] == Status.COMPLETE).any([CHECKPOINT, CHANNEL]).values]
        .tolist()
    )
    shown = [
        ToldFigure(
            title=f"Feature images of {layer}",
            caption="Each picture is the image that drives a channel most, found by gradient "
            f"ascent; the number is the channel. {_floor_text(dataset)}".strip(),
            code=opened.then("dvis.grid", layer=layer),
            numbers=partial(_unit_numbers, dataset.sel({LAYER: [layer]})),
        )
        for layer in (layers[i] for i in evenly(len(layers), _MOST_FILMS))
    ]
    return Section(
        title="Feature images",
        finding="The store holds one checkpoint, so nothing can be said of how units came about. "
        + _floor_text(dataset),
        shown=shown,
    )


def _unit_numbers(dataset: xr.Dataset) -> pd.DataFrame:
    names = ["activation", "reference_mean", "reference_sd", "reference_max", CONSTANT_MAX]
    return values_numbers(dataset.where(dataset["status"] == Status.COMPLETE), names)


def _floor_text(dataset: xr.Dataset) -> str:
    """How many images drive their units more than flat ones do, at the last checkpoint."""
    if CONSTANT_MAX not in dataset:
        return ""
    last = dataset[["activation", "status", CONSTANT_MAX]].isel({CHECKPOINT: -1}).load()
    is_there = (last["status"] == Status.COMPLETE) & last[CONSTANT_MAX].notnull()
    n_all = int(is_there.sum())
    if not n_all:
        return ""
    n_above = int((is_there & (last["activation"] > last[CONSTANT_MAX])).sum())
    return (
        f"As a floor: at the last checkpoint {n_above} of {counted(n_all, 'feature image')} drive "
        "their unit more than the best of a black, a grey and a white image."
    )


def _births(dataset: xr.Dataset, births: xr.Dataset, opened: Code) -> Section:
    x, order = axis_of(dataset), order_of(births)
    dead = deaths(dataset)
    is_dead = None if dead is None else dead["is_throughout"]
    shown: list[ToldFigure | ToldTable] = [layer_table(births, is_dead)]
    if count_states(births)[BORN]:
        shown.append(
            ToldFigure(
                title="When the units of each layer are born",
                caption="A point is a unit, a row a layer, early layers on top. The box spans the "
                "middle half of the units born, the bar is their median; at the right stands how "
                "many units have no birth, and why.",
                code=opened.then("dvis.births_by_layer", x=x),
                numbers=lambda: births_numbers(births),
            )
        )
    shown.append(
        ToldFigure(
            title="How strongly units are driven over training",
            caption="A small picture for each layer: the median over its units, over bands of "
            "quantiles or the units' own curves. The vertical axis says in what units.",
            code=opened.then("dvis.trajectories_by_layer", x=x),
            numbers=lambda: _medians(dataset),
        )
    )
    return Section(
        title="When units come about",
        finding=f"{count_sentence(births)} {order_sentence(order)}",
        texts=[criterion_text(births), *filter(None, [_floor_text(dataset)])],
        shown=shown,
        caveats=list(births_caveats(births, "feature images")),
    )


def _medians(dataset: xr.Dataset) -> pd.DataFrame:
    """Quartiles over units of each layer at each checkpoint."""
    values = development(dataset, variable=None, measure=None).load()
    several = values.quantile([0.25, 0.5, 0.75], CHANNEL).to_dataset(name="value")
    return values_numbers(several.assign_coords(step=dataset["step"]), ["value"])


def _outstanding(dataset: xr.Dataset, births: xr.Dataset, opened: Code) -> Section:
    """Units that grow, drift and die, with their films."""
    shown: list[ToldFigure | ToldTable] = [_ranked(dataset, "growth", "Units that grow most")]
    x, telling = axis_of(dataset), telling_units(dataset, births)
    layers = list(telling)
    for layer in [layers[i] for i in evenly(len(layers), _MOST_FILMS)] if layers else []:
        shown.append(_film(dataset, opened, layer, telling[layer], x))
    moved, n_read = _drifting(dataset)
    if moved is not None:
        shown.append(moved[0])
        layer, channel = moved[1]
        shown.append(_timeline(dataset, opened, layer, channel, "The unit whose image moves most"))
    finding, died = _died(dataset)
    if died is not None:
        shown.append(_timeline(dataset, opened, *died, "A unit that died"))
    texts = [
        "These units were picked for standing out, so they say nothing of the others; the layers' "
        "medians stand above. They are descriptions: no test says that a unit is more than the "
        "most extreme of many.",
    ]
    if n_read:
        texts.append(n_read)
    return Section(
        title="Units that grow, drift and die", finding=finding, texts=texts, shown=shown
    )


def _ranked(dataset: xr.Dataset, by: str, title: str) -> ToldTable:
    top = rank(dataset, by=by, n=_MOST_UNITS)
    rows = [
        [str(layer), str(channel), number(score)]
        for layer, channel, score in zip(
            top[LAYER].values, top[CHANNEL].values, top["score"].values, strict=True
        )
    ]
    measure = str(top.attrs.get("measure", ""))
    note = f"{top['score'].attrs.get('long_name', by)}; measured as {measure}."
    return ToldTable(title=title, columns=["layer", "channel", by], rows=rows, note=note)


def _film(dataset: xr.Dataset, opened: Code, layer: str, channel: int, x: str) -> ToldFigure:
    return ToldFigure(
        title=f"{layer}, channel {channel}",
        caption="Of the units of its layer that were born, the one whose level rose most, or "
        "fell least. Above, its level over training; below, the image itself at some checkpoints.",
        code=opened.then("dvis.development", layer=layer, channel=channel, x=x),
        numbers=lambda: _unit_numbers(dataset.sel({LAYER: [layer], CHANNEL: [channel]})),
    )


def _timeline(
    dataset: xr.Dataset, opened: Code, layer: str, channel: int, title: str
) -> ToldFigure:
    return ToldFigure(
        title=f"{title}: {layer}, channel {channel}",
        caption="Its feature image at each checkpoint, with the activation that it reaches. "
        "Hatched frames have no image.",
        code=opened.then("dvis.timeline", layer=layer, channel=channel, max_images=16),
        numbers=lambda: _unit_numbers(dataset.sel({LAYER: [layer], CHANNEL: [channel]})),
    )


def _drifting(dataset: xr.Dataset) -> tuple[tuple[ToldTable, tuple[str, int]] | None, str]:
    """Units whose images move most, of so many as can be read in reasonable time."""
    n_layers = dataset.sizes[LAYER]
    is_there = (dataset["status"] == Status.COMPLETE).any([CHECKPOINT, LAYER]).values
    there = np.flatnonzero(is_there)  # of 512 channels of a store, often a few
    chosen = evenly(len(there), max(1, _MOST_DRIFTING // n_layers))
    some = dataset.isel({CHANNEL: there[chosen]})
    found = drift(some).load()
    score = found["to_previous"].mean(CHECKPOINT)
    if not bool(score.notnull().any()):
        return None, ""
    top = rank(some, by=score, n=_MOST_UNITS)
    between = _between_units(some)
    units = zip(top[LAYER].values.tolist(), top[CHANNEL].values.tolist(), strict=True)
    names = [(str(layer), int(channel)) for layer, channel in units]
    rows = [
        [layer, str(channel), number(float(top["score"][i])), number(between.get(layer, np.nan))]
        for i, (layer, channel) in enumerate(names)
    ]
    table = ToldTable(
        title="Units whose images move most",
        columns=["layer", "channel", "mean distance to the image before", "between units"],
        rows=rows,
        note="One minus the correlation of two images' levels: 0 is the same image, 1 nothing in "
        "common. Beside it, as what holds no likeness, the median of the images of different units "
        "of the layer at the last checkpoint. Where both are alike, images at neighbouring "
        "checkpoints have no more in common than those of different units.",
    )
    part = ""
    if some.sizes[CHANNEL] < len(there):
        part = f"Drift was looked at in {some.sizes[CHANNEL]} evenly chosen channels of each layer."
    return (table, names[0]), part


def _between_units(dataset: xr.Dataset) -> dict[str, float]:
    """Median distance of the images of neighbouring units of each layer, at the last checkpoint."""
    found = {}
    last = dataset[["image", "status"]].isel({CHECKPOINT: -1})
    for layer in dataset[LAYER].values.tolist():
        of_layer = last.sel({LAYER: layer})
        is_there = (of_layer["status"] == Status.COMPLETE).values
        images = of_layer["image"].isel({CHANNEL: np.flatnonzero(is_there)}).values
        flat = images.reshape(len(images), -1).astype(float)
        flat -= flat.mean(1, keepdims=True)
        size = np.sqrt((flat**2).sum(1))
        products = (flat[1:] * flat[:-1]).sum(1)
        sizes = size[1:] * size[:-1]
        if (sizes > 0).any():
            found[str(layer)] = float(np.median(1 - products[sizes > 0] / sizes[sizes > 0]))
    return found


def _died(dataset: xr.Dataset) -> tuple[str, tuple[str, int] | None]:
    """A sentence on dead units, and one that lived before it died."""
    found = deaths(dataset)
    if found is None:
        return "", None
    found = found.load()
    n_all = int((found["n_known"] > 0).sum())
    is_died = (found["n_dead"] > 0) & ~found["is_throughout"] & ~found["is_alive_at_last"]
    n_throughout, n_died = int(found["is_throughout"].sum()), int(is_died.sum())
    if not n_throughout and not n_died:
        return f"None of {counted(n_all, 'unit')} is dead at the end.", None
    text = (
        f"Of {counted(n_all, 'unit')}, {n_throughout} are dead at all checkpoints and {n_died} "
        "died: from no start did a gradient reach their image, which tells of these starts alone."
    )
    if not n_died:
        return text, None
    place = np.unravel_index(int(is_died.transpose(LAYER, CHANNEL).values.argmax()), is_died.shape)
    return text, (str(dataset[LAYER].values[place[0]]), int(dataset[CHANNEL].values[place[1]]))


def _seeds(dataset: xr.Dataset, opened: Code) -> Section:
    names = [SEED_SIMILARITY, SEED_NULL]
    return Section(
        title="Whether two seeds show the same",
        texts=[
            "A feature image is one local maximum of many. Where two seeds of a unit are no more "
            "alike than images of different units of its layer are (the grey band), the image "
            "shows the seed and the layer, not the unit."
        ],
        shown=[
            ToldFigure(
                title="Likeness of two seeds, by layer",
                caption="The line is the median over units, the colour their middle half. Grey is "
                "where 90 % of pairs of different units of the layer lie.",
                code=opened.then("dvis.seeds", x=axis_of(dataset)),
                numbers=lambda: values_numbers(dataset, names),
            )
        ],
    )
