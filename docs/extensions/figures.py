"""Pictures of tutorials: dvis returns figures and shows none, so that pyplot does not know them."""

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_NAME = "figure"  # what a tutorial calls a figure that the page is to show
_DPI = 90


def scraped(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figure that a block has made, and say in rst where it lies."""
    figure = block_vars["example_globals"].pop(_NAME, None)
    if not isinstance(figure, Figure):
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    text: str = figure_rst([path], gallery_conf["src_dir"])
    return text
