"""Checkpoint names on the axis of a plot: as many as fit, short enough to read.

`da.plot()` on a trajectory hands matplotlib the checkpoints' names, and matplotlib draws every one
of them, on top of the next. A converter for numpy strings puts that right for the names that
`dvis.open` has handed out; every other string axis is matplotlib's own.
"""

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dvis.names import parse_checkpoint

if TYPE_CHECKING:
    from matplotlib.ticker import Formatter, Locator

_TICK_INCHES = 1.2
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
    >>> short_name("friendly")
    'friendly'
    """
    name = parse_checkpoint(label)
    if name.epoch >= 0:
        batch = f" {name.batch}" if name.batch >= 0 else ""
        return f"epoch {name.epoch}, {name.phase}{batch}"
    half = _MAX_LETTERS // 2
    return label if len(label) <= _MAX_LETTERS + 1 else f"{label[:half]}…{label[-half:]}"


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: between two dollar signs it would see a formula."""
    return text.replace("$", r"\$")


def show_names_readably(labels: Iterable[str]) -> None:
    """Have axes of these names drawn with a few short ones, once matplotlib is imported."""
    _labels.update(labels)
    if "matplotlib.category" in sys.modules:
        _register(sys.modules["matplotlib.category"])
    elif not any(isinstance(finder, _AfterCategory) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterCategory())


class _AfterCategory(MetaPathFinder):
    """Registers the converter when something imports matplotlib's own: dvis must not import it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "matplotlib.category":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def name_ticks(names: Sequence[str], which: str = "x") -> "tuple[Locator, Formatter]":
    """Ticks for an axis of which 0, 1, 2, ... have these names: as many as the axis has room for.

    Parameters
    ----------
    names : sequence of str
        Short names, in order.
    which : {"x", "y"}
        The axis: names are wider than high.
    """
    import numpy as np
    from matplotlib import ticker

    tick_inches = _TICK_INCHES if which == "x" else _TICK_LINE_INCHES

    class FewTicks(ticker.Locator):
        """Evenly spread places, the first and the last among them."""

        def __call__(self) -> Any:
            return self.tick_values(0, 0)

        def tick_values(self, vmin: float, vmax: float) -> Any:
            axes: Any = self.axis.axes  # type: ignore[union-attr]  # set before ticks are asked for
            length = axes.bbox.width if which == "x" else axes.bbox.height
            room = max(2, int(length / axes.get_figure(root=True).dpi / tick_inches))
            return np.unique(np.linspace(0, len(names) - 1, min(room, len(names))).round())

    class ShortNames(ticker.Formatter):
        """Names of places by their number."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain(names[int(x)]) if 0 <= x < len(names) else ""

    return FewTicks(), ShortNames()


def _register(category: ModuleType) -> None:
    import numpy as np
    from matplotlib import units

    if getattr(units.registry.get(np.str_), "is_dvis", False):
        return

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
