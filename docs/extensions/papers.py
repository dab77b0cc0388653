"""The page of papers: what the docstrings of dvis name as their methods' sources."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[2] / "dvis"
_SECTION = re.compile(r"^References\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", re.M | re.S)
_LINK = re.compile(r"\b(arXiv|doi):\s?(\S+?)(?=[\s),;]|\.?(?:\s|$))")
_URL = re.compile(r"(?<!\()(https://\S+)")
_AT = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
# Folders of dvis by what a reader looks for.
HEADINGS = {
    "kinds/features": "Feature images",
    "kinds/responses": "Responses and selectivity",
    "kinds/llc": "The local learning coefficient",
    "kinds/saes": "Sparse autoencoders",
    "kinds/probes": "Probes",
    "kinds/attributes": "Attributes",
    "kinds": "Circuits: influence, chimeras, sizes",
    "models": "Models",
    "analysis": "Analysis: births, order, change points, drift",
    "": "Elsewhere",
}


class Reference(NamedTuple):
    """What one function or module is after."""

    name: str
    says: str
    text: str


def references(package: Path = PACKAGE) -> Iterator[tuple[str, Reference]]:
    """Each docstring with references, and the folder that it is in."""
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        inside = path.relative_to(package.parent).with_suffix("")
        dotted = ".".join(inside.parts).removesuffix(".__init__")
        for node in (tree, *ast.walk(tree)):
            if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                continue
            found = _SECTION.search(inspect.cleandoc(ast.get_docstring(node) or "") + "\n")
            if found and not (node is not tree and isinstance(node, ast.Module)):
                name = dotted if isinstance(node, ast.Module) else f"{dotted}.{node.name}"
                says = (ast.get_docstring(node) or "").partition("\n\n")[0]
                yield _heading(path, package), Reference(name, _one_line(says), _linked(found[1]))


def write_page(page: Path) -> None:
    """Write the page of papers, where it differs from what is there."""
    lines = [
        "# Papers",
        "",
        "What stands behind what. Each entry is the section *References* of a docstring, so",
        "that it says of the code as it is where a method comes from, and where dvis differs.",
    ]
    found: dict[str, dict[str, Reference]] = {title: {} for title in HEADINGS.values()}
    for heading, reference in references():
        found[heading][reference.name] = reference
    for title, entries in found.items():
        if entries:
            lines += ["", f"## {title}"]
        for reference in entries.values():
            lines += ["", f"`{reference.name}`", f": {reference.says}", "", f"  {reference.text}"]
    page.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def _heading(path: Path, package: Path) -> str:
    inside = path.relative_to(package).as_posix()
    return next(title for folder, title in HEADINGS.items() if inside.startswith(folder))


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _linked(text: str) -> str:
    """References as markdown in a line, with links where they name an article."""
    without_marks = re.sub(r"\.\. \[\d+\]\s*", "", text)
    linked = _LINK.sub(
        lambda link: f"[{link[0]}]({_AT[link[1]]}{link[2]})", _one_line(without_marks)
    )
    return _URL.sub(r"<\1>", linked)


def setup(app: Any) -> dict[str, bool]:
    """Write the page before sphinx looks for documents."""
    app.connect(
        "config-inited", lambda app, _: write_page(Path(app.srcdir) / "generated/papers.md")
    )
    return {"parallel_read_safe": True}
