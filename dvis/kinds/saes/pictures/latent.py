"""A sheet of one latent: its top images with maps, and what numbers say of it."""

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.control import controlled
from dvis.analysis.ranking import RANK
from dvis.analysis.requirements import require
from dvis.kinds.activations.pictures.cells import (
    MAP_NOTE,
    draw_sample,
    draw_unit_image,
    images_of_unit,
    value_text,
)
from dvis.kinds.activations.pictures.samples import Samples, TokenMap
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE
from dvis.kinds.saes.pictures.chosen import layer_of, measured_at
from dvis.kinds.saes.pictures.frequencies import bin_edges, draw_frequencies
from dvis.kinds.saes.pictures.made_of import samples_and_tokens
from dvis.kinds.saes.read import name_in_layer
from dvis.kinds.saes.words import why_no_images
from dvis.plots.canvas import UNIT_COLORS, headline, require_limit, saved, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name
from dvis.schema import CHECKPOINT, UNIT_NOTE, counted, did_you_mean
from dvis.store.unit_names import AUTO_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES = 16
_NEEDS = ("top_sample", "top_value", "top_map", "map_scale", "frequency", "selectivity")
_CLASSES = ("class_mean", "class_rate", "best_class")
_OF_CLASSES = {
    "selectivity": "selectivity",
    "best_share": "share of\nbest class",
    "best_auroc": "best\nAUROC",
}
_COLUMNS, _MOST_CLASSES, _NOTE_LETTERS = 8, 10, 60
_PANEL_WIDTHS = (1.1, 1.2, 1.1, 0.9)
_CELL_INCHES, _CAPTION_INCHES, _BELOW_INCHES = 1.08, 0.3, 2.2


@documented
def latent_sheet(
    dataset: xr.Dataset,
    latent: int | None = None,
    *,
    checkpoint: str | int | None = None,
    score: str | None = None,
    unit_images: xr.Dataset | None = None,
    max_images: int = MAX_IMAGES,
    path: str | Path | None = None,
) -> "Figure":
    """A latent at a checkpoint: its top images with maps, its frequency, classes and their null.

    An orange line runs at half of the latent's largest code of any sample; within it an image is as
    it is, and beyond it fades to grey where the latent does not fire. The scale is one for all
    images of the latent, so that weak ones look weak. Images in which the latent does not fire are
    left out. A store without thumbnails gives the samples' ids in place of pictures. Selectivity
    and numbers of classes are of the first score that was evaluated, which is named.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.latents` gives it.
    latent : int, optional
        The latent; needed where the Dataset has several.
    checkpoint : str or int, optional
        Its name or place; by default the last that is evaluated.
    score : str, optional
        By which score of an image's tokens they are sorted; by default the first that is there.
    unit_images : Dataset, optional
        As `dvis.open` gives it, of latents (the variant `latents-NAME`): their optimised images,
        with the latent as `channel`.
    max_images : int
        How many images to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such latent, checkpoint or score, or there are several latents and none is
        named.
    SchemaError
        When it is no Dataset of what was found of latents.
    """
    require(
        dataset,
        *_NEEDS,
        *_CLASSES,
        labels=(CHECKPOINT, LATENT, SCORE),
        advice="Open one with dvis.latents, of autoencoders that `dvis sae evaluate` evaluated",
    )
    require_limit("max_images", max_images)
    at = measured_at(dataset, checkpoint)
    one = _one_latent(_scored(at, score), latent)
    numbers = one.drop_vars(["top_map"]).load()
    n_shown = min(max_images, int((numbers["top_value"] > 0).sum()))
    top = one[["top_sample", "top_value", "top_map"]].isel({RANK: slice(n_shown)}).load()
    samples, tokens = samples_and_tokens(dataset, top["top_sample"].values.tolist())
    number, label = int(one[LATENT].item()), str(one[CHECKPOINT].item())
    optimised = images_of_unit(unit_images, layer_of(dataset), number, unit=LATENT)
    frequency, class_score = float(numbers["frequency"]), _class_score(dataset)
    has_classes = frequency > 0 and bool(numbers["class_mean"].notnull().any())
    figure, cells, panels = _parts(n_shown, 1 + 2 * has_classes + (optimised is not None))
    _draw_images(cells, top, samples, tokens)
    _draw_place(panels[0], at["frequency"].values, frequency)
    if has_classes:
        _draw_classes(panels[1], numbers, class_score)
        _draw_nulls(panels[2], numbers, class_score)
    if optimised is not None:
        draw_unit_image(panels[-1], optimised, label)
        panels[-1].set_title("optimised image", fontsize=8, loc="left")
    notes = _notes(dataset, numbers, samples, tokens, n_shown)
    headline(figure, _title(dataset, numbers, label, class_score), *notes)
    return saved(figure, path)


