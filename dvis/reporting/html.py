"""A report as one html file, which asks nothing of a network and runs no script.

All that comes from a store is escaped: names of layers, runs and classes may be anything.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib import resources

from dvis.kinds.told import Caveat, Section, ToldFigure, ToldTable
from dvis.reporting.collect import Told
from dvis.reporting.figures import DPI, csv_of, drawn
from dvis.schema import counted

SEVERITIES = {"wrong": "Does not count", "doubt": "Doubtful", "note": "To know"}
NO_CAVEATS = (
    "None of the checks that dvis computes fired. That does not say that there is nothing to doubt."
)
_CSS_PIXELS = 96


def html_of(told: Told, on_figure: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The report's html in pieces; figures are drawn one at a time as they are asked for."""
    yield _head(told)
    names = _names(told)
    for section, name in zip(told.sections, names, strict=True):
        yield _section_head(section, name)
        for each in section.shown:
            if isinstance(each, ToldTable):
                yield table_html(each)
            else:
                yield _figure(each)
                on_figure()
        yield "</section>\n"
    yield _caveats(told.caveats)
    yield _absent(told.absent)
    yield "</main>\n</body>\n</html>\n"


def _names(told: Told) -> list[str]:
    """Anchors of sections: words of their titles, numbered."""
    return [
        f"s{place}-{re.sub('[^a-z0-9]+', '-', section.title.lower()).strip('-')[:40]}"
        for place, section in enumerate(told.sections, start=1)
    ]


def _head(told: Told) -> str:
    css = resources.files("dvis.reporting").joinpath("report.css").read_text(encoding="utf-8")
    links = [
        f'<li><a href="#{name}">{escape(section.title)}</a></li>'
        for section, name in zip(told.sections, _names(told), strict=True)
    ]
    links += ['<li><a href="#caveats">Caveats</a></li>']
    links += ['<li><a href="#absent">What the store does not hold</a></li>']
    findings = [
        f"<li><b>{escape(section.title)}.</b> {escape(section.finding)}</li>"
        for section in told.sections
        if section.finding
    ]
    title = escape(told.title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        f'<header><h1>{title}</h1>\n<p class="dim">What this training run learned when, and how '
        "sure that is. Written by <code>dvis report</code> from numbers in a store; each picture "
        "has below it the line of Python that makes it, after <code>import dvis</code>, and its "
        "numbers.</p></header>\n<main>\n"
        f'<section class="short"><h2 style="border:0;margin-top:.6rem;padding:0">In short</h2>\n'
        f"<ul>\n{chr(10).join(findings)}\n"
        f'<li><a href="#caveats">{counted(len(told.caveats), "caveat")}</a> '
        f"{'stands' if len(told.caveats) == 1 else 'stand'} at the end.</li>\n</ul></section>\n"
        f'<nav aria-label="Contents"><ul>\n{chr(10).join(links)}\n</ul></nav>\n'
    )


def _section_head(section: Section, name: str) -> str:
    texts = [f'<p class="finding">{escape(section.finding)}</p>'] if section.finding else []
    texts += [f"<p>{escape(text)}</p>" for text in section.texts]
    texts += [_caveat_line(each) for each in section.caveats]
    return f'<section id="{name}">\n<h2>{escape(section.title)}</h2>\n' + "\n".join(texts) + "\n"


def _caveat_line(caveat: Caveat) -> str:
    return (
        f'<p class="{caveat.severity}"><b>{SEVERITIES[caveat.severity]}:</b> '
        f"{escape(caveat.text)}</p>"
    )


def table_html(table: ToldTable) -> str:
    """A table, which scrolls by itself where the window is narrow."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table.columns)
    rows = [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in table.rows
    ]
    note = f'<p class="note">{escape(table.note)}</p>\n' if table.note else ""
    return (
        f'<h3>{escape(table.title)}</h3>\n<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(table.title)}"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        f"{chr(10).join(rows)}\n</tbody></table></div>\n{note}"
    )


def _figure(figure: ToldFigure) -> str:
    picture, title = drawn(figure), escape(figure.title)
    if picture.why_not:
        return f'<h3>{title}</h3>\n<p class="note">Nothing to draw: {escape(picture.why_not)}</p>\n'
    data = base64.b64encode(picture.png).decode()
    width, height = (round(n * _CSS_PIXELS / DPI) for n in (picture.width, picture.height))
    return (
        f'<h3>{title}</h3>\n<figure>\n<div class="scroll picture" tabindex="0" role="region" '
        f'aria-label="{title}"><img alt="{title}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"></div>\n<figcaption>{escape(figure.caption)}'
        f"</figcaption>\n<pre><code>{escape(str(figure.code))}</code></pre>\n{_csv(figure)}"
        "</figure>\n"
    )


def _csv(figure: ToldFigure) -> str:
    csv = csv_of(figure)
    if not csv.text:
        return ""
    name = re.sub("[^a-z0-9]+", "-", figure.title.lower()).strip("-")[:60] or "numbers"
    left = f"; {csv.n_left:,} more are left out, which the line of Python has" if csv.n_left else ""
    return (
        f'<p class="note csv"><a download="{name}.csv" href="{csv.address}">Numbers as csv</a> '
        f"({counted(csv.n_rows, 'row')}{left})</p>\n"
    )


def _caveats(caveats: list[tuple[str, Caveat]]) -> str:
    lines = [
        f'<li class="{each.severity}"><b>{SEVERITIES[each.severity]}</b> ({escape(title)}): '
        f"{escape(each.text)}</li>"
        for title, each in caveats
    ]
    body = f"<ul>\n{chr(10).join(lines)}\n</ul>" if lines else f"<p>{NO_CAVEATS}</p>"
    return f'<section id="caveats">\n<h2>Caveats</h2>\n{body}\n</section>\n'


def _absent(table: ToldTable) -> str:
    text = "; ".join(
        f"{what} (<code>{escape(by)}</code>)" for what, by in map(_escaped, table.rows)
    )
    text = f"Nothing of: {text}." if text else "The store holds something of every kind."
    return f'<section id="absent">\n<h2>{escape(table.title)}</h2>\n<p>{text}</p>\n</section>\n'


def _escaped(row: Sequence[str]) -> tuple[str, str]:
    return escape(row[0]), row[1]
