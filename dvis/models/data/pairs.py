"""Pairs of drawn images that differ in one attribute alone, background and noise included.

Contrasts and a seed in; an ImageSet out, in which the two sides of a pair follow each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from dvis.models.data.drawing import SHAPES, TEXTURED
from dvis.models.data.image_set import ImageSet
from dvis.models.data.shapes import (
    LARGEST,
    MARGIN,
    MEAN,
    SMALLEST,
    STD,
    DrawnPictures,
    drawn_scenes,
)
from dvis.models.data.transform import InputTransform
from dvis.schema import did_you_mean

# What of a scene each attribute is, and its two values where none are named.
_FACTOR = {
    "shape": "shape",
    "colour": "colour",
    "size": "size",
    "place": "x",
    "orientation": "rotation",
}
_USUAL: Mapping[str, tuple[Any, Any]] = {
    "shape": ("circle", "square"),
    "colour": (0.0, 0.5),
    "size": (0.26, 0.4),
    "place": (0.3, 0.7),
    "orientation": (-45.0, 45.0),
}
ATTRIBUTES = tuple(_FACTOR)
_REACH = {
    "colour": (0.0, 1.0),
    "size": (SMALLEST, LARGEST),
    "place": (SMALLEST + MARGIN, 1 - SMALLEST - MARGIN),  # with room for the smallest beside it
    "orientation": (-180.0, 180.0),
}
_PERIOD = {"colour": 1.0, "orientation": 180.0}  # after which they are the same again
_LONG = "ellipse"  # which looks the same after half a turn alone
_STREAM = 2  # beside those of the splits of `shapes`, which are 0 and 1
_MOST_PAIRS = 2**20  # of an attribute: their noise has numbers of its own


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two values of an attribute.

    Parameters
    ----------
    label : str
        What it is called: `shape`, or with its values `shape:circle:square`.
    attribute : str
        shape; colour, a hue of 0 to 1; size, a radius in sides of the image; place, of the centre
        from the left in sides of the image; orientation of an ellipse, clockwise in degrees.
    first, second : str or float
        The values of the two sides.
    """

    label: str
    attribute: str
    first: Any
    second: Any

    @classmethod
    def parse(cls, label: str) -> Self:
        """A contrast by its name.

        Raises
        ------
        KeyError
            When there is no such attribute or shape.
        ValueError
            When values are no two, look alike or are out of their range, or when one of two shapes
            is a disc of a texture, which is drawn with other noise.
        """
        attribute, *values = label.split(":")
        if attribute not in ATTRIBUTES:
            raise KeyError(did_you_mean("attribute", attribute, ATTRIBUTES, "drawn pairs"))
        if len(values) not in (0, 2):
            raise ValueError(
                f"{label!r} has {len(values)} values; give two, such as shape:circle:square, or "
                f"{attribute} alone"
            )
        first, second = values or _USUAL[attribute]
        made = cls(label=label, attribute=attribute, first=first, second=second)
        return made._of_shapes() if attribute == "shape" else made._in_numbers()

    @property
    def values(self) -> tuple[float, float]:
        """The values as a scene has them."""
        if self.attribute != "shape":
            return self.first, self.second
        return SHAPES.index(self.first), SHAPES.index(self.second)

    def scenes(self, n_pairs: int, seed: int) -> dict[str, np.ndarray]:
        """Factors of pairs, (2 pair,) each, their first sides at even places."""
        values = self.values
        given: dict[str, Any] = {}
        if self.attribute == "shape":
            given["shapes"] = (int(values[0]),)
        elif self.attribute == "size":  # places at which the larger one is not cut off
            given["sizes"] = (max(values), max(values))
        elif self.attribute == "place":
            room = min(*values, *(1 - value for value in values)) - MARGIN
            given["sizes"] = (min(SMALLEST, room), min(LARGEST, room))
        elif self.attribute == "orientation":
            given["shapes"] = (SHAPES.index(_LONG),)
        stream = (seed, _STREAM, ATTRIBUTES.index(self.attribute))
        scenes = {
            name: np.repeat(factor, 2)
            for name, factor in drawn_scenes(n_pairs, stream, **given).items()
        }
        factor = _FACTOR[self.attribute]
        scenes[factor] = np.tile(np.array(values, scenes[factor].dtype), n_pairs)
        return scenes

    def _of_shapes(self) -> Self:
        for name in (self.first, self.second):
            if name not in SHAPES:
                raise KeyError(did_you_mean("shape", name, SHAPES, "drawn pairs"))
        first, second = (int(value) for value in self.values)
        if first == second:
            raise ValueError(f"{self.label!r}: give two shapes, not one twice")
        if TEXTURED[first] != TEXTURED[second]:
            raise ValueError(
                f"{self.label!r}: one of the two is a disc of a texture, and would differ in more "
                "than its shape; give two outlines or two textures"
            )
        return self

    def _in_numbers(self) -> Self:
        try:
            first, second = float(self.first), float(self.second)
        except ValueError as err:
            raise ValueError(f"{self.label!r}: values of {self.attribute} are numbers") from err
        period = _PERIOD.get(self.attribute)
        is_same = first == second if period is None else (first - second) % period == 0
        low, high = _REACH[self.attribute]
        if is_same or not (low <= first <= high and low <= second <= high):
            raise ValueError(
                f"{self.label!r}: give two values of {self.attribute} that look unlike, of "
                f"{low:g} to {high:g}"
            )
        return replace(self, first=first, second=second)


def paired_images(
    contrasts: Sequence[Contrast], n_pairs: int, *, size: int = 64, seed: int = 0
) -> ImageSet:
    """Pairs of drawn images of some contrasts, one contrast after the other.

    The two sides of a pair are of the same scene but for the attribute, and of the same noise, to
    the last bit. A pair does not depend on how many there are, nor on the other contrasts.

    Parameters
    ----------
    contrasts : sequence of Contrast
        The contrasts.
    n_pairs : int
        Pairs of each.
    size : int
        Side of the images in pixels.
    seed : int
        Seed of all that is drawn.

    Returns
    -------
    ImageSet
        Samples are (contrast, pair, side), the last running fastest; labels are sides.

    Raises
    ------
    ValueError
        When there are too many pairs.
    """
    if not 1 <= n_pairs <= _MOST_PAIRS:
        raise ValueError(f"n_pairs is {n_pairs}; give 1 to {_MOST_PAIRS}")
    parts = [contrast.scenes(n_pairs, seed) for contrast in contrasts]
    scenes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    places = np.concatenate(
        [
            ATTRIBUTES.index(contrast.attribute) * _MOST_PAIRS + np.repeat(np.arange(n_pairs), 2)
            for contrast in contrasts
        ]
    )
    return ImageSet(
        name="pairs",
        classes=("first", "second"),
        transform=InputTransform(size=size, mean=MEAN, std=STD),
        sample_ids=tuple(
            f"{contrast.label}/{pair}/{side}"
            for contrast in contrasts
            for pair in range(n_pairs)
            for side in ("first", "second")
        ),
        labels=np.tile([0, 1], len(contrasts) * n_pairs),
        pictures=DrawnPictures(scenes, places, size, (seed, _STREAM)),
        factors=scenes,
    )
