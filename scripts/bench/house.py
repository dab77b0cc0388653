"""How the house is laid: circles and order of imports, kinds named elsewhere, lengths.

Reads the source of a checkout and runs none of it. Packages are the folders of `dvis/`, each module
at its root, and each kind's folder (and each module) below `dvis/kinds/`.

    python scripts/bench/house.py                       # the checkout that this file lies in
    python scripts/bench/house.py --against ../before   # two checkouts side by side
    python scripts/bench/house.py --check               # status 1 where a target is missed
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from house_source import (
    PACKAGE,
    Asset,
    Import,
    Mention,
    Source,
    When,
    by_kind,
    find_kinds,
    function_lengths,
    imports_of,
    mentions_in_script,
    mentions_in_source,
    read_assets,
    read_scripts,
    read_sources,
)
from results import Row, print_table

# The order, lowest floor first: a package imports from lower floors, and from others of its own
# floor only where WITHIN says so. "kinds.*" stands for the folder of every kind.
FLOORS = (
    ("schema", "names", "disk", "progress"),
    ("models", "store", "command_line"),
    ("sweep", "analysis", "plots"),
    ("kinds.parts", "kinds.picture", "kinds.methods", "kinds.shown", "kinds.told"),
    ("kinds.listed", "kinds.mapped", "kinds.told_births"),
    ("kinds.kind",),
    ("kinds.*",),
    ("kinds", "kinds.registry"),
    ("page", "reporting", "study", "check", "info", "opening", "kinds.forgetting"),
    ("measure", "accessor", "commands", "cli", "__init__"),
    ("scripts",),
)
WITHIN: Mapping[str, tuple[str, ...]] = {
    "names": ("schema",),
    "disk": ("schema", "names"),
    "plots": ("analysis",),
    "kinds.features": ("kinds.saes",),
    "kinds.responses": ("kinds.features",),
    "kinds.saes": ("kinds.activations",),
    "kinds.attributes": ("kinds.saes",),
    "kinds.probes": ("kinds.activations",),
    "kinds.influence": (
        "kinds.activations",
        "kinds.edges",
        "kinds.responses",
        "kinds.saes",
    ),
    "commands": ("measure",),
    "check": ("opening",),
    "info": ("opening",),
    "reporting": ("info", "opening"),
    "page": ("opening", "info"),
    "cli": ("commands",),
    "__init__": ("accessor", "measure"),
}
# Static tools need names spelled out here: help(), completion and mypy see what these files say.
DOORS = ("dvis/__init__.py", "dvis/accessor.py", "dvis/measure/")
REGISTRY = "dvis/kinds/registry.py"

MAX_ROOT_MODULES = 10
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measure of a house; `found` are the places that make it."""

    name: str
    value: int | None  # None where there is nothing to measure
    target: int | None = None
    found: Sequence[str] = ()

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is at its target; None without one."""
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target


class House:
    """A checkout's package, read and not run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources: list[Source] = read_sources(root)
        self.scripts: list[Source] = read_scripts(root)
        self.assets: list[Asset] = read_assets(root)
        self.kinds = find_kinds(root)

    @cached_property
    def imports(self) -> list[Import]:
        """All imports within the package."""
        return self._imports(self.sources)

    @cached_property
    def script_arrows(self) -> frozenset[str]:
        """Packages that scripts import from."""
        return frozenset(package_of(found.target) for found in self._imports(self.scripts))

    def _imports(self, sources: Sequence[Source]) -> list[Import]:
        modules = frozenset(source.module for source in self.sources)
        return [found for source in sources for found in imports_of(source, modules)]

    def graph(self, *when: When) -> Graph:
        """Packages, and those that each imports from."""
        arrows: dict[str, set[str]] = {package_of(source.module): set() for source in self.sources}
        for found in self.imports:
            importer, target = package_of(found.importer), package_of(found.target)
            if found.when in when and importer != target:
                arrows[importer].add(target)
                arrows.setdefault(target, set())
        return {package: frozenset(targets) for package, targets in arrows.items()}

    def floor(self, package: str) -> int | None:
        """Floor of a package; None where the order does not name it."""
        kind = package.removeprefix("kinds.")
        row = "kinds.*" if package != kind and kind in self.kinds else package
        return next((floor for floor, names in enumerate(FLOORS) if row in names), None)


