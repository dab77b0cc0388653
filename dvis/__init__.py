"""How a vision model learns: every feature image of every training checkpoint in one Zarr store."""

from importlib.metadata import version as _version

from dvis.accessor import DvisAccessor
from dvis.store import open, runs, variants

__all__ = ["DvisAccessor", "open", "runs", "variants"]
__version__ = _version("dvis")
