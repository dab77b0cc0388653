"""A study's file: YAML in, steps with the lines that they stand in out. Nothing in it is run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

STEPS = "steps"


class StudyError(ValueError):
    """What is wrong in a study's file, with its line."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command of dvis with its options.

    Attributes
    ----------
    command : str
        The command, and its subcommand where it has some: `sae train`.
    options : mapping of str to object
        Its options by their names, without dashes in front; None leaves one as it is by default.
    line : int
        Where in the file it stands.
    lines : mapping of str to int
        Where each option stands.
    """

    command: str
    options: Mapping[str, Any]
    line: int
    lines: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """What a study's file says.

    Attributes
    ----------
    path : Path
        The file.
    shared : mapping of str to object
        Options of every step that has them.
    lines : mapping of str to int
        Where each of these stands.
    steps : sequence of Step
        The steps, in their order.
    """

    path: Path
    shared: Mapping[str, Any]
    lines: Mapping[str, int]
    steps: tuple[Step, ...]


def read_study(path: Path) -> StudyFile:
    """What a study's file says.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    StudyError
        When it is no YAML, or not of the form of a study.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f"no study file {path}; `dvis study init --out {path}` writes one"
        ) from None
    except UnicodeDecodeError as err:
        raise StudyError(f"{path} is no text: {err}") from err
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as err:
        raise StudyError(f"{path} is no YAML: {' '.join(str(err).split())}") from err
    except RecursionError:
        raise StudyError(f"{path} is nested too deeply") from None
    if not isinstance(root, yaml.MappingNode):
        raise StudyError(f"{path} holds no `option: value` lines; `dvis study init` writes a file")
    shared: dict[str, Any] = {}
    lines: dict[str, int] = {}
    steps: tuple[Step, ...] = ()
    for name, line, node in _pairs(path, root):
        if name == STEPS:
            steps = tuple(_steps(path, node))
        else:
            shared[name], lines[name] = _value(path, node), line
    if not steps:
        raise StudyError(f"{path} has no steps; write `{STEPS}:` and below it `- visualize: ...`")
    return StudyFile(path=path, shared=shared, lines=lines, steps=steps)


def at(path: Path, line: int, message: str) -> str:
    """A message with its place in a file."""
    return f"{path}, line {line}: {message}"


def _steps(path: Path, node: yaml.Node) -> Iterator[Step]:
    if not isinstance(node, yaml.SequenceNode):
        raise StudyError(at(path, _line(node), "steps are a list: `- visualize:` and its options"))
    for each in node.value:
        line = _line(each)
        if isinstance(each, yaml.ScalarNode):  # a command without options
            yield Step(command=" ".join(each.value.split()), options={}, line=line, lines={})
            continue
        pairs = list(_pairs(path, each)) if isinstance(each, yaml.MappingNode) else []
        if len(pairs) != 1:
            raise StudyError(at(path, line, "a step is one command: `- visualize:` and options"))
        command, line, options = pairs[0]
        is_empty = isinstance(options, yaml.ScalarNode) and not options.value
        if not is_empty and not isinstance(options, yaml.MappingNode):
            raise StudyError(at(path, line, f"options of {command} are `option: value` lines"))
        found = [] if is_empty else list(_pairs(path, options))
        yield Step(
            command=" ".join(command.split()),
            options={name: _value(path, value) for name, _, value in found},
            line=line,
            lines={name: line for name, line, _ in found},
        )


def _pairs(path: Path, node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """Names, their lines, and what they are given."""
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise StudyError(at(path, _line(key), "an option's name is a word"))
        name = key.value.replace("-", "_")
        if name in seen:
            raise StudyError(at(path, _line(key), f"{name} is there twice"))
        seen.add(name)
        yield name, _line(key), value


def _value(path: Path, node: yaml.Node) -> Any:
    """A plain value, or a list of them: numbers as they are written."""
    if isinstance(node, yaml.SequenceNode):
        if any(not isinstance(each, yaml.ScalarNode) for each in node.value):
            raise StudyError(at(path, _line(node), "a list holds words and numbers alone"))
        return [_value(path, each) for each in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise StudyError(at(path, _line(node), "give a word, a number or a list of them"))
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return node.value.lower() in ("true", "yes", "on")
    return node.value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