def package_of(module: str) -> str:
    """Package of a dotted module: a folder, a module at the root, or what lies below `kinds/`."""
    first, *parts = module.split(".")
    if first != PACKAGE:
        return first
    return ".".join(parts[:2] if parts[:1] == ["kinds"] else parts[:1]) or "__init__"


def measure(root: Path) -> list[Figure]:
    """All figures of a checkout, in the order in which they are printed."""
    house = House(root)
    return [*_graph_figures(house), *_order_figures(house), *_name_figures(house), *_lengths(house)]


def missed(figures: Sequence[Figure]) -> list[Figure]:
    """Figures that are not at their targets."""
    return [figure for figure in figures if figure.is_met is False]


def circles(graph: Graph) -> list[list[str]]:
    """Groups of packages each of which leads to each other, by imports."""
    reached = {package: _reached(graph, package) for package in graph}
    groups = {
        tuple(sorted(other for other in reached[package] if package in reached[other]))
        for package in graph
        if package in reached[package]
    }
    return [list(group) for group in sorted(groups)]


def levels(graph: Graph) -> int:
    """Packages on the longest chain of imports, each circle counted as one."""
    group = {package: package for package in graph}
    group |= {package: circle[0] for circle in circles(graph) for package in circle}
    arrows: dict[str, set[str]] = {}
    for package, targets in graph.items():
        others = {group[target] for target in targets} - {group[package]}
        arrows.setdefault(group[package], set()).update(others)
    height: dict[str, int] = {}

    def climb(package: str) -> int:
        if package not in height:
            height[package] = 1 + max(map(climb, arrows[package]), default=0)
        return height[package]

    return max(map(climb, arrows), default=0)


def _reached(graph: Graph, start: str) -> set[str]:
    """Packages that imports lead to, the start among them only if they lead back."""
    reached: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        package = ahead.pop()
        if package not in reached:
            reached.add(package)
            ahead.extend(graph[package])
    return reached


def _graph_figures(house: House) -> Iterator[Figure]:
    graph = house.graph(When.TOP, When.CALL)
    for name, target, arrows in (
        ("circles of packages", 0, graph),
        ("circles by imports at the top alone", None, house.graph(When.TOP)),
    ):
        found = circles(arrows)
        yield Figure(
            name=name,
            value=len(found),
            target=target,
            found=[f"{len(circle)} packages: {', '.join(circle)}" for circle in found],
        )
    yield Figure(name="packages", value=len(graph))
    yield Figure(name="levels of packages", value=levels(graph))
    yield Figure(name="arrows between packages", value=sum(map(len, graph.values())))
    yield Figure(name="arrows from scripts/", value=len(house.script_arrows))
    for when in (When.CALL, When.TYPES):
        n = sum(found.when is when for found in house.imports)
        yield Figure(name=f"imports {when}", value=n)
    at_root = [Path(source.path) for source in house.sources if source.path.count("/") == 1]
    names = [path.stem for path in at_root if path.stem != "__init__"]
    yield Figure(
        name="modules at the root",
        value=len(names),
        target=MAX_ROOT_MODULES,
        found=[", ".join(names)],
    )


def _order_figures(house: House) -> Iterator[Figure]:
    against = [found for found in house.imports if _is_against_order(house, found)]
    run = [_told(found) for found in against if found.when is not When.TYPES]
    yield Figure(name="imports against the order", value=len(run), target=0, found=run)
    types = [_told(found) for found in against if found.when is When.TYPES]
    yield Figure(name="against the order, for types only", value=len(types), found=types)
    every = sorted(house.graph(*When))
    unplaced = [package for package in every if house.floor(package) is None]
    yield Figure(
        name="packages without a floor", value=len(unplaced), target=0, found=[", ".join(unplaced)]
    )


def _is_against_order(house: House, found: Import) -> bool:
    importer, target = package_of(found.importer), package_of(found.target)
    floor, below = house.floor(importer), house.floor(target)
    if importer == target or floor is None or below is None:
        return False  # packages without a floor are a figure of their own
    return below >= floor and target not in WITHIN.get(importer, ())


