"""Pictures of feature images: timelines, sheets of a layer, a unit's development.

A Dataset in, a matplotlib figure out.
"""

from dvis.kinds.features.pictures.development import development
from dvis.kinds.features.pictures.seeds import seeds
from dvis.kinds.features.pictures.sheets import grid, timeline

__all__ = ["development", "grid", "seeds", "timeline"]
