"""The kinds of measurement that dvis knows: a line each, the name of its folder beside this file.

The record of a kind is its folder's name in capitals, in its `kind.py`.
"""

from importlib import import_module

from dvis.kinds.kind import Kind

_FOLDERS = (
    "features",
    "responses",
    "llc",
    "activations",
    "saes",
    "influence",
    "edges",
    "chimera",
    "sizes",
    "probes",
    "attributes",
)
KINDS: dict[str, Kind] = {
    name: getattr(import_module(f"dvis.kinds.{name}.kind"), name.upper()) for name in _FOLDERS
}

# The kind that `dvis.open` gives where none is named, and whose units the page walks through.
OF_UNITS = "features"
