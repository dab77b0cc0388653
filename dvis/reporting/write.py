"""The door to reports: a store in, a file out."""

import io
from dataclasses import dataclass
from pathlib import Path

from dvis.disk import write_atomically
from dvis.kinds.told import ToldFigure
from dvis.progress import progress_bar
from dvis.reporting.collect import told_of
from dvis.reporting.html import html_of
from dvis.reporting.pdf import write_pdf

SUFFIXES = (".html", ".pdf")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A report that was written: its file, and how much it tells."""

    path: Path
    n_bytes: int
    n_sections: int
    n_figures: int
    n_caveats: int


def write_report(
    store: str | Path,
    out: str | Path = "report.html",
    *,
    run: str | None = None,
    progress: bool = False,
) -> Written:
    """Write what a store tells of a run: what it learned when, and how sure that is.

    It has a section for each kind of measurement that the store holds, with findings beside their
    controls, pictures, the line of Python that makes each, and their numbers; then all that speaks
    against the numbers, as it is computed. The same store gives the same bytes.

    Parameters
    ----------
    store : str or Path
        A store's folder or URL.
    out : str or Path
        The file: .html, which holds all and needs no network, or .pdf. One that is there is
        replaced.
    run : str, optional
        Training run; by default the store's.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Written
        With the `path`, `n_bytes`, `n_sections`, `n_figures` and `n_caveats`.

    Raises
    ------
    ValueError
        When the file's ending is none of these.
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    KeyError
        When the store has no such run.
    """
    path = Path(out).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{out} ends in {path.suffix!r}; a report is {' or '.join(SUFFIXES)}")
    _draw_without_windows()
    told = told_of(store, run)
    n_figures = sum(isinstance(each, ToldFigure) for s in told.sections for each in s.shown)
    with progress_bar(n_figures, "figures", "report", shown=progress) as bar:
        if path.suffix.lower() == ".pdf":
            file = io.BytesIO()
            write_pdf(told, file, bar.update)
            data = file.getvalue()
        else:
            data = "".join(html_of(told, bar.update)).encode()
    write_atomically(path, data)
    return Written(
        path=path,
        n_bytes=len(data),
        n_sections=len(told.sections),
        n_figures=n_figures,
        n_caveats=len(told.caveats),
    )


def _draw_without_windows() -> None:
    import matplotlib as mpl

    if mpl.get_backend().lower() != "agg":
        mpl.use("agg")
