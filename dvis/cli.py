"""The `dvis` command: its functions are the subcommands, their docstrings the help."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from dvis.check import check_store
from dvis.commands.page import page
from dvis.commands.plot import plot
from dvis.commands.training import train
from dvis.commands.view import view
from dvis.disk import DiskFullError
from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.tree.export import export_tree
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.features.tree.print_command import print_import
from dvis.kinds.features.verify_command import verify
from dvis.kinds.features.visualize_command import visualize_command
from dvis.kinds.llc.command import llc
from dvis.kinds.responses.command import respond
from dvis.kinds.responses.read import response_names
from dvis.opening import contents
from dvis.report import count_units, describe_llc, list_problems, render_counts
from dvis.schema import counted

# Problems that are printed; `dvis info` lists them all.
_MAX_PRINTED = 20
_INTERRUPTED = 130


def ingest(
    path: Positional[Path],
    *,
    store: Path | None = None,
    model: str | None = None,
    codec: Literal["jpeg", "raw"] | None = None,
    workers: int | None = None,
    batches_per_epoch: int | None = None,
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
        Batches in an epoch, for the training step of checkpoints (default: from their times).
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
        overwrite=overwrite,
        progress=True,
    )
    n_problems = 0
    for report in reports:
        print_import(report)
        n_problems += _print_store(report.store)
        n_problems += report.n_kept
    return 1 if strict and n_problems else 0


def info(store: Positional[str], *, problems: bool = True) -> int:
    """What a store holds, and the problems that imports met.

    Parameters
    ----------
    store
        A store's folder or URL.
    problems
        List the problems.
    """
    found = contents(store)
    print(f"{store}: {found.attrs['model']}, made {found.attrs['created']}")
    for run in found.runs:
        batches = found.run_attrs.get(run, {}).get("batches_per_epoch")
        if batches:
            is_estimated = found.run_attrs[run].get("is_estimated")
            source = ", read off the checkpoints' times" if is_estimated else ""
            print(f"run {run}: {counted(batches, 'batch', 'batches')} in an epoch{source}")
    if found.features or not found.llc:
        _print_store(store, limit=None if problems else 0)
    for run in found.runs:
        for name in response_names(store, run):
            print(f"responses of {run}: {name}")
    for line in describe_llc(store):
        print(line)
    return 0


def check(store: Positional[Path], *, fix: bool = False) -> int:
    """Check a store: schema, labels, status against data, every image decodes. Exit 1 on faults.

    Feature images and responses alike.

    Parameters
    ----------
    store
        A store's folder.
    fix
        Mark units that cannot be trusted failed, so that they are made again.
    """
    faults = check_store(store, fix=fix, progress=True)
    for fault in faults:
        print(fault)
    n_units = sum(fault.unit is not None for fault in faults)
    marked = counted(n_units, "unit")
    fixed = f"; {marked} marked failed, to be made again by the next import or run"
    print(f"{store}: {counted(len(faults), 'fault')}{fixed if fix and n_units else ''}")
    return 1 if faults else 0


def export(store: Positional[Path], out: Positional[Path], *, overwrite: bool = False) -> int:
    """Write a store's jpg/json tree again: imported jpgs byte for byte, json equal in content.

    Parameters
    ----------
    store
        A store's folder.
    out
        The folder for the tree, such as feature_images; the model's name is added.
    overwrite
        Replace files there that differ.
    """
    report = export_tree(store, out, overwrite=overwrite, progress=True)
    files = f"{counted(report.n_images, 'jpg file')}, {counted(report.n_infos, 'info.json file')}"
    print(f"{report.folder}: {files}", end="")
    print(f", {report.n_unchanged} of them there already" if report.n_unchanged else "")
    if report.n_encoded:
        print(f"{counted(report.n_encoded, 'jpg')} made of raw pixels, at quality 95")
    for name in report.responses:
        print(f"responses are not part of the tree: {name}")
    for fault in report.faults:
        print(f"left out: {fault}")
    return 1 if report.faults else 0


def compact(store: Positional[Path]) -> int:
    """Bring a store whose sweeps are finished into the read layout.

    Parameters
    ----------
    store
        A store's folder.
    """
    n_groups = compact_store(store, progress=True)
    print(
        f"{store}: {counted(n_groups, 'group')} rewritten"
        if n_groups
        else f"{store}: is compact already"
    )
    return 0


def _print_store(store: str | Path, limit: int | None = _MAX_PRINTED) -> int:
    """Print a store's table and problems; return how many problems it has."""
    print(render_counts(count_units(store)))
    problems = list_problems(store)
    if problems:
        print(counted(len(problems), "problem") + (":" if limit != 0 else ""))
    for problem in problems[:limit]:
        print(f"  {problem}")
    if limit and len(problems) > limit:
        print(f"  ... and {len(problems) - limit} more: dvis info {store}")
    return len(problems)


COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "ingest": ingest,
    "info": info,
    "check": check,
    "respond": respond,
    "llc": llc,
    "verify": verify,
    "export": export,
    "compact": compact,
    "plot": plot,
    "view": view,
    "page": page,
}


def commands_for(arguments: list[str] | None) -> dict[str, Callable[..., int]]:
    """The subcommands; the defaults of `visualize` are those of the preset that is asked for."""
    given = sys.argv[1:] if arguments is None else arguments
    own = given[1:] if given[:1] == ["visualize"] else []
    return {**COMMANDS, "visualize": visualize_command(own)}


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code."""
    sys.exit(
        _run(
            lambda: tyro.extras.subcommand_cli_from_dict(
                commands_for(arguments),
                prog="dvis",
                description="How a vision model learns: its feature images over training.",
                args=arguments,
            )
        )
    )


def main_of(command: str) -> None:
    """Run one command with the arguments of the process: what the files in scripts/ do."""
    sys.exit(_run(lambda: tyro.cli(commands_for([command, *sys.argv[1:]])[command])))


def _run(command: Callable[[], int]) -> int:
    """Exit code of a command; a user's mistake is one line, not a traceback."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return command()
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, KeyError, ImportError) as err:
        if os.environ.get("DVIS_DEBUG"):
            raise
        text = err.args[0] if isinstance(err, KeyError) and err.args else err
        if isinstance(err, DiskFullError):
            text = f"{err.filename}: {err.strerror}"
        print(f"dvis: {text}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    main()
