"""The gallery: every picture that dvis draws, of a small store, with the lines that draw it."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl

from extensions.picture_lines import PICTURES, PREPARED, Line

_DPI = 80


def write_gallery(folder: Path, page: Path) -> None:
    """Draw what is not drawn yet, and write the page."""
    pictures = folder / "pictures"
    missing = [line for line in PICTURES if not (pictures / f"{line.name}.png").exists()]
    if missing:
        mpl.use("agg")
        pictures.mkdir(parents=True, exist_ok=True)
        _draw(missing, folder, pictures.resolve())
    text = _page(pictures.name)
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def _draw(missing: list[Line], folder: Path, pictures: Path) -> None:
    from extensions.small_store import STORE, write_store

    if not (folder / STORE / ".complete").exists():
        write_store(folder)
        (folder / STORE / ".complete").touch()
    names: dict[str, Any] = {}
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few checkpoints, which a small store has
        exec(PREPARED, names)
        for line in missing:
            figure = eval(line.python, names)
            figure.savefig(pictures / f"{line.name}.png", dpi=_DPI, bbox_inches="tight")


def _page(pictures: str) -> str:
    lines = [
        "# Gallery",
        "",
        "Pictures that dvis draws, here of a network of four small convolutions at a few",
        "checkpoints, which learns drawn shapes for some seconds: to be looked at for what they",
        "show, not for what they say. Each has the command and the line of Python that draw it.",
        "",
        "The lines of Python follow these:",
        "",
        "```python",
        PREPARED.strip(),
        "```",
    ]
    title = ""
    for line in PICTURES:
        if line.title != title:
            title = line.title
            lines += ["", f"## {title}"]
        lines += ["", f"### {line.name}", "", line.says, ""]
        lines += ["```{image} " + f"generated/gallery/{pictures}/{line.name}.png"]
        lines += [f":alt: {line.says}", ":class: gallery-picture", "```", ""]
        if line.command:
            lines += [f"    {line.command}", ""]
        lines += ["```python", line.python, "```"]
    return "\n".join(lines) + "\n"


def setup(app: Any) -> dict[str, bool]:
    """Draw before sphinx looks for documents."""

    def draw(app: Any, _: Any) -> None:
        source = Path(app.srcdir)
        write_gallery(source / "generated" / "gallery", source / "gallery.md")

    app.connect("config-inited", draw)
    return {"parallel_read_safe": True}
