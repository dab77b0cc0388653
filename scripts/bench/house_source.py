"""What source files say without being run: their imports, the kinds that they name, their lengths.

For `house.py`; a checkout's folder in, plain records out.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

PACKAGE = "dvis"
ASSETS = (".js", ".css", ".html", ".j2")
# Attributes of other libraries' objects: torch.nn.Linear and BatchNorm call their widths so.
FOREIGN = frozenset({"in_features", "out_features", "num_features", "feature"})
# Kinds called by a word of the field that every kind needs; an import of their folder names them.
SHARED_WORDS = frozenset({"activations", "attributes", "edges", "probes", "sizes"})
# Alone words of another use: what the fingerprint of an image set with large files covers, and what
# an evaluation of autoencoders may have.
OTHER_TEXTS = frozenset({"attributes", "probes", "sizes"})

_JS_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)
    |(?P<name>[A-Za-z_$][\w$]*)""",
    re.VERBOSE | re.DOTALL,
)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NAME = re.compile(r"[A-Za-z_][\w]*")
_OBJECT = re.compile(r"[A-Za-z_]\w*(\.\w+)+(:\w+)?")

ImportNode = ast.Import | ast.ImportFrom | ast.Constant


class When(StrEnum):
    """When an import happens."""

    TOP = "at the top"
    CALL = "in a function"
    TYPES = "for types only"


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import of a module of the package, or of `scripts`."""

    importer: str  # dotted module
    target: str
    path: str
    line: int
    when: When


@dataclass(frozen=True, kw_only=True)
class Source:
    """A Python file of the package."""

    path: str  # below the checkout
    module: str  # dotted
    n_lines: int
    tree: ast.Module

    @property
    def is_folder(self) -> bool:
        """Whether the module is a folder's `__init__`."""
        return self.path.endswith("/__init__.py")


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file of the page that is not Python."""

    path: str
    text: str

    @property
    def n_lines(self) -> int:
        """Lines of the file."""
        return len(self.text.splitlines())


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A place where a file names a kind."""

    kind: str
    line: int
    text: str


def read_sources(root: Path) -> list[Source]:
    """Python files of the package in a checkout, by path."""
    if not (root / PACKAGE).is_dir():
        there = ", ".join(sorted(path.name for path in root.glob("*"))[:10]) or "nothing"
        raise FileNotFoundError(
            f"No {PACKAGE}/ in {root}: there is {there}. Give the root of a checkout."
        )
    return [_read(path, root) for path in sorted((root / PACKAGE).rglob("*.py"))]


def read_scripts(root: Path) -> list[Source]:
    """Python files of `scripts/`, which stand above the package, by path."""
    return [_read(path, root) for path in sorted((root / "scripts").rglob("*.py"))]


def read_assets(root: Path) -> list[Asset]:
    """Scripts, styles and html of the page, by path."""
    return [
        Asset(path=path.relative_to(root).as_posix(), text=path.read_text())
        for path in sorted((root / PACKAGE).rglob("*"))
        if path.suffix in ASSETS
    ]


def find_kinds(root: Path) -> list[str]:
    """Names of the kinds: the folders of modules below `kinds/`."""
    return sorted(path.parent.name for path in (root / PACKAGE / "kinds").glob("*/__init__.py"))


def imports_of(source: Source, modules: frozenset[str]) -> Iterator[Import]:
    """Imports of modules of the package; a module named by a string counts as one in a function."""
    for node, when in _with_when(source.tree, When.TOP):
        # Several names of one module are one import.
        for target in dict.fromkeys(_targets(node, source, modules)):
            if target.split(".")[0] in (PACKAGE, "scripts"):
                yield Import(
                    importer=source.module,
                    target=target,
                    path=source.path,
                    line=node.lineno,
                    when=When.CALL if isinstance(node, ast.Constant) else when,
                )


