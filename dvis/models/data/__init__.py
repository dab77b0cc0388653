"""Labelled image sets: folders, torchvision's, and small built-in ones.

A name and perhaps a path go in; an ImageSet comes out: images as a model takes them, labels, sample
ids, latent factors where they are known, and a fingerprint of the content.
"""

from dvis.models.data.augmentation import AugmentedSet, augmented
from dvis.models.data.image_set import Augmentation, ImageSet, Split
from dvis.models.data.loading import DATASETS, load_images
from dvis.models.data.transform import InputTransform

__all__ = [
    "DATASETS",
    "Augmentation",
    "AugmentedSet",
    "ImageSet",
    "InputTransform",
    "Split",
    "augmented",
    "load_images",
]
