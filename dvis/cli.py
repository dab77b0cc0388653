"""The `dvis` command: its functions are the subcommands, their docstrings the help."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from dvis.command_line import read_command, read_one
from dvis.commands.kernels import kernels
from dvis.commands.layers import layers
from dvis.commands.notes import note, notes
from dvis.commands.page import page
from dvis.commands.plain_output import as_text, printing_plainly
from dvis.commands.plot import plot
from dvis.commands.report import report
from dvis.commands.store import check, forget, info, steps
from dvis.commands.study import study_with
from dvis.commands.training import train
from dvis.commands.view import view
from dvis.disk import DiskFullError
from dvis.kinds.kind import Command, plainly
from dvis.kinds.registry import KINDS
from dvis.models.torch_guard import telling_of_torch

_INTERRUPTED = 130
_DESCRIPTION = (
    "How a vision model learns: its feature images over training. "
    "dvis COMMAND --help tells the options of a command, dvis --version the version."
)


# Subcommands in the order of work: those that measure come between, kind by kind.
_FIRST = ("train", "layers", "study")
_READING = (
    *("info", "check", "steps", "forget", "compact", "note", "notes"),
    *("plot", "report", "page", "view", "export"),
)


def commands() -> dict[str, Command]:
    """The subcommands: of stores as a whole, and those of every kind of measurement."""
    of_runs = (train, layers, kernels)
    of_stores = (info, steps, check, forget, note, notes, plot, report, page, view)
    known = {made.__name__: plainly(made) for made in (*of_runs, *of_stores)}
    known["study"] = plainly(study_with(commands_for))
    for kind in KINDS.values():
        known |= kind.commands
    others = [name for name in known if name not in {*_FIRST, *_READING}]
    return {name: known[name] for name in (*_FIRST, *others, *_READING)}


def commands_for(arguments: Sequence[str] | None) -> dict[str, Callable[..., int]]:
    """The subcommands, made of the arguments after their names."""
    given = sys.argv[1:] if arguments is None else arguments
    return {
        name: printing_plainly(made(given[1:] if given[:1] == [name] else []))
        for name, made in commands().items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        print(f"dvis {version('dvis')}")
        sys.exit(0)
    sys.exit(
        _run(
            lambda: read_command(commands_for(given), given, prog="dvis", description=_DESCRIPTION)
        )
    )


def main_of(command: str) -> None:
    """Run one command with the arguments of the process: what the files in scripts/ do."""
    given = sys.argv[1:]
    made = commands_for([command, *given])[command]
    sys.exit(_run(lambda: read_one(made, given, prog=Path(sys.argv[0]).name)))


def _run(command: Callable[[], int]) -> int:
    """Exit code of a command; a user's mistake is one line, not a traceback."""
    warned = logging.StreamHandler()
    warned.setLevel(logging.WARNING)  # dask's loggers have a level of their own, and tell more
    warned.addFilter(_plain)
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[warned])
    try:
        with telling_of_torch():
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
        print(f"dvis: {as_text(str(text))}", file=sys.stderr)
        return 2
    except RuntimeError as err:
        if os.environ.get("DVIS_DEBUG") or "decompress" not in str(err):
            raise
        hint = "`dvis check` on the store names its array, `dvis check --fix` mends it"
        print(f"dvis: a chunk of an array is damaged: {as_text(str(err))}. {hint}", file=sys.stderr)
        return 2


def _plain(record: logging.LogRecord) -> bool:
    """Let a record through, as text alone."""
    record.msg, record.args = as_text(record.getMessage()), None
    return True


if __name__ == "__main__":
    main()
