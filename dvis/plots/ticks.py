"""Checkpoint names on the axis of a plot: as many as fit, short enough to read.

`da.plot()` on a trajectory hands matplotlib the checkpoints' names, and matplotlib draws every one
of them, on top of the next. A converter for numpy strings puts that right for names that came out
of a checkpoint coordinate; every other string axis is matplotlib's own.

xarray asks nobody before it plots, and matplotlib finds converters only in its registry. So the
checkpoint coordinate itself registers ours, when its values are taken and matplotlib is there by
then. Opening and reading a store changes nothing in a process that draws nothing.
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.names import parse_checkpoint
from dvis.store.labels import LabelIndex

if TYPE_CHECKING:
    from matplotlib.ticker import Formatter, Locator

_LETTER_INCHES, _TICK_GAP_INCHES = 0.067, 0.2  # at 8 points
_TICK_LINE_INCHES = 0.3
_TICK_POINTS = 8
_MAX_LETTERS = 16
_labels: set[str] = set()


def short_name(label: str) -> str:
    """Checkpoint's name as people say it.

    Examples
    --------
    >>> short_name("checkpoint_2024-03-25-00h28_epoch_3_train_200.pth.tar")
    'epoch 3, train 200'
    >>> short_name("resnet50-epoch=09-val_loss=0.32.ckpt")
    'epoch 9'
    >>> short_name("friendly")
    'friendly'
    """
    name = parse_checkpoint(label)
    if name.epoch >= 0 and name.phase:
        batch = f" {name.batch}" if name.batch >= 0 else ""
        return f"epoch {name.epoch}, {name.phase}{batch}"
    if len(label) <= _MAX_LETTERS + 1:
        return label
    told = {"epoch": name.epoch, "batch": name.batch, "step": name.step}
    if known := [f"{what} {number}" for what, number in told.items() if number >= 0]:
        return ", ".join(known)
    return cut(label, _MAX_LETTERS + 1)


def cut(text: str, most: int) -> str:
    """A text of at most so many letters, with its beginning and its end.

    Examples
    --------
    >>> cut("horizontal-stripes", 13), cut("star", 13)
    ('horizo…tripes', 'star')
    """
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: between two dollar signs it would see a formula."""
    return text.replace("$", r"\$")


class CheckpointIndex(LabelIndex):
    """Index of checkpoints, whose coordinate has its names drawn readably."""

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> Any:
        """The coordinate, as xarray asks its index for it."""
        made = super().create_variables(variables)
        return {
            name: _CheckpointVariable(each.dims, each, each.attrs, each.encoding)  # type: ignore[no-untyped-call]
            for name, each in made.items()
        }


class _CheckpointVariable(xr.IndexVariable):
    """Names of checkpoints, which tell matplotlib how to draw them when somebody takes them."""

    __slots__ = ()

    @xr.IndexVariable.values.getter  # type: ignore[untyped-decorator]  # mypy knows none of properties
    def values(self) -> Any:
        """The names, as a numpy array."""
        return _known_to_matplotlib(super().values)

    def to_numpy(self) -> Any:
        """The names, as a numpy array."""
        return _known_to_matplotlib(super().to_numpy())


def _known_to_matplotlib(names: np.ndarray) -> np.ndarray:
    category = sys.modules.get("matplotlib.category")
    if category is not None:
        _labels.update(names.tolist())
        _register(category)
    return names


def name_ticks(names: Sequence[str], which: str = "x") -> "tuple[Locator, Formatter]":
    """Ticks for an axis of which 0, 1, 2, ... have these names: as many as the axis has room for.

    Parameters
    ----------
    names : sequence of str
        Short names, in order.
    which : {"x", "y"}
        The axis: names are wider than high.
    """
    from matplotlib import ticker

    width = _TICK_GAP_INCHES + _LETTER_INCHES * max(map(len, names), default=0)
    tick_inches = width if which == "x" else _TICK_LINE_INCHES

    class FewTicks(ticker.Locator):
        """Evenly spread places, the first and the last among them."""

        def __call__(self) -> Any:
            return self.tick_values(0, 0)

        def tick_values(self, vmin: float, vmax: float) -> Any:
            axes: Any = self.axis.axes  # type: ignore[union-attr]  # set before ticks are asked for
            length = axes.bbox.width if which == "x" else axes.bbox.height
            # Half of the first name and half of the last are beyond the axis.
            room = max(2, 1 + int(length / axes.get_figure(root=True).dpi / tick_inches))
            return np.unique(np.linspace(0, len(names) - 1, min(room, len(names))).round())

    class ShortNames(ticker.Formatter):
        """Names of places by their number."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain(names[int(x)]) if 0 <= x < len(names) else ""

    return FewTicks(), ShortNames()


def _register(category: ModuleType) -> None:
    from matplotlib import units

    standing = units.registry.get(np.str_)
    if standing is None or getattr(standing, "is_dvis", False):
        return  # None while another thread is still importing matplotlib

    class CheckpointConverter(category.StrCategoryConverter):  # type: ignore[misc, name-defined]
        """Matplotlib's converter of strings, with readable ticks where they are checkpoints."""

        is_dvis = True

        @staticmethod
        def axisinfo(unit: Any, axis: Any) -> Any:
            names = list(unit._mapping) if unit is not None else []
            if axis.axis_name != "x" or not names or not _labels.issuperset(names):
                return category.StrCategoryConverter.axisinfo(unit, axis)
            axis.set_tick_params(labelsize=_TICK_POINTS)
            locator, formatter = name_ticks([short_name(name) for name in names])
            return units.AxisInfo(majloc=locator, majfmt=formatter)  # type: ignore[no-untyped-call]

    units.registry[np.str_] = CheckpointConverter()
