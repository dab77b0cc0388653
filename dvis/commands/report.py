"""The command `report`."""

from pathlib import Path

from tyro.conf import Positional

from dvis.schema import counted


def report(
    store: Positional[str],
    *,
    out: Path = Path("report.html"),
    run: str | None = None,
) -> int:
    """Write what a run learned when, and how sure that is, as one file to send.

    Parameters
    ----------
    store
        A store's folder or URL.
    out
        The file: .html, which opens without a network, or .pdf. One that is there is replaced.
    run
        Training run (default: the store's).
    """
    from dvis.reporting.write import write_report

    written = write_report(store, out, run=run, progress=True)
    told = ", ".join(
        counted(n, noun)
        for n, noun in (
            (written.n_sections, "section"),
            (written.n_figures, "figure"),
            (written.n_caveats, "caveat"),
        )
    )
    print(f"{written.path}: {told}, {written.n_bytes / 1e6:.1f} MB")
    return 0