def _scored(dataset: xr.Dataset, score: str | None) -> xr.Dataset:
    """The Dataset of one score."""
    there = [str(each) for each in np.atleast_1d(dataset[SCORE].values)]
    chosen = there[0] if score is None else score
    if chosen not in there:
        raise ValueError(did_you_mean("score", chosen, there, "this evaluation"))
    return dataset.sel({SCORE: chosen}) if SCORE in dataset.dims else dataset


def _class_score(dataset: xr.Dataset) -> str:
    """The score that what is known of classes is of: the first that was evaluated."""
    there = np.atleast_1d(dataset.attrs.get("scores", dataset[SCORE].values))
    return str(there[0])


def _one_latent(dataset: xr.Dataset, latent: int | None) -> xr.Dataset:
    """The Dataset of one latent, which is named where there are several."""
    there = np.atleast_1d(dataset[LATENT].values)
    of_name = f"{layer_of(dataset)}, {name_in_layer(dataset)}"
    said = f"The latents of {of_name}: {there.min()} to {there.max()}"
    if latent is None and len(there) > 1:
        raise ValueError(f"Which latent? {said}")
    latent = int(there[0]) if latent is None else latent
    if latent not in there:
        raise ValueError(f"No latent {latent}. {said}")
    return dataset.sel({LATENT: latent}) if LATENT in dataset.dims else dataset


