"""Rules of a tree of latents, with the images of the latents that they ask for, and accuracies."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.control import controlled
from dvis.analysis.ranking import RANK
from dvis.analysis.requirements import require
from dvis.kinds.activations.pictures.cells import MAP_NOTE, draw_sample, value_text
from dvis.kinds.activations.pictures.samples import Samples, TokenMap
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE
from dvis.kinds.saes.explain import CLASSIFIER, INPUT, RULE, share_interval
from dvis.kinds.saes.pictures.chosen import measured_at
from dvis.kinds.saes.pictures.made_of import samples_and_tokens
from dvis.plots.canvas import UNIT_COLORS, headline, require_limit, saved, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain, short_name
from dvis.schema import CHECKPOINT, LAYER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_RULES = 6
_N_IMAGES, _MOST_LATENTS = 4, 3  # of a latent, and of a rule
_CELL_INCHES, _TEXT_INCHES, _ABOVE_INCHES = 0.74, 2.9, 1.9
_MOST_NAMED = 3  # latents in a caption
_LETTERS = 42  # of a rule in a line
_LINES = 8


@documented
def latent_rules(
    dataset: xr.Dataset,
    explained: xr.Dataset,
    *,
    max_rules: int = MAX_RULES,
    path: str | Path | None = None,
) -> "Figure":
    """How well simple classifiers tell classes, and the tree's rules beside latents' top images.

    Above, accuracies on samples held out with two standard errors, over grey where they lie with
    classes shuffled. Below, the rules of most training samples, for each class one before any has
    a second; beside each the top images of the latents that it asks to be large, each latent's maps
    on its own scale. What it asks to be low has no top images of its own: there are samples that
    the rule is of, those held out first, captioned with the numbers of those latents.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.latents` gave of the same autoencoders.
    explained : Dataset
        What `dvis.explain_latents` gave.
    max_rules : int
        How many rules to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    SchemaError
        When these are not what they gave.
    ValueError
        When they are of other checkpoints, or a limit is below 1.
    """
    require(
        explained,
        *("accuracy", "null_accuracy", "rule_class", "rule_low", "rule_example", "weight"),
        labels=(RULE, LATENT, CLASS),
        advice="Give what dvis.explain_latents gave",
    )
    require(
        dataset,
        *("top_sample", "top_value", "top_map"),
        labels=(CHECKPOINT, LATENT, SCORE),
        advice="Open one with dvis.latents, of autoencoders that `dvis sae evaluate` evaluated",
    )
    require_limit("max_rules", max_rules)
    label = str(explained.attrs[CHECKPOINT])
    at = measured_at(dataset, label).isel({SCORE: 0, RANK: slice(_N_IMAGES)})
    rules = _chosen(explained, max_rules)
    asked = [_asked(explained, rule) for rule in rules]
    numbers = list(dict.fromkeys(latent for latents in asked for latent in latents))
    top = at[["top_sample", "top_value", "top_map"]].sel({LATENT: numbers}).load()
    examples = explained["rule_example"].values[rules].ravel().tolist()
    ids = [*top["top_sample"].values.ravel().tolist(), *filter(None, examples)]
    samples, tokens = samples_and_tokens(dataset, ids)
    figure, above, grid = _parts(len(rules))
    _draw_accuracies(above, explained)
    for row, (rule, latents) in enumerate(zip(rules, asked, strict=True)):
        _draw_rule(grid[row][0], explained.isel({RULE: rule}))
        _draw_images(grid[row][1:], top, latents, samples, tokens)
        _draw_examples(
            grid[row][1 + len(latents) * _N_IMAGES :], explained.isel({RULE: rule}), samples
        )
    attrs = explained.attrs
    n_rules = explained.sizes[RULE]
    has_maps = bool(samples.thumbnails) and tokens is not None
    notes = (
        origin_of(explained),
        f"{len(rules)} of {n_rules} rules" if len(rules) < n_rules else "",
        f"{attrs['n_train']} samples for learning, {attrs['n_held_out']} held out",
        f"model: of {attrs['model_accuracy_of']}",
        "low: samples that the rule is of, whose scores of these latents it asks to be low",
        MAP_NOTE.format(scale="the latent's largest code") if has_maps else "",
        samples.note,
    )
    depth = int(explained["setting"].values[0, 0])
    title = f"{attrs[LAYER]}, {attrs['name']}, {short_name(label)}: a tree of depth {depth}"
    headline(figure, title, *notes)
    return saved(figure, path)


def _chosen(explained: xr.Dataset, max_rules: int) -> list[int]:
    """Places of rules: the first of each class, then the others, as they are sorted."""
    classes = explained["rule_class"].values.tolist()
    firsts = [classes.index(each) for each in dict.fromkeys(classes)]
    others = [place for place in range(len(classes)) if place not in firsts]
    return [*firsts, *others][:max_rules]


def _asked(explained: xr.Dataset, rule: int) -> list[int]:
    """Numbers of the latents that a rule asks to be large and nothing else.

    The top images of one that is not to be large are those that the rule is not of.
    """
    of_rule = explained.isel({RULE: rule})
    is_large = np.isfinite(of_rule["rule_low"].values) & np.isposinf(of_rule["rule_high"].values)
    most = _MOST_LATENTS - bool(len(_low(of_rule)))
    return [int(each) for each in explained[LATENT].values[is_large][:most]]


def _low(rule: xr.Dataset) -> list[int]:
    """Numbers of the latents that a rule asks to be at most something."""
    return [int(each) for each in rule[LATENT].values[np.isfinite(rule["rule_high"].values)]]


def _parts(n_rules: int) -> "tuple[Figure, Axes, list[list[Axes]]]":
    import matplotlib.pyplot as plt

    n_cells = _MOST_LATENTS * _N_IMAGES
    below = n_rules * (_CELL_INCHES + 0.42)
    width = _TEXT_INCHES + n_cells * _CELL_INCHES
    figure = plt.figure(figsize=(width, _ABOVE_INCHES + below + 0.9), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(_ABOVE_INCHES, below))
    upper, lower = parts
    above = upper.subplots()
    widths = [_TEXT_INCHES, *[_CELL_INCHES] * n_cells]
    grid = lower.subplots(n_rules, len(widths), width_ratios=widths, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, above, [list(row) for row in grid]


def _draw_accuracies(axes: "Axes", explained: xr.Dataset) -> None:
    """Each classifier of each input, over what it says of shuffled classes."""
    found = controlled(explained, "accuracy") if explained["null_accuracy"].size else None
    names = []
    for place, (classifier, of) in enumerate(
        (c, i) for i in explained[INPUT].values for c in explained[CLASSIFIER].values
    ):
        at = explained.sel({CLASSIFIER: classifier, INPUT: of})
        n_used = int(at["n_used"])
        names.append(f"{'tree' if classifier == 'tree' else 'sparse linear'}, {n_used} {of}")
        if found is not None:
            low, high = (
                np.full(2, float(each.sel({CLASSIFIER: classifier, INPUT: of})))
                for each in (found.low, found.high)
            )
            draw_null(axes, np.array([place - 0.3, place + 0.3]), low, high)
        value, error = float(at["accuracy"]), float(at["accuracy_se"])
        axes.errorbar(place, value, 2 * error, fmt="o", color=UNIT_COLORS[0], ms=5, lw=1.4)
        axes.annotate(
            f"{value:.3f}",
            (place, value),
            xytext=(7, -10),
            textcoords="offset points",
            fontsize=7.5,
        )
    lines = {"model_accuracy": ("the model", "black", "-"), "majority": ("one class", "0.5", ":")}
    for name, (label, color, style) in lines.items():
        value = float(explained[name])
        if np.isfinite(value):
            axes.axhline(value, color=color, ls=style, lw=1)
            axes.annotate(
                f"{label} {value:.3f}",
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(4, -3),
                textcoords="offset points",
                fontsize=7.5,
                color=color,
                annotation_clip=False,
            )
    axes.set_xticks(range(len(names)), names, fontsize=7.5)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("accuracy, held out", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    without_box(axes)


def _draw_rule(axes: "Axes", rule: xr.Dataset) -> None:
    """The rule in words, and how often it is right."""
    words = str(rule[RULE].item()).replace(" AND ", "\nAND ").replace(" THEN ", "\nTHEN ")
    lines = [part for line in words.split("\n") for part in textwrap.wrap(line, _LETTERS)]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 2], f"... and {len(lines) - _LINES + 1} more", lines[-1]]
    right, n_held = int(rule["rule_right"]), int(rule["rule_n"])
    low, high = share_interval(right, n_held)
    said = f"held out: {right} of {n_held} right"
    said += f" ({low:.0%} to {high:.0%})" if n_held else ""
    axes.text(0, 1, plain("\n".join(lines)), fontsize=6.8, va="top", transform=axes.transAxes)
    axes.text(0, 1.04, said, fontsize=6.5, color="0.4", va="bottom", transform=axes.transAxes)


def _draw_images(
    cells: "list[Axes]",
    top: xr.Dataset,
    latents: list[int],
    samples: Samples,
    tokens: TokenMap | None,
) -> None:
    for place, latent in enumerate(latents):
        for rank in range(min(_N_IMAGES, top.sizes[RANK])):
            at = top.sel({LATENT: latent}).isel({RANK: rank})
            if not float(at["top_value"]) > 0:
                continue
            cell = cells[place * _N_IMAGES + rank]
            cell.set_axis_on()
            caption = f"latent {latent}" if rank == 0 else value_text(float(at["top_value"]))
            draw_sample(
                cell, str(at["top_sample"].item()), samples, at["top_map"].values, tokens, caption
            )


def _draw_examples(cells: "list[Axes]", rule: xr.Dataset, samples: Samples) -> None:
    """Samples that a rule is of, for the latents that it asks to be low; none without such."""
    numbers = _low(rule)
    if not numbers:
        return
    more = f" +{len(numbers) - _MOST_NAMED}" if len(numbers) > _MOST_NAMED else ""
    said = f"low: {', '.join(map(str, numbers[:_MOST_NAMED]))}{more}"
    for place, (cell, each) in enumerate(zip(cells, rule["rule_example"].values, strict=False)):
        if each:
            cell.set_axis_on()
            draw_sample(cell, str(each), samples, None, None, said if place == 0 else "")
