"""The front end of a page: its files, and the html that loads them."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from dvis.kinds.shown import ShownUnits

_ASSETS = Path(__file__).with_name("assets")
_TEMPLATE = "page.html.j2"
MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
}


def assets() -> Mapping[str, Path]:
    """Files of the front end by their names."""
    return {
        path.name: path
        for path in sorted(_ASSETS.iterdir())
        if path.is_file() and path.suffix[1:] in MEDIA_TYPES
    }


def html(shown: ShownUnits, mode: Literal["live", "static"], token: str | None = None) -> bytes:
    """The page itself, which reads the documents; with a token it may write notes.

    Raises
    ------
    ImportError
        When jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as err:
        raise ImportError("page needs jinja2: pip install 'dvis[page]'") from err

    templates = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined
    )
    facts: dict[str, Any] = {
        "model": str(shown.contents().attrs.get("model", "")),
        "store": shown.name,
        "mode": mode,
        "version": version("dvis"),
        "token": token,
    }
    return templates.get_template(_TEMPLATE).render(facts=facts).encode()
