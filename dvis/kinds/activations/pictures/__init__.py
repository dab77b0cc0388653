"""Pictures of activations: the images that drive channels most, with where in them.

A Dataset in, a matplotlib figure out.
"""

from dvis.kinds.activations.pictures.sheets import top_image_timeline, top_images

__all__ = ["top_image_timeline", "top_images"]