def _name_figures(house: House) -> Iterator[Figure]:
    named: dict[str, list[str]] = {"doors": [], "others": []}
    for path, mentions in _mentions_by_file(house):
        for kind, places in by_kind(mentions).items():
            if not _may_name(path, kind):
                told = ", ".join(dict.fromkeys(f"{m.text}:{m.line}" for m in places[:4]))
                more = f" and {len(places) - 4} more" if len(places) > 4 else ""
                named["doors" if path.startswith(DOORS) else "others"].append(
                    f"{path} names {kind}: {told}{more}"
                )
    for name, target, group in (
        ("files that name a kind elsewhere", 0, "others"),
        ("doors that name a kind", None, "doors"),
    ):
        files = {told.split(" ", 1)[0] for told in named[group]}
        value = len(files) if house.kinds else None
        yield Figure(name=name, value=value, target=target, found=named[group])


def _mentions_by_file(house: House) -> Iterator[tuple[str, list[Mention]]]:
    for source in house.sources:
        yield source.path, mentions_in_source(source, house.kinds)
    for asset in house.assets:
        if asset.path.endswith(".js"):
            yield asset.path, mentions_in_script(asset, house.kinds)


def _may_name(path: str, kind: str) -> bool:
    """Whether a file may name a kind: its own folder, the registry, a kind made of its results."""
    parts = path.split("/")
    owner = parts[2] if parts[:2] == [PACKAGE, "kinds"] and len(parts) > 3 else ""
    return path == REGISTRY or owner == kind or f"kinds.{kind}" in WITHIN.get(f"kinds.{owner}", ())


def _lengths(house: House) -> Iterator[Figure]:
    python = {source.path: source.n_lines for source in house.sources}
    assets = {asset.path: asset.n_lines for asset in house.assets}
    yield Figure(name="lines of Python", value=sum(python.values()))
    yield Figure(name="lines of js, css and html", value=sum(assets.values()))
    long = {path: n for path, n in (python | assets).items() if n > MAX_FILE_LINES}
    yield Figure(
        name=f"files past {MAX_FILE_LINES} lines",
        value=len(long),
        target=0,
        found=[f"{path}: {n}" for path, n in sorted(long.items(), key=lambda item: -item[1])],
    )
    functions = [
        (n, f"{source.path}:{line} {name}: {n}")
        for source in house.sources
        for name, line, n in function_lengths(source)
        if n > MAX_FUNCTION_LINES
    ]
    yield Figure(
        name=f"functions past {MAX_FUNCTION_LINES} lines",
        value=len(functions),
        target=0,
        found=[told for _, told in sorted(functions, reverse=True)],
    )


def _told(found: Import) -> str:
    importer, target = package_of(found.importer), package_of(found.target)
    return f"{importer} -> {target}: {found.path}:{found.line} imports {found.target} {found.when}"


def _print(roots: Sequence[Path], columns: Sequence[Sequence[Figure]]) -> None:
    """A table with a column for each checkout, then what makes the figures of the first."""
    rows = [
        Row(
            name=first.name,
            ours=_text(first.value),
            peer="".join(_text(figure.value) for figure in others),
            target="" if first.target is None else f"<= {first.target}",
            is_met=first.is_met,
        )
        for first, *others in zip(*columns, strict=True)
    ]
    names = [root.name for root in roots]
    print_table(rows, ["house", *names, *[""] * (3 - len(names)), "target"])
    for figure in columns[0]:
        if figure.value and figure.found:
            print(f"\n{figure.name}: {figure.value}")
            print("".join(f"  {place}\n" for place in figure.found), end="")


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of one or two checkouts; the status is 1 where `--check` finds a miss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    own = Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=Path, default=own, help="a checkout's root (default: this)")
    parser.add_argument("--against", type=Path, help="another checkout, as a second column")
    parser.add_argument("--check", action="store_true", help="status 1 where a target is missed")
    given = parser.parse_args(arguments)
    roots = [root.resolve() for root in (given.root, given.against) if root is not None]
    try:
        columns = [measure(root) for root in roots]
    except FileNotFoundError as err:
        parser.error(str(err))
    _print(roots, columns)
    return 1 if given.check and missed(columns[0]) else 0


if __name__ == "__main__":
    sys.exit(main())
