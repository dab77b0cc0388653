"""A report as pdf: pages of text, and a page for each figure, by matplotlib."""

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from dvis.kinds.told import Section, ToldFigure, ToldTable
from dvis.plots.ticks import plain
from dvis.reporting.collect import Told
from dvis.reporting.figures import drawn
from dvis.reporting.html import NO_CAVEATS, SEVERITIES

_WIDTH, _HEIGHT = 8.27, 11.69  # inches: A4
_MARGIN, _LINE = 0.8, 0.175
_LETTERS, _MONO_LETTERS = 92, 88
_DPI = 200
_SIZES = {"title": 16, "head": 12.5, "bold": 9.5, "text": 9.5, "mono": 7.6}
_STEPS = {"title": 0.42, "head": 0.34, "bold": 0.21, "text": _LINE, "mono": 0.145}
# A line: how it is set, and its text.
Line = tuple[str, str]


def write_pdf(told: Told, file: IO[bytes], on_figure: Callable[[], None] = lambda: None) -> int:
    """Write a report's pdf; returns its pages."""
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import PdfPages

    n_pages = 0
    metadata = {"Title": told.title, "Creator": "dvis", "Producer": "dvis", "CreationDate": None}
    with mpl.rc_context({"pdf.compression": 6}), PdfPages(file, metadata=metadata) as pdf:
        for page in pages_of(told, on_figure):
            pdf.savefig(page)
            n_pages += 1
    return n_pages


def pages_of(told: Told, on_figure: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """Matplotlib figures of A4 size, one a page, each made when it is asked for."""
    yield from _text_pages(_opening(told))
    for section in told.sections:
        lines: list[Line] = list(_section(section))
        for each in section.shown:
            if isinstance(each, ToldTable):
                lines += _table(each)
        yield from _text_pages(lines)
        for each in section.shown:
            if isinstance(each, ToldFigure):
                yield _figure_page(each)
                on_figure()
    yield from _text_pages(_closing(told))


def _opening(told: Told) -> list[Line]:
    lines: list[Line] = [("title", told.title)]
    lines += _wrapped("What this training run learned when, and how sure that is.")
    lines += [("text", ""), ("head", "In short")]
    for section in told.sections:
        if section.finding:
            lines += [*_wrapped(f"{section.title}. {section.finding}"), ("text", "")]
    return lines


def _section(section: Section) -> Iterator[Line]:
    yield "head", section.title
    for text in filter(None, [section.finding, *section.texts]):
        yield from _wrapped(text)
        yield "text", ""
    for each in section.caveats:
        yield from _wrapped(f"{SEVERITIES[each.severity]}: {each.text}")
        yield "text", ""


def _closing(told: Told) -> list[Line]:
    lines: list[Line] = [("head", "Caveats")]
    for title, each in told.caveats:
        lines += _wrapped(f"{SEVERITIES[each.severity]} ({title}): {each.text}")
        lines += [("text", "")]
    lines += [] if told.caveats else _wrapped(NO_CAVEATS)
    return [*lines, *_table(told.absent)]


def _wrapped(text: str) -> list[Line]:
    return [("text", line) for line in textwrap.wrap(text, _LETTERS)]


def _table(table: ToldTable) -> list[Line]:
    """A table as lines of even letters; where it is too wide, columns are cut."""
    rows = [list(map(str, table.columns)), *[list(map(str, row)) for row in table.rows]]
    widths = _widths(rows)
    lines: list[Line] = [("text", ""), ("bold", table.title)]
    for row in rows:
        cells = [
            textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)
        ]
        for place in range(max(map(len, cells))):
            parts = [
                (cell[place] if place < len(cell) else "").ljust(width)
                for cell, width in zip(cells, widths, strict=True)
            ]
            lines.append(("mono", "  ".join(parts).rstrip()))
    return [*lines, *_wrapped(table.note)]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Letters of each column, less of the widest where all do not fit."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = _MONO_LETTERS - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 6:
        widths[widths.index(max(widths))] -= 1
    return [max(1, width) for width in widths]


def _text_pages(lines: Sequence[Line]) -> Iterator[Any]:
    """As many pages as lines need."""
    page, top = None, 0.0
    for style, text in lines:
        if page is None or top + _STEPS[style] > _HEIGHT - 2 * _MARGIN:
            if page is not None:
                yield page
            page, top = _page(), 0.0
        _write(page, text, top, style)
        top += _STEPS[style]
    if page is not None:
        yield page


def _page() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, _HEIGHT))


def _write(page: Any, text: str, top: float, style: str) -> None:
    page.text(
        _MARGIN / _WIDTH,
        1 - (_MARGIN + top) / _HEIGHT,
        plain(text),
        fontsize=_SIZES[style],
        family="monospace" if style == "mono" else "sans-serif",
        fontweight="bold" if style in ("title", "head", "bold") else "normal",
        va="top",
    )


def _figure_page(figure: ToldFigure) -> Any:
    """A page of one figure: its title, its picture, its caption, its line."""
    from PIL import Image

    page, picture = _page(), drawn(figure, _DPI)
    _write(page, figure.title, 0.0, "head")
    top = _STEPS["head"] + 0.1
    if picture.why_not:
        lines = _wrapped(f"Nothing to draw: {picture.why_not}")
    else:
        wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN - 3.0
        scale = min(wide / picture.width, high / picture.height)
        width, height = picture.width * scale, picture.height * scale
        place = (
            _MARGIN / _WIDTH,
            1 - (_MARGIN + top + height) / _HEIGHT,
            width / _WIDTH,
            height / _HEIGHT,
        )
        axes = page.add_axes(place)
        axes.imshow(Image.open(io.BytesIO(picture.png)).convert("RGB"), aspect="auto")
        axes.set_axis_off()
        top += height + 0.2
        lines = _wrapped(figure.caption)
    code = [("mono", line) for line in textwrap.wrap(str(figure.code), _MONO_LETTERS)]
    for style, text in [*lines, ("text", ""), *code]:
        _write(page, text, top, style)
        top += _STEPS[style]
    return page
