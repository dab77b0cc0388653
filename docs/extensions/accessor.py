"""The list of methods of `ds.dvis`, made of the accessor itself."""

from pathlib import Path
from typing import Any

from dvis.accessor import DvisAccessor

# A method is listed under the kind whose class has it; those of any trajectory stand first.
_TITLES = {
    "DvisAccessor": "Of any trajectory",
    "FeatureMethods": "Of feature images",
    "ResponseMethods": "Of responses",
    "LLCMethods": "Of learning coefficients",
    "ActivationMethods": "Of activations",
    "SaeMethods": "Of autoencoders",
    "InfluenceMethods": "Of influence",
    "EdgesMethods": "Of edges",
    "ChimeraMethods": "Of chimeras",
    "ProbeMethods": "Of probes",
    "AttributeMethods": "Of attributes",
}


def page() -> str:
    """The page, with a list of methods for each kind of Dataset."""
    lines = ["Methods of ``ds.dvis``", "======================", ""]
    lines += [
        "Each is a function of the Dataset that a reader of dvis gave, and says when it is called",
        "on what it works. Pictures return matplotlib figures, and save them with ``path=``.",
        "``DvisAccessor.births`` is called as ``ds.dvis.births()``.",
        "",
        ".. currentmodule:: dvis",
    ]
    for owner in DvisAccessor.__mro__[:-1]:
        names = [name for name in vars(owner) if not name.startswith("_")]
        title = _TITLES[owner.__name__]
        lines += ["", title, "-" * len(title), "", ".. autosummary::", "   :toctree: api", ""]
        lines += [f"   DvisAccessor.{name}" for name in names]
    return "\n".join(lines) + "\n"


def write_page(path: Path) -> None:
    """Write the page where it differs from what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != page():
        path.write_text(page())


def setup(app: Any) -> dict[str, bool]:
    """Write the page before autosummary looks for lists."""
    app.connect(
        "config-inited",
        lambda app, _: write_page(Path(app.srcdir) / "generated/accessor.rst"),
    )
    return {"parallel_read_safe": True}