def _parts(n_images: int, n_panels: int) -> "tuple[Figure, list[Axes], list[Axes]]":
    """A figure with cells for images above, and panels below; without images panels alone."""
    import matplotlib.pyplot as plt

    widths = [*_PANEL_WIDTHS] if n_panels > 2 else [_PANEL_WIDTHS[0], _PANEL_WIDTHS[-1]]
    widths = widths[:n_panels]
    if n_images and n_panels < 3:  # what is left beside them stays empty
        widths.append(sum(_PANEL_WIDTHS) - sum(widths))
    width = 9.4 if n_images or n_panels > 2 else 6.4
    rows = -(-n_images // _COLUMNS)
    above = rows * (_CELL_INCHES + _CAPTION_INCHES)
    figure = plt.figure(figsize=(width, above + _BELOW_INCHES + 0.9), layout="constrained")
    lower: Any = figure
    cells: list[Axes] = []
    if n_images:
        parts: Any = figure.subfigures(2, 1, height_ratios=(above, _BELOW_INCHES))
        upper, lower = parts
        cells = list(upper.subplots(rows, _COLUMNS, squeeze=False).flat)
    panels = list(lower.subplots(1, len(widths), width_ratios=widths, squeeze=False).flat)
    for panel in panels[n_panels:]:
        panel.set_axis_off()
    return figure, cells, panels[:n_panels]


def _draw_images(
    cells: "list[Axes]", top: xr.Dataset, samples: Samples, tokens: TokenMap | None
) -> None:
    for place, cell in enumerate(cells):
        if place >= top.sizes[RANK]:
            cell.set_axis_off()
            continue
        at = top.isel({RANK: place})
        value, levels = value_text(float(at["top_value"])), at["top_map"].values
        draw_sample(cell, str(at["top_sample"].item()), samples, levels, tokens, value)


def _draw_place(axes: "Axes", frequencies: np.ndarray, frequency: float) -> None:
    """Where the latent stands among all by how often it fires."""
    draw_frequencies(axes, frequencies, bin_edges(frequencies))
    if frequency > 0:
        axes.axvline(np.log10(frequency), color="black", lw=1.2)
    this_one = "line: this one" if frequency > 0 else "this one is dead"
    axes.set_title(f"latents by share of rows; {this_one}", loc="left", fontsize=8)


def _draw_classes(axes: "Axes", numbers: xr.Dataset, score: str) -> None:
    """Bars of its mean score by class, with the share of each class in which it fires."""
    mean, rate = numbers["class_mean"].values, numbers["class_rate"].values
    names = [str(name) for name in numbers[CLASS].values]
    order = np.argsort(-np.nan_to_num(mean, nan=-np.inf), kind="stable")[:_MOST_CLASSES]
    best = int(numbers["best_class"])
    colors = [UNIT_COLORS[1] if place == best else "0.6" for place in order]
    axes.barh(range(len(order)), np.nan_to_num(mean[order]), color=colors, height=0.75)
    axes.set_yticks(
        range(len(order)), [plain(shorten(names[place], 18)) for place in order], fontsize=6.5
    )
    axes.set_ylim(len(order) - 0.4, -0.6)
    for row, place in enumerate(order):
        axes.annotate(
            f"{rate[place]:.0%}" if np.isfinite(rate[place]) else "no images",
            (np.nan_to_num(mean[place]), row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
            color="0.35",
        )
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.tick_params(axis="x", labelsize=7)
    left_out = f"\n{len(order)} of {len(names)} classes" if len(order) < len(names) else ""
    title = f"mean score ({score}); share that fires it{left_out}"
    axes.set_title(title, loc="left", fontsize=8)
    without_box(axes)


def _draw_nulls(axes: "Axes", numbers: xr.Dataset, score: str) -> None:
    """What is said of classes, over the band that shuffled labels give."""
    there = [name for name in _OF_CLASSES if f"null_{name}" in numbers]
    found = [controlled(numbers, name) for name in there]
    if not any(np.isfinite(each.value) for each in found):
        axes.set_axis_off()
        return
    for place, each in enumerate(found):
        # Two ends, so that the band has a width.
        ends = np.array([place - 0.28, place + 0.28])
        low, high = (np.full(2, float(bound)) for bound in (each.low, each.high))
        draw_null(axes, ends, low, high)
        value = float(each.value)
        axes.plot(place, value, "o", color=UNIT_COLORS[1], ms=6, zorder=3)
        axes.annotate(
            f"{value:.2f}",
            (place, value),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    axes.set_xticks(range(len(there)), [_OF_CLASSES[name] for name in there], fontsize=7)
    axes.set_xlim(-0.6, len(there) - 0.3)
    axes.set_ylim(0, 1.04)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_title(f"classes ({score}); grey: labels shuffled", loc="left", fontsize=8)
    without_box(axes)


def _title(dataset: xr.Dataset, numbers: xr.Dataset, label: str, class_score: str) -> str:
    name = f"{layer_of(dataset)}, latent {numbers[LATENT].item()} of {name_in_layer(dataset)}"
    note = str(numbers.coords[UNIT_NOTE].item()) if UNIT_NOTE in numbers.coords else ""
    title = f"{name}, {moment_name(dataset, label)}"
    if not note and AUTO_NAME in numbers.coords and (called := str(numbers[AUTO_NAME].item())):
        title += f": {shorten(called, _NOTE_LETTERS, placeholder=' ...')} (named by a program)"
    if note:
        title += f": {shorten(note, _NOTE_LETTERS, placeholder=' ...')}"
    return f"{title}\n{_in_words(numbers, class_score)}"


def _in_words(numbers: xr.Dataset, class_score: str) -> str:
    """How often it fires, and its selectivity with that of shuffled labels."""
    frequency, score = float(numbers["frequency"]), str(numbers[SCORE].item())
    is_empty = not (numbers["top_value"] > 0).any()
    why = why_no_images(frequency, score) if is_empty else ""
    if not frequency:
        return f"dead: {why}" if why else "dead"
    words = f"fires in {100 * frequency:.2g} % of rows"
    words += f"; {why}" if why else ""
    selectivity = float(numbers["selectivity"])
    if np.isnan(selectivity):
        return words
    whose = "" if score == class_score else f" of the {class_score} score"
    between = "\n" if why else "; "
    words += f"{between}selectivity{whose} {selectivity:.2f}"
    if "null_selectivity" not in numbers:
        return words
    null = controlled(numbers, "selectivity")
    return f"{words}, with labels shuffled {float(null.low):.2f} to {float(null.high):.2f}"


def _notes(
    dataset: xr.Dataset,
    numbers: xr.Dataset,
    samples: Samples,
    tokens: TokenMap | None,
    n_shown: int,
) -> list[str]:
    """Where it is from, and how to read it."""
    has_maps = bool(samples.thumbnails) and tokens is not None and (tokens.row >= 0).any()
    scale = value_text(float(numbers["map_scale"]))
    split = dataset.attrs.get("split")
    n_fired = int((numbers["top_value"] > 0).sum())
    is_fewer = 0 < n_fired < numbers.sizes[RANK]
    notes = [
        origin_of(dataset),
        f"on the split {split}" if split else "",
        f"above each image its class and {numbers[SCORE].item()} score" if n_shown else "",
        MAP_NOTE.format(scale=f"the latent's largest code, {scale}") if has_maps else "",
        f"it fires in {counted(n_fired, 'image')} alone" if is_fewer else "",
        samples.note if n_shown else "",
    ]
    return notes
