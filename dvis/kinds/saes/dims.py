"""Dims of what is measured of sparse autoencoders, and how its variables are labelled."""

from typing import Final

from dvis.analysis.quantities import CLASS as CLASS
from dvis.analysis.quantities import SHUFFLE as SHUFFLE
from dvis.analysis.quantities import quantity as quantity
from dvis.schema import LATENT as LATENT

SCORE: Final = "score"  # how an image's tokens became one number
