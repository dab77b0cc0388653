"""Cells of a sheet: a sample with its map laid over, an optimised image, or words instead."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.activations.pictures.samples import Samples, TokenMap
from dvis.plots.ticks import plain
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLINE_COLOR = "#D55E00"
HALF = 0.5  # of a map's scale, where its outline runs
_LEAST_SHOWN = 0.45  # of a picture where its map is 0
_BACKGROUND = 205.0  # light grey that such places fade to, told from white
_ID_LETTERS = 14  # in a line
_ID_LINES = 5
_CAPTION: dict[str, Any] = {"fontsize": 6, "pad": 2.5, "linespacing": 1.1}
MAP_NOTE = "orange line: half of {scale}; faded beyond it, most at zero or below"


def draw_sample(
    cell: "Axes",
    sample_id: str,
    samples: Samples,
    levels: np.ndarray | None,
    tokens: TokenMap | None,
    caption: str,
) -> None:
    """Draw a sample with its map, captioned; its id where there is no picture, nothing without one.

    Parameters
    ----------
    cell : Axes
        Where.
    sample_id : str
        The sample; "" for a rank that has none.
    samples : Samples
        Thumbnails and classes.
    levels : ndarray of uint8, (token,), optional
        Its map, 255 for all of the scale.
    tokens : TokenMap, optional
        Where the map's tokens lie.
    caption : str
        What stands below the name of its class.
    """
    _bare(cell)
    if not sample_id:
        cell.set_axis_off()
        return
    class_name = samples.classes.get(sample_id, "")
    lines = [_short(class_name, _ID_LETTERS + 4), caption]
    cell.set_title(plain("\n".join(each for each in lines if each)), **_CAPTION)
    if sample_id not in samples.thumbnails:
        say(cell, _folded(sample_id))
        return
    picture = samples.thumbnails[sample_id]
    height, width = picture.shape[:2]
    shown = None if levels is None or tokens is None else tokens.on_picture(levels, height, width)
    cell.imshow(picture if shown is None else faded(picture, shown), interpolation="nearest")
    if shown is not None and shown.min() < HALF < shown.max():
        _outline(cell, shown)


def faded(picture: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """A picture as it is where its map is half or more, and paler down to where it is 0.

    Parameters
    ----------
    picture : ndarray, (y, x, colour), uint8 0-255
    shares : ndarray, (y, x), 0 to 1
    """
    visible = (_LEAST_SHOWN + (1 - _LEAST_SHOWN) * np.minimum(shares / HALF, 1))[..., None]
    return np.rint(picture * visible + _BACKGROUND * (1 - visible)).astype(np.uint8)


def draw_unit_image(cell: "Axes", units: xr.Dataset, checkpoint: str) -> None:
    """Draw a unit's optimised image at a checkpoint, or say what is in its place.

    Parameters
    ----------
    cell : Axes
        Where.
    units : Dataset, (checkpoint, y, x, rgb)
        Images of one unit, with `status`.
    checkpoint : str
        Label of the checkpoint.
    """
    _bare(cell)
    if checkpoint not in units[CHECKPOINT].values:
        say(cell, "not made")
        return
    at = units.sel({CHECKPOINT: checkpoint})
    status = Status(int(at["status"]))
    if status is not Status.COMPLETE:
        say(cell, "no image" if status is Status.INCOMPLETE else status.name.lower())
        return
    cell.imshow(at["image"].transpose(Y, X, RGB).values, interpolation="nearest")


def images_of_unit(
    units: xr.Dataset | None, layer: str, number: int, *, unit: str = "channel"
) -> xr.Dataset | None:
    """Optimised images of one unit, (checkpoint, y, x, rgb); None where there are none of it."""
    if units is None or not {"image", "status", LAYER, CHANNEL, CHECKPOINT} <= set(units.variables):
        return None
    # Of directions in a layer, such as latents, the numbers are not those of its channels.
    if str(units.attrs.get("unit", "channel")) != unit:
        return None
    for dim, label in ((LAYER, layer), (CHANNEL, number)):
        if label not in np.atleast_1d(units[dim].values).tolist():
            return None
        units = units.sel({dim: label}) if dim in units.dims else units
    if CHECKPOINT not in units.dims:
        units = units.expand_dims(CHECKPOINT)
    return units if (units["status"] != Status.ABSENT).any() else None


def say(cell: "Axes", text: str) -> None:
    """Words in place of a picture."""
    cell.set_xlim(0, 1)
    cell.set_ylim(0, 1)
    cell.set_box_aspect(1)
    cell.set_facecolor("0.94")
    cell.text(0.5, 0.5, plain(text), ha="center", va="center", fontsize=5.5, color="0.3")


def value_text(value: float) -> str:
    """A value as captions have it.

    Examples
    --------
    >>> value_text(12.3456), value_text(0.00012), value_text(float("nan"))
    ('12.3', '0.00012', '')
    """
    return "" if np.isnan(value) else f"{value:.3g}"


def _bare(cell: "Axes") -> None:
    cell.set_xticks([])
    cell.set_yticks([])
    for spine in cell.spines.values():
        spine.set_color("0.7")
        spine.set_linewidth(0.5)


def _outline(cell: "Axes", shown: np.ndarray) -> None:
    """A line where the map is half of its scale, seen on dark and on bright."""
    # Padded, so that it is closed where it meets the picture's edge.
    height, width = shown.shape
    padded = np.pad(shown, 1)
    across = np.concatenate([[-0.5], np.arange(width), [width - 0.5]])
    down = np.concatenate([[-0.5], np.arange(height), [height - 0.5]])
    for color, thickness in (("white", 2.0), (OUTLINE_COLOR, 1.0)):
        cell.contour(across, down, padded, levels=[HALF], colors=[color], linewidths=thickness)


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _folded(sample_id: str) -> str:
    """An id in lines that fit a cell, its end rather than its beginning where it is long."""
    n_most = _ID_LETTERS * _ID_LINES
    text = sample_id if len(sample_id) <= n_most else f"…{sample_id[1 - n_most :]}"
    return "\n".join(text[at : at + _ID_LETTERS] for at in range(0, len(text), _ID_LETTERS))
