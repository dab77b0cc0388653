"""What several commands print."""

from dvis.kinds.features.tree.run_import import ImportReport


def print_import(report: ImportReport) -> None:
    """Print what an import read, in a line."""
    kept = f", {report.n_kept} kept as the store had them" if report.n_kept else ""
    print(
        f"{report.store}: {report.n_read} units read, {report.n_unchanged} unchanged since "
        f"the last import{kept}"
    )
