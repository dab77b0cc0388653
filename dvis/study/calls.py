"""Steps of a study as calls of dvis's own commands, all of them checked before one is run."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, wraps
from typing import Any, TypeAlias

import tyro

from dvis.schema import did_you_mean
from dvis.study.study_file import Step, StudyError, StudyFile, at

Commands: TypeAlias = Callable[[Sequence[str]], Mapping[str, Callable[..., int]]]

# What a study does not do: it would hold it up, or begin another.
_NOT_STEPS = ("study", "view", "train", "forget")
# What commands take by its place, in the order in which they take it.
_PLACED = ("kind", "source", "store", "folder", "out")
_SECOND = ("folder", "out")  # two names of where something is written
_OPTION = re.compile(r"--([a-z0-9][a-z0-9-]*)")
_RULE = re.compile(r"[^\w\s]*[─│╭╮╰╯-]{2,}[^\w\s]*|[│╭╮╰╯]")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command with the options that it will be given.

    Attributes
    ----------
    number : int
        Which step it is, from 1.
    step : Step
        Where it stands in the study's file.
    function : callable
        The command; returns its exit code.
    arguments : mapping of str to object
        What it is called with.
    """

    number: int
    step: Step
    function: Callable[..., int]
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the step is called in tables and in the log."""
        told = self.step.options.get("name")
        return f"{self.step.command} {told}" if isinstance(told, str) else self.step.command

    @property
    def options(self) -> Any:
        """The command's options where they are one object, else None."""
        given = next((each for each in self.arguments.values() if is_dataclass(each)), None)
        return given if given is None or hasattr(given, "store") else _inner(given)

    def __call__(self) -> int:
        """Run the command."""
        return self.function(**self.arguments)

    def with_options(self, **changed: Any) -> "Call":
        """The same call with other options."""
        changes = {
            name: _changed(value, changed) if is_dataclass(value) else value
            for name, value in self.arguments.items()
        }
        return replace(self, arguments=changes)


def _inner(options: Any) -> Any:
    """Options within options: those that a store is one of."""
    inner = (getattr(options, field.name) for field in fields(options))
    return next((each for each in inner if hasattr(each, "store")), None)


def _changed(options: Any, changed: Mapping[str, Any]) -> Any:
    if hasattr(options, "store"):
        return replace(options, **changed)
    within = {f.name: getattr(options, f.name) for f in fields(options)}
    inner = {n: replace(v, **changed) for n, v in within.items() if hasattr(v, "store")}
    return replace(options, **inner)


def calls_of(study: StudyFile, commands: Commands) -> list[Call]:
    """The calls that a study is made of, in their order.

    Parameters
    ----------
    study : StudyFile
        What its file says.
    commands : callable
        The commands that there are, made of arguments: `dvis.cli.commands_for`.

    Raises
    ------
    StudyError
        With all that is wrong in the file, a line each.
    """
    wrong: list[str] = []
    calls: list[Call] = []
    for number, step in enumerate(study.steps, 1):
        try:
            calls.append(_call(study, commands, number, step))
        except StudyError as err:
            wrong.append(str(err))
    steps = [step for step in study.steps if _is_command(commands, step.command)]
    known = {*_PLACED, *(name for step in steps for name in _names(commands, step))}
    wrong += [
        at(study.path, study.lines[name], did_you_mean("option", name, sorted(known), "no step"))
        for name in study.shared
        if name not in known
    ]
    if wrong:
        raise StudyError("\n".join(wrong))
    return calls


def _call(study: StudyFile, commands: Commands, number: int, step: Step) -> Call:
    if not _is_command(commands, step.command):
        known = [each for each in commands([]) if each not in _NOT_STEPS]
        said = did_you_mean("step", step.command, known, "dvis")
        raise StudyError(at(study.path, step.line, said))
    there = _names(commands, step)
    for name in step.options:
        if name not in there:
            said = did_you_mean("option", name, sorted(there), step.command)
            raise StudyError(at(study.path, step.lines[name], said))
    given = {name: value for name, value in study.shared.items() if name in there}
    given |= step.options
    words = [*_words(given, *_taken(commands, step.command))]
    first, *rest = step.command.split()
    function = commands([first, *rest, *words])[first]
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), redirect_stdout(printed):
            arguments = tyro.cli(_capturing(function), args=[*rest, *words], prog=f"dvis {first}")
    except SystemExit:
        text = " ".join(_RULE.sub(" ", printed.getvalue()).split())
        text = text.split(" Argument helptext")[0].split(" For full helptext")[0]
        where = next((step.lines[name] for name in step.lines if _flag(name) in text), step.line)
        raise StudyError(at(study.path, where, f"{step.command}: {text}")) from None
    except (OSError, ValueError, KeyError) as err:
        text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
        raise StudyError(at(study.path, step.line, f"{step.command}: {text}")) from err
    return Call(number=number, step=step, function=function, arguments=arguments)


def _words(
    given: Mapping[str, Any], options: frozenset[str], placed: tuple[str, ...]
) -> Iterator[str]:
    """Options as a shell would give them."""
    for name in _PLACED:
        if name in placed and given.get(name) is not None:
            yield str(given[name])
    for name, value in given.items():
        if value is None or name not in options:
            continue
        flag = _flag(name)
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif isinstance(value, list):
            yield from (flag, *map(str, value))
        else:
            yield from (flag, str(value))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _names(commands: Commands, step: Step) -> set[str]:
    options, placed = _taken(commands, step.command)
    return {*options, *placed}


@cache
def _taken(commands: Commands, command: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Options of a command by their names, and what it takes by place, as its help has them."""
    first, *rest = command.split()
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown), suppress(SystemExit):
        arguments = [*rest, "--help"]
        function = commands([first, *arguments])[first]
        tyro.cli(_capturing(function), args=arguments, prog="dvis")
    options = {
        name.replace("-", "_")
        for line in shown.getvalue().splitlines()
        if line.strip(" │").startswith("-")
        for name in _OPTION.findall(line)
    }
    options = {name for name in options if not name.startswith("no_")} - {"help"}
    _, has_placed, section = shown.getvalue().partition("positional arguments")
    n_placed = 0
    if has_placed:
        section = section.split(" options ")[0]
        n_placed = sum(bool(re.match(r"[│ ]{1,4}\[?[A-Z]{2,}\b", x)) for x in section.splitlines())
    free = [name for name in _PLACED if name not in options]
    return frozenset(options), _placed(command, n_placed, free)


def _placed(command: str, n_placed: int, free: list[str]) -> tuple[str, ...]:
    """What a command takes by place: a picture and its store; a store; a store and a folder."""
    if n_placed == 0:
        return ()
    if command == "plot":
        return ("kind", "source")
    return ("store", *(name for name in _SECOND if name in free)) if n_placed > 1 else ("store",)


def _capturing(function: Callable[..., int]) -> Callable[..., Mapping[str, Any]]:
    """What a command would be called with."""

    @wraps(function)
    def capture(**arguments: Any) -> Mapping[str, Any]:
        return arguments

    return capture


def _is_command(commands: Commands, command: str) -> bool:
    first = command.split()[:1]
    return bool(first) and first[0] in commands([]) and first[0] not in _NOT_STEPS
