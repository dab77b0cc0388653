"""What `ds.dvis` can do with activations."""

from dvis.kinds.activations import pictures
from dvis.kinds.methods import method_of


class ActivationMethods:
    """Pictures of the images that drive channels most."""

    top_images = method_of(pictures.top_images)
    top_image_timeline = method_of(pictures.top_image_timeline)
