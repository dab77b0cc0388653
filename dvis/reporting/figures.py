"""Figures of a report as pictures, the same bytes each time; and their numbers as csv."""

import base64
import io
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pandas as pd

from dvis.kinds.told import ToldFigure
from dvis.schema import SchemaError

DPI = 144
MOST_ROWS = 2_000
# What asking of a store may raise where a picture has nothing to show.
_NOTHING_TO_SHOW = (SchemaError, ValueError, KeyError)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure as a picture; or why there is none."""

    png: bytes = b""
    width: int = 0
    height: int = 0
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class Csv:
    """Numbers of a figure as csv, and how many rows that leaves out."""

    text: str
    n_rows: int
    n_left: int

    @property
    def address(self) -> str:
        """The csv as an address that holds it."""
        return f"data:text/csv;base64,{base64.b64encode(self.text.encode()).decode()}"


def drawn(figure: ToldFigure, dpi: int = DPI) -> Drawn:
    """A figure's picture, made by its line of Python."""
    try:
        made = figure.code.run(import_module("dvis"))
    except _NOTHING_TO_SHOW as err:
        text = err.args[0] if isinstance(err, KeyError) and err.args else err
        return Drawn(why_not=str(text))
    data = io.BytesIO()
    made.savefig(data, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    width, height = (round(inches * dpi) for inches in made.get_size_inches())
    _forget(made)
    return Drawn(png=data.getvalue(), width=width, height=height)


def _forget(figure: object) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)  # type: ignore[arg-type]


def csv_of(figure: ToldFigure) -> Csv:
    """A figure's numbers as csv, of so many rows at most."""
    try:
        numbers = figure.numbers()
    except _NOTHING_TO_SHOW:
        numbers = pd.DataFrame()
    shown = numbers.head(MOST_ROWS)
    floats = shown.select_dtypes(include=[np.floating]).columns
    shown = shown.assign(**{name: shown[name].map(_rounded) for name in floats})
    text = shown.to_csv(index=False, lineterminator="\n") if len(shown.columns) else ""
    return Csv(text=text, n_rows=len(shown), n_left=len(numbers) - len(shown))


def _rounded(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.7g}"
