"""The command `study` and its subcommands: init, plan, run."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional

from dvis.models.input_options import InputOptions
from dvis.models.option_numbers import at_least, bounded, bytes_of
from dvis.models.torch_guard import needing_torch
from dvis.study.calls import Call, Commands, calls_of
from dvis.study.study_file import read_study


@dataclass(frozen=True, kw_only=True)
class InitOptions(InputOptions):
    """Write a study's file, with a step for each kind of measurement that the model allows.

    Parameters
    ----------
    model
        Name of a torchvision classification model, timm:NAME, open_clip:NAME (its visual tower), or
        package.module:function of a factory.
    checkpoint_path
        Checkpoint files, or folders of them.
    dataset
        A labelled image set, as `dvis respond` takes it; without one, steps that need it are left
        out.
    data_path
        Where the set lies.
    layers
        Layers to look at (default: some of the model's outermost blocks).
    store
        Where everything goes (default: stores/MODEL.zarr).
    out
        The file.
    overwrite
        Replace the file.
    """

    model: str
    checkpoint_path: tuple[Path, ...]
    dataset: str | None = None
    data_path: Path | None = None
    layers: tuple[str, ...] = ()
    store: Path | None = None
    out: Path = Path("study.yaml")
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Tell what a study would make: parts, bytes and time. Nothing is written.

    Each step is tried for some seconds on one checkpoint, in a temporary store.

    Parameters
    ----------
    file
        The study's file.
    budget
        Bytes that it may add, such as 50GB; steps beyond are marked.
    seconds
        How long each step is tried; a task that was begun is done.
    """

    file: Positional[Path]
    budget: str | None = None
    seconds: float = 10.0

    def __post_init__(self) -> None:
        """Raise a ValueError where no step can be tried for so long."""
        bounded(self)
        at_least("seconds", self.seconds, 0.0)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Carry out a study: everything that is missing, step by step. Run again, it goes on.

    A step that fails does not stop those that do not need it.

    Parameters
    ----------
    file
        The study's file.
    log
        Where everything that steps say is kept (default: beside the file, with the ending .log).
    """

    file: Positional[Path]
    log: Path | None = None


Command = (
    Annotated[InitOptions, tyro.conf.subcommand("init")]
    | Annotated[PlanOptions, tyro.conf.subcommand("plan")]
    | Annotated[RunOptions, tyro.conf.subcommand("run")]
)


def study_with(commands: Commands) -> Callable[..., int]:
    """The command, whose steps are the others: `commands` makes these of arguments."""

    def study(command: Annotated[OmitSubcommandPrefixes[Command], tyro.conf.arg(name="")]) -> int:
        """Study a run as a whole: write a file of steps, plan them, carry them out.

        Parameters
        ----------
        command
            What to do.
        """
        if isinstance(command, InitOptions):
            return _init(command)
        calls = calls_of(read_study(command.file), commands)
        if isinstance(command, PlanOptions):
            return _plan(command, calls)
        return _run(command, calls)

    return study


def _plan(options: PlanOptions, calls: Sequence[Call]) -> int:
    with needing_torch("study"):
        from dvis.study.planning import plan_study

    budget = None if options.budget is None else bytes_of(options.budget)
    for line in plan_study(calls, seconds=options.seconds, progress=True).lines(budget):
        print(line)
    return 0


def _run(options: RunOptions, calls: Sequence[Call]) -> int:
    with needing_torch("study"):
        from dvis.study.planning import store_of_study
        from dvis.study.running import run_study

    log = options.log or options.file.with_suffix(".log")
    return run_study(calls, store_of_study(calls), log, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)
    sys.stderr.flush()


def _init(options: InitOptions) -> int:
    if options.out.exists() and not options.overwrite:
        raise FileExistsError(
            f"{options.out} is there; give another --out, or --overwrite to replace it"
        )
    with needing_torch("study"):
        from dvis.models.checkpoints import find_checkpoints
        from dvis.models.layer_table import layer_table
        from dvis.study.beginning import Beginning, evenly_chosen

    first = find_checkpoints(options.checkpoint_path)[0].path
    names = [str(name) for name in layer_table(options.model, first, options).index]
    unknown = [layer for layer in options.layers if layer not in names]
    if unknown:
        raise KeyError(f"{options.model} has no layer {unknown[0]!r}; `dvis layers` lists them")
    called = options.model.rpartition(":")[2]
    beginning = Beginning(
        model=options.model,
        checkpoint_path=options.checkpoint_path,
        layers=options.layers or evenly_chosen(names),
        store=options.store or Path("stores") / f"{called}.zarr",
        dataset=options.dataset,
        data_path=options.data_path,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(beginning.text(options.out), encoding="utf-8")
    print(f"{options.out}; next: dvis study plan {options.out}")
    return 0
