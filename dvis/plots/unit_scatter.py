"""Maps of units over checkpoints: places on axes that stay, and cosines below them.

What `dvis.channel_map` or `dvis.latent_map` gave in, a matplotlib figure out.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.unit_maps import COMPONENT
from dvis.plots.canvas import UNKNOWN_COLOR, evenly, headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import labels_of, origin_of
from dvis.plots.ticks import cut, plain
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, LAYER, UNMATCHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHECKPOINTS = "checkpoints"  # attribute of colours that are places: what these are called
_MOST_COLORS = 10  # categories with a colour of their own: the most frequent
_OTHERS = "others"
_MOST_NAMED = 8  # checkpoints beside a scale
_PANEL = 2.15  # inches
_GREY = "0.8"


@documented
def unit_scatter(
    dataset: xr.Dataset,
    *,
    cosines: xr.Dataset | None = None,
    color: xr.DataArray | None = None,
    max_checkpoints: int = 5,
    path: str | Path | None = None,
) -> "Figure":
    """Units on their two first components, a panel a checkpoint, and their cosines below.

    All panels have one scale, and their axes are those of the checkpoint before, turned as little
    as can be, so that a unit that has not changed has not moved; a grey line leads to each from
    where it was in the panel before. Rows of cosines are sorted alike in all panels: by colour,
    then by angle on the last map.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.channel_map` or `dvis.latent_map` gave.
    cosines : Dataset, optional
        What `dvis.channel_cosines` or `dvis.latent_cosines` gave of the same.
    color : DataArray, (unit,), optional
        Text that names what a unit is, "" for nothing; or numbers, NaN for none. Numbers with an
        attribute `checkpoints` are places among these, whose names stand beside the scale.
    max_checkpoints : int
        How many checkpoints to show at most, evenly chosen.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    SchemaError
        When it is not what they gave.
    ValueError
        When it has one component alone, or colours are of no unit.
    """
    require(
        dataset,
        *("position", "explained", "null_explained", "overlap"),
        labels=(CHECKPOINT, COMPONENT),
        advice="Give what dvis.channel_map or dvis.latent_map gave",
    )
    if dataset.sizes[COMPONENT] < 2:
        raise ValueError("a map has two axes: give n_components of 2 or more")
    (unit,) = (dim for dim in dataset["position"].dims if dim not in (CHECKPOINT, COMPONENT))
    rows = evenly(dataset.sizes[CHECKPOINT], max_checkpoints, "max_checkpoints")
    shown = dataset.isel({CHECKPOINT: rows}).transpose(CHECKPOINT, unit, ...)
    places = shown["position"].values[..., :2]
    colors, keys, handles, what = _colors(color, shown, str(unit))
    n_rows = 1 if cosines is None else 2
    figure, grid = subplots(
        nrows=n_rows,
        ncols=len(rows),
        figsize=(max(_PANEL * len(rows) + 1.3, 5.5), _PANEL * n_rows + 1.5),
        squeeze=False,
        layout="constrained",
    )
    _draw_maps(list(grid[0]), shown, places, colors)
    if cosines is not None:
        _draw_cosines(list(grid[1]), cosines, shown, _order(places[-1], keys), str(unit))
    if isinstance(handles, list):
        if handles:
            figure.legend(
                handles=handles,
                loc="outside right upper",
                fontsize=7,
                frameon=False,
                title=what,
                title_fontsize=7.5,
            )
    elif color is not None:
        _draw_scale(figure, list(grid[0]), handles, color)
    name = ", ".join(str(dataset.attrs[key]) for key in (LAYER, "name") if key in dataset.attrs)
    chance = float(dataset.attrs.get("chance_overlap", np.nan))
    notes = (
        origin_of(dataset),
        "in brackets with entries of vectors shuffled",
        f"overlap: with the plane of the checkpoint before, {chance:.2f} of planes at random",
        str(dataset.attrs.get(UNMATCHED, "")) and "numbers of latents do not stay over checkpoints",
    )
    headline(figure, f"{name}: {dataset.sizes[str(unit)]} {unit}s on two components", *notes)
    return saved(figure, path)


def among_checkpoints(place: xr.DataArray, dataset: xr.Dataset, long_name: str) -> xr.DataArray:
    """Places along a Dataset's checkpoints as colours, NaN of none, with what these are called."""
    told = {"long_name": long_name, _CHECKPOINTS: moment_names(dataset)}
    return place.where(place >= 0).assign_attrs(told)


def _draw_scale(figure: "Figure", panels: "list[Axes]", scale: Any, color: xr.DataArray) -> None:
    """The scale of colours that are numbers, with names of checkpoints where they are places."""
    bar = figure.colorbar(scale, ax=panels, aspect=20, pad=0.01)
    bar.set_label(plain(_meaning(color)), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    if names := [str(each) for each in color.attrs.get(_CHECKPOINTS, ())]:
        places = np.arange(int(color.min()), int(color.max()) + 1)
        places = places[evenly(len(places), _MOST_NAMED, "names")]
        bar.set_ticks(places.tolist(), labels=[plain(names[each]) for each in places])


def _draw_maps(
    panels: "list[Axes]", shown: xr.Dataset, places: np.ndarray, colors: list[Any]
) -> None:
    from matplotlib.collections import LineCollection

    reach = 1.08 * np.nanmax(np.abs(places))
    size = float(np.clip(900 / places.shape[1], 6, 26))
    names = moment_names(shown)
    for number, axes in enumerate(panels):
        at = shown.isel({CHECKPOINT: number})
        if number:
            before, now = places[number - 1], places[number]
            ways = LineCollection([*np.stack([before, now], 1)], colors="0.8", lw=0.5, zorder=1)
            axes.add_collection(ways, autolim=False)
        across, along = places[number].T
        axes.scatter(across, along, c=colors, s=size, lw=0, zorder=2)
        axes.axhline(0, color="0.9", lw=0.6, zorder=0)
        axes.axvline(0, color="0.9", lw=0.6, zorder=0)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        null = float(at["null_explained"].mean()) if at["null_explained"].size else np.nan
        text = f"{float(at['explained']):.0%} of variance"
        text += f" ({null:.0%})" if np.isfinite(null) else ""
        overlap = float(at["overlap"])
        text += f"\noverlap {overlap:.2f}" if np.isfinite(overlap) else "\n"
        axes.set_title(f"{plain(names[number])}\n{text}", fontsize=7.5, loc="left")


def _draw_cosines(
    panels: "list[Axes]", cosines: xr.Dataset, shown: xr.Dataset, order: np.ndarray, unit: str
) -> None:
    units = shown[unit].values[order]
    for axes, label in zip(panels, labels_of(shown, CHECKPOINT), strict=True):
        at = cosines.sel({CHECKPOINT: label, unit: units, f"{unit}_to": units})
        axes.set_facecolor(UNKNOWN_COLOR)
        values = np.ma.masked_invalid(at["cosine"].transpose(unit, f"{unit}_to").values)
        axes.pcolormesh(values, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
        axes.set(ylim=(len(units), 0), xticks=[], yticks=[], aspect="equal")
        bound = float(at["null_cosine"])
        axes.set_xlabel(f"shuffled: 95 % below {bound:.2f}", fontsize=7)
    bar = panels[0].figure.colorbar(panels[0].collections[0], ax=panels, aspect=20, pad=0.01)
    bar.set_label("cosine", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _order(places: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Places of units by what they are coloured by, then by angle on the map."""
    angles = np.arctan2(places[:, 1], places[:, 0])
    return np.lexsort((angles, keys))  # NaN is the last of all


def _colors(
    color: xr.DataArray | None, shown: xr.Dataset, unit: str
) -> tuple[list[Any], np.ndarray, Any, str]:
    """A colour a unit, its number in their order, what explains them, and what they stand for."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    n_units = shown.sizes[unit]
    if color is None:
        return [_GREY] * n_units, np.zeros(n_units), [], ""
    if set(color.dims) != {unit}:
        raise ValueError(f"colours are of {color.dims}; give one a unit, along {unit!r}")
    values = color.reindex({unit: shown[unit].values}, fill_value=_nothing(color)).values
    what = _meaning(color)
    if values.dtype.kind in "fiu":
        known = values[np.isfinite(values)].astype(float)
        if not len(known):
            return [_GREY] * n_units, np.zeros(n_units), [_dot(Line2D, "none", _GREY)], what
        low, high = known.min(), known.max()
        norm = mpl.colors.Normalize(low, high if high > low else low + 1)
        scale = mpl.cm.ScalarMappable(norm, "viridis")
        colors = [scale.to_rgba(each) if np.isfinite(each) else _GREY for each in values]
        return colors, values.astype(float), scale, what
    texts = [str(each) for each in values]
    counts = {text: texts.count(text) for text in dict.fromkeys(texts) if text}
    common = sorted(sorted(counts, key=lambda each: -counts[each])[:_MOST_COLORS])
    palette = dict(zip(common, mpl.colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]  # mypy knows no ListedColormap here
    handles = [_dot(Line2D, each, palette[each]) for each in common]
    if any(text not in palette for text in texts):
        named = _OTHERS if len(counts) > len(common) else "none"
        handles.append(_dot(Line2D, named, _GREY))
    keys = [common.index(text) if text in palette else len(common) for text in texts]
    return [palette.get(text, _GREY) for text in texts], np.array(keys), handles, what


def _meaning(color: xr.DataArray) -> str:
    return str(color.attrs.get("long_name", color.name or ""))


def _dot(line: Any, label: str, color: Any) -> Any:
    text = plain(cut(label, 19))
    return line([], [], marker="o", ls="", ms=4, color=color, label=text)


def _nothing(color: xr.DataArray) -> Any:
    return np.nan if color.dtype.kind == "f" else "" if color.dtype.kind in "UOT" else -1
