"""What several commands print."""

from dvis.kinds.features.tree.run_import import ImportReport
from dvis.schema import counted


def print_import(report: ImportReport) -> None:
    """Print what an import read, in a line."""
    kept = f", {report.n_kept} kept as the store had them" if report.n_kept else ""
    print(
        f"{report.store}: {counted(report.n_read, 'unit')} read, {report.n_unchanged} unchanged "
        f"since the last import{kept}"
    )