def mentions_in_source(source: Source, kinds: list[str]) -> list[Mention]:
    """Where a Python file names kinds: in its own name, by import, string or identifier."""
    foreign = FOREIGN | _names_from_elsewhere(source.tree)
    named = [kind for kind in kinds if kind not in SHARED_WORDS]
    found = set(_mentions(Path(source.path).stem, named, 1))
    prose = {id(node.value) for node in ast.walk(source.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(source.tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant):
            is_text = isinstance(node.value, str) and node.value not in OTHER_TEXTS
            if is_text and id(node) not in prose:
                text = node.value
                found |= {_mention(kind, line, text) for kind in kinds if _is(kind, text)}
        elif not _is_foreign_import(node):
            for name in _identifiers(node):
                if name not in foreign:
                    found |= set(_mentions(name, named, line))
        if isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            shared = SHARED_WORDS.intersection(kinds)
            found |= {_mention(kind, line, origin) for kind in shared if _is_below(origin, kind)}
    return sorted(found, key=lambda mention: (mention.line, mention.text))


def mentions_in_script(asset: Asset, kinds: list[str]) -> list[Mention]:
    """Where a JavaScript file names kinds: in any identifier or string."""
    named = [kind for kind in kinds if kind not in SHARED_WORDS]
    found = set()
    for token in _JS_TOKEN.finditer(asset.text):
        line = asset.text.count("\n", 0, token.start()) + 1
        for name in _NAME.findall(token["text"] or token["name"] or ""):
            found |= set(_mentions(name, named, line))
    return sorted(found, key=lambda mention: (mention.line, mention.text))


def by_kind(mentions: list[Mention]) -> Mapping[str, list[Mention]]:
    """Mentions below the kinds that they name."""
    kinds = sorted({mention.kind for mention in mentions})
    return {kind: [m for m in mentions if m.kind == kind] for kind in kinds}


def function_lengths(source: Source) -> Iterator[tuple[str, int, int]]:
    """Name, line and length of each function's body, docstring left out, blank lines counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            first = min(map(_first_line, body), default=0)
            yield node.name, node.lineno, (node.end_lineno or 0) - first + 1 if body else 0


def _read(path: Path, root: Path) -> Source:
    relative = path.relative_to(root)
    parts = relative.with_suffix("").parts
    text = path.read_text()
    return Source(
        path=relative.as_posix(),
        module=".".join(parts[:-1] if parts[-1] == "__init__" else parts),
        n_lines=len(text.splitlines()),
        tree=ast.parse(text, filename=str(path)),
    )


def _with_when(node: ast.AST, when: When) -> Iterator[tuple[ImportNode, When]]:
    """Imports and constants below a node, prose left out, and when each is reached."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Constant):
        yield node, when
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.body:
            yield from _with_when(statement, When.TYPES)
        for statement in node.orelse:
            yield from _with_when(statement, when)
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from _with_when(child, When.CALL if is_function and when is When.TOP else when)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _targets(node: ImportNode, source: Source, modules: frozenset[str]) -> Iterator[str]:
    """Modules that a statement imports, or that a string names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = _origin(node, source)
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            yield inner if inner in modules else origin
    elif isinstance(node.value, str):
        parts = node.value.partition(":")[0].split(".")
        if parts[0] == PACKAGE and _OBJECT.fullmatch(node.value):
            prefixes = (".".join(parts[:n]) for n in range(len(parts), 1, -1))
            yield from [prefix for prefix in prefixes if prefix in modules][:1]


def _origin(node: ast.ImportFrom, source: Source) -> str:
    """The dotted module after `from`, absolute."""
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    above = parts[: len(parts) - node.level + source.is_folder]
    return ".".join([*above, *([node.module] if node.module else [])])


def _is_foreign_import(node: ast.AST) -> bool:
    """Whether a node imports from another library; its aliases' names are found foreign too."""
    return (
        isinstance(node, ast.ImportFrom)
        and not node.level
        and (node.module or "").split(".")[0] != PACKAGE
    )


def _names_from_elsewhere(tree: ast.Module) -> frozenset[str]:
    """Names that imports of other libraries bind."""
    return frozenset(
        name
        for node in ast.walk(tree)
        if _is_foreign_import(node)
        for alias in getattr(node, "names", [])
        for name in (alias.name, alias.asname)
        if name
    )


def _identifiers(node: ast.AST) -> Iterator[str]:
    """Names that a node spells out, the parts of dotted ones apart."""
    for field, value in ast.iter_fields(node):
        if field != "type_comment":
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    yield from text.split(".")


def _mentions(name: str, kinds: list[str], line: int) -> Iterator[Mention]:
    """Kinds whose word is a whole part of an identifier, in snake case or camel case."""
    parts = f"_{'_'.join(_PART.findall(name)).lower()}_"
    for kind in kinds:
        if any(f"_{word}_" in parts for word in {kind, kind.removesuffix("s"), f"{kind}s"}):
            yield _mention(kind, line, name)


def _is(kind: str, text: str) -> bool:
    """Whether a string is a kind's name or has the place of its folder in it."""
    return text == kind or re.search(rf"\bkinds[./]{re.escape(kind)}\b", text) is not None


def _is_below(module: str, kind: str) -> bool:
    return f".kinds.{kind}." in f"{module}."


def _mention(kind: str, line: int, text: str) -> Mention:
    return Mention(kind=kind, line=line, text=text)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
