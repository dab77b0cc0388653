"""How every command reads its arguments: what its help shows, and what it says of a wrong one.

What is set here holds for every option of every command, so that none has to say it for itself.
"""

import inspect
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial, reduce, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
    UnsupportedTypeAnnotationError,
)

from dvis.schema import did_you_mean

Subcommand = Callable[..., int]

_CONFIG = (tyro.conf.PositionalMetavarFromFieldName,)
_EMPTY = ("", "None")
# Lines of help begin with a border, or a space where a terminal draws none.
_INVOCATION = re.compile(r"^[^\w-] (-{1,2}\w.*?)(?: {2,}|.?$)")
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")
_SUBCOMMAND = re.compile(r"^\W +[•*] (\S+)")
_PLACED = re.compile(r"^[^\w-] \[?([A-Z][A-Z0-9_-]*)\b")
_HEADING = re.compile(r"^(?:╭─)? ([a-z][a-z ]*[a-z])\W*$")
_WRONG = 2  # exit code of tyro for arguments that it cannot read


@dataclass(frozen=True)
class Offered:
    """What a command takes, as its help lists it.

    Attributes
    ----------
    options : tuple of str
        As they are given: ``--max-images``, ``--no-overwrite``.
    placed : tuple of str
        Names of what is given by its place, in order: ``store``, ``out``.
    subcommands : tuple of str
        Words that one of has to follow.
    """

    options: tuple[str, ...]
    placed: tuple[str, ...]
    subcommands: tuple[str, ...]


def read_command(
    commands: Mapping[str, Subcommand], arguments: Sequence[str], *, prog: str, description: str
) -> int:
    """Run the command that arguments name, and return its exit code.

    Raises
    ------
    ValueError
        When there is no such command, or it has no such option: with the nearest that it has.
    SystemExit
        After help, or after arguments that miss something or cannot be read.
    """
    read = partial(
        tyro.extras.subcommand_cli_from_dict,
        {name: _with_plain_defaults(made) for name, made in commands.items()},
        prog=prog,
        description=description,
        config=_CONFIG,
        registry=_REGISTRY,
    )
    return _read(read, arguments, prog)


def read_one(command: Subcommand, arguments: Sequence[str], *, prog: str) -> int:
    """Run one command with arguments; all else as `read_command`."""
    return _read(_reader(command, prog), arguments, prog)


def offered(command: Callable[..., Any], path: Sequence[str] = ()) -> Offered:
    """What a command takes, or one of its subcommands, to which a path of words leads."""
    return _offered(_reader(command, "dvis"), path)


def values_of(
    command: Callable[..., Any], arguments: Sequence[str], *, prog: str
) -> Mapping[str, Any]:
    """What a command would be called with, by the names of its parameters; it is not called.

    Raises
    ------
    SystemExit
        After arguments that miss something or cannot be read, of which standard error tells.
    """

    @wraps(command)
    def named(**values: Any) -> Mapping[str, Any]:
        return values

    read: Mapping[str, Any] = _reader(named, prog)(args=list(arguments))
    return read


def _reader(command: Callable[..., Any], prog: str) -> Callable[..., Any]:
    plain = _with_plain_defaults(command)
    return partial(tyro.cli, plain, prog=prog, config=_CONFIG, registry=_REGISTRY)


def _read(read: Callable[..., int], arguments: Sequence[str], prog: str) -> int:
    given = list(arguments)
    if {"-h", "--help"} & {*given}:
        return read(args=given)
    try:
        return read(args=given, console_outputs=False)
    except SystemExit as ended:
        if ended.code != _WRONG:
            raise
    _refuse_unknown(read, given, prog)
    return read(args=given)


