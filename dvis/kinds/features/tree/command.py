"""The commands `ingest` and `export`: from the jpg/json tree into a store, and back."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from dvis.kinds.features.tally import count_units, render_counts, unit_problems
from dvis.kinds.features.tree.export import export_tree
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.features.tree.run_import import ImportReport
from dvis.schema import counted
from dvis.store.contents import contents

# Problems that are printed; `dvis info` lists them all.
_MAX_PRINTED = 20


def ingest(
    path: Positional[Path],
    *,
    store: Path | None = None,
    model: str | None = None,
    codec: Literal["jpeg", "raw"] | None = None,
    workers: int | None = None,
    batches_per_epoch: int | None = None,
    steps: Path | None = None,
    checkpoints: tuple[str, ...] = (),
    strict: bool = False,
    overwrite: bool = False,
) -> int:
    """Import a jpg/json tree into a store; run again, it reads what is new or changed.

    Parameters
    ----------
    path
        A model's folder, such as feature_images/resnet50, or a folder of several models.
    store
        Where the store is to be (default: stores/MODEL.zarr). With several models: their folder.
    model
        The model's name, where the folder's name is not it.
    codec
        Keep the jpgs' own bytes (default), or decode them to raw pixels (4 to 6 times the space).
    workers
        Processes that read (default: one for each core, one for small trees).
    batches_per_epoch
        Batches in an epoch, for the training step of checkpoints (default: from their times, where
        these tell it).
    steps
        A csv or json file of training steps: name,step or name,step,epoch in each line (default:
        as the names of the checkpoints tell them).
    checkpoints
        Only checkpoints with names like these, such as "epoch_*" (default: all).
    strict
        Exit with 1 when there was any problem.
    overwrite
        Start the store anew.
    """
    reports = ingest_tree(
        path,
        store=store,
        model=model,
        codec=codec,
        workers=workers,
        batches_per_epoch=batches_per_epoch,
        steps=steps,
        checkpoints=checkpoints,
        overwrite=overwrite,
        progress=True,
    )
    n_problems = 0
    for report in reports:
        print_import(report)
        n_problems += _print_store(report.store)
        n_problems += report.n_kept
    return 1 if strict and n_problems else 0


def export(
    store: Positional[Path],
    out: Positional[Path] = Path("feature_images"),
    *,
    overwrite: bool = False,
) -> int:
    """Write a store's jpg/json tree again: imported jpgs byte for byte, json equal in content.

    Parameters
    ----------
    store
        A store's folder.
    out
        The folder for the tree; the model's name is added.
    overwrite
        Replace files there that differ.
    """
    report = export_tree(store, out, overwrite=overwrite, progress=True)
    files = f"{counted(report.n_images, 'jpg file')}, {counted(report.n_infos, 'info.json file')}"
    print(f"{report.folder}: {files}", end="")
    print(f", {report.n_unchanged} of them there already" if report.n_unchanged else "")
    if report.n_encoded:
        print(f"{counted(report.n_encoded, 'jpg')} made of raw pixels, at quality 95")
    for name in report.others:
        print(f"not part of the tree: {name}")
    for fault in report.faults:
        print(f"left out: {fault}")
    return 1 if report.faults else 0


def print_import(report: ImportReport) -> None:
    """Print what an import read, and what is to be said of the places of its checkpoints."""
    kept = f", {report.n_kept} kept as the store had them" if report.n_kept else ""
    print(
        f"{report.store}: {counted(report.n_read, 'unit')} read, {report.n_unchanged} unchanged "
        f"since the last import{kept}"
    )
    for note in report.notes:
        print(f"  {note}")


def import_tree(source: Path) -> Path:
    """The store that a jpg/json tree goes into.

    Raises
    ------
    FileNotFoundError
        When there is nothing to import.
    ValueError
        When it holds several models.
    """
    reports = ingest_tree(source, progress=True)
    if len(reports) > 1:
        models = ", ".join(report.model for report in reports)
        raise ValueError(f"{source} holds several models ({models}); give the folder of one")
    print_import(reports[0])
    return reports[0].store


def _print_store(store: Path) -> int:
    """Print a store's table and problems; return how many problems it has."""
    print(render_counts(count_units(store)))
    problems = [problem.text for problem in unit_problems(store)] + contents(store).import_problems
    if problems:
        print(f"{counted(len(problems), 'problem')}:")
    for problem in problems[:_MAX_PRINTED]:
        print(f"  {problem}")
    if len(problems) > _MAX_PRINTED:
        print(f"  ... and {len(problems) - _MAX_PRINTED} more: dvis info {store}")
    return len(problems)
