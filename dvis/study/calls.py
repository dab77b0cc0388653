"""Steps of a study as calls of dvis's own commands, all of them checked before one is run."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeAlias

from dvis.command_line import Offered, offered, values_of
from dvis.schema import did_you_mean
from dvis.study.study_file import Step, StudyError, StudyFile, at

Commands: TypeAlias = Callable[[Sequence[str]], Mapping[str, Callable[..., int]]]

# What a study does not do: it would hold it up, or begin another.
_NOT_STEPS = ("study", "view", "train", "forget")
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
    steps = [step for step in study.steps if _unknown(commands, step.command) is None]
    known = {"store", *(name for step in steps for name in _names(commands, step))}
    wrong += [
        at(study.path, study.lines[name], did_you_mean("option", name, sorted(known), "no step"))
        for name in study.shared
        if name not in known
    ]
    if wrong:
        raise StudyError("\n".join(wrong))
    return calls


def _call(study: StudyFile, commands: Commands, number: int, step: Step) -> Call:
    if unknown := _unknown(commands, step.command):
        raise StudyError(at(study.path, step.line, unknown))
    there = _names(commands, step)
    for name in step.options:
        if name not in there:
            said = did_you_mean("option", name, sorted(there), step.command)
            raise StudyError(at(study.path, step.lines[name], said))
    given = {name: value for name, value in study.shared.items() if name in there}
    given |= step.options
    words = [*_words(given, _offered(commands, step.command))]
    first, *rest = step.command.split()
    function = commands([first, *rest, *words])[first]
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), redirect_stdout(printed):
            arguments = values_of(function, [*rest, *words], prog=f"dvis {first}")
    except SystemExit:
        text = " ".join(_RULE.sub(" ", printed.getvalue()).split())
        text = text.split(" Argument helptext")[0].split(" For full helptext")[0]
        where = next((step.lines[name] for name in step.lines if _flag(name) in text), step.line)
        raise StudyError(at(study.path, where, f"{step.command}: {text}")) from None
    except (OSError, ValueError, KeyError) as err:
        text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
        raise StudyError(at(study.path, step.line, f"{step.command}: {text}")) from err
    return Call(number=number, step=step, function=function, arguments=arguments)


def _words(given: Mapping[str, Any], there: Offered) -> Iterator[str]:
    """Options as a shell would give them."""
    for name in there.placed:
        value = given.get(name)
        if value is None:  # what follows would take its place
            break
        yield from map(str, value) if isinstance(value, list) else (str(value),)
    for name, value in given.items():
        flag = _flag(name)
        if value is None or flag not in there.options:
            continue
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif isinstance(value, list):
            yield from (flag, *map(str, value))
        else:
            yield from (flag, str(value))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _names(commands: Commands, step: Step) -> set[str]:
    """What a step may be given, by the names that it has in a study's file."""
    there = _offered(commands, step.command)
    options = {option[2:] for option in there.options if not option.startswith("--no-")}
    return {*(option.replace("-", "_") for option in options), *there.placed}


@cache
def _offered(commands: Commands, command: str) -> Offered:
    first, *rest = command.split()
    return offered(commands([first, *rest, "--help"])[first], rest)


def _unknown(commands: Commands, command: str) -> str | None:
    """What is wrong with a step's command: None where there is one."""
    first, *rest = command.split() or [""]
    known = [each for each in commands([]) if each not in _NOT_STEPS]
    if first not in known:
        return did_you_mean("step", command, known, "dvis")
    below = _offered(commands, first).subcommands
    if below and rest not in [[each] for each in below]:
        return did_you_mean("step", command, [f"{first} {each}" for each in below], f"dvis {first}")
    return None