def _refuse_unknown(read: Callable[..., int], arguments: Sequence[str], prog: str) -> None:
    """Raise where a command or an option is given that is not there."""
    path: list[str] = []
    there = _offered(read, path)
    while there.subcommands and len(path) < len(arguments) and arguments[len(path)][:1] != "-":
        asked, where = arguments[len(path)], " ".join([prog, *path])
        if asked not in there.subcommands:
            raise ValueError(did_you_mean("command", asked, there.subcommands, where))
        path.append(asked)
        there = _offered(read, path)
    known = {option.replace("_", "-") for option in there.options}
    for argument in arguments[len(path) :]:
        asked = argument.partition("=")[0]
        if asked.startswith("--") and len(asked) > 2 and asked.replace("_", "-") not in known:
            where = " ".join([prog, *path])
            wrong = did_you_mean("option", asked, there.options, where)
            raise ValueError(f"{wrong} All of them: {where} --help")


def _offered(read: Callable[..., Any], path: Sequence[str]) -> Offered:
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(io.StringIO()), suppress(SystemExit):
        read(args=[*path, "--help"])
    options: list[str] = []
    placed: list[str] = []
    subcommands: list[str] = []
    heading = ""
    for line in text.getvalue().splitlines():
        if found := _HEADING.match(line):
            heading = found[1]
        elif found := _SUBCOMMAND.match(line):
            subcommands.append(found[1])
        elif found := _INVOCATION.match(line):
            options += _OPTION.findall(found[1])
        elif heading == "positional arguments" and (found := _PLACED.match(line)):
            placed.append(found[1].lower().replace("-", "_"))
    options = [option for option in options if option not in ("-h", "--help")]
    return Offered(tuple(options), tuple(placed), tuple(subcommands))


def _shown_default(label: str) -> str:
    """What help says of a default: nothing where there is none, its text says what happens then."""
    return "" if label in _EMPTY else f"(default: {label})"


_PLAIN_DEFAULT = tyro.conf.arg(help_behavior_hint=_shown_default)


def _with_plain_defaults(command: Subcommand) -> Subcommand:
    """The same command, whose own parameters show defaults as its options do."""

    def plain(*arguments: Any, **named: Any) -> int:
        return command(*arguments, **named)

    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    annotated = {
        name: Annotated[hints[name], _PLAIN_DEFAULT]
        if parameter.default is not inspect.Parameter.empty
        else hints[name]
        for name, parameter in signature.parameters.items()
    }
    parameters = [each.replace(annotation=annotated[each.name]) for each in _of(signature)]
    plain.__name__, plain.__doc__ = command.__name__, command.__doc__
    plain.__annotations__ = {**annotated, "return": int}
    plain.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return plain


def _of(signature: inspect.Signature) -> list[inspect.Parameter]:
    return list(signature.parameters.values())


_REGISTRY = ConstructorRegistry()
_resolving: list[Any] = []  # what is being asked of the other rules


@_REGISTRY.primitive_rule
def _without_none(
    info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """Read an option that may be None as one that may not: None is what is not given."""
    if get_origin(info.type) not in (Union, UnionType) or NoneType not in get_args(info.type):
        return None
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    joined = reduce(lambda one, other: one | other, kinds)
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(joined, info.markers))
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec
    of_value = spec

    def read(given: list[str]) -> Any:
        return None if given == ["None"] else of_value.instance_from_str(given)

    return replace(
        of_value,
        instance_from_str=read,
        is_instance=lambda value: value is None or of_value.is_instance(value),
        str_from_instance=lambda value: [] if value is None else of_value.str_from_instance(value),
    )


@_REGISTRY.struct_rule
def _plain_fields(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Fields of options as tyro takes them, with defaults shown plainly."""
    if not isinstance(info.type, type) or info.type in _resolving:
        return None
    _resolving.append(info.type)
    try:
        spec = ConstructorRegistry.get_struct_spec(info)
    finally:
        _resolving.pop()
    if not isinstance(spec, StructConstructorSpec):
        return None
    return replace(spec, fields=tuple(map(_plain_field, spec.fields)))


def _plain_field(field: StructFieldSpec) -> StructFieldSpec:
    annotated: Any = Annotated[field.type, _PLAIN_DEFAULT]
    return replace(field, type=annotated)
