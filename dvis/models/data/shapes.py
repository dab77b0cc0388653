"""Drawn images: ten classes of coloured shapes and textures on varied backgrounds.

A seed goes in; an ImageSet comes out that draws a sample when it is asked for. Sample `i` is always
the same, whatever the number of samples, and known by its factors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dvis.models.data.drawing import BACKGROUNDS, DRAWING_VERSION, SHAPES, TEXTURED, Scene, draw
from dvis.models.data.image_set import ImageSet, Split, numbered
from dvis.models.data.transform import InputTransform

_DEFAULT_SIZE = 64
_DEFAULT_SAMPLES = {"train": 20_000, "val": 1_000}
_SPLIT_SEED = {"train": 0, "val": 1}
# Measured over 20,000 training images at 64 px, seed 0.
MEAN, STD = (0.4443, 0.4445, 0.4444), (0.2484, 0.2476, 0.2486)

# In sides of the image, so that a shape is 29 to 54 px wide at 64 px and never cut off.
SMALLEST, LARGEST, MARGIN = 0.23, 0.42, 0.03
# In degrees to either side: turned further, horizontal stripes would be vertical ones.
_TEXTURE_TURN = 15.0


@dataclass(frozen=True)
class DrawnPictures:
    """Pictures drawn when they are asked for, from a table of scenes."""

    scenes: Mapping[str, np.ndarray]
    places: np.ndarray
    size: int
    seed: tuple[int, int]

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture of a sample, (y, x, rgb), uint8 0-255."""
        scene = Scene(**{name: values[index].item() for name, values in self.scenes.items()})
        generator = np.random.default_rng((*self.seed, int(self.places[index])))
        return draw(scene, self.size, generator)

    def take(self, positions: np.ndarray) -> "DrawnPictures":
        """The pictures at these positions."""
        scenes = {name: values[positions] for name, values in self.scenes.items()}
        return DrawnPictures(scenes, self.places[positions], self.size, self.seed)

    def content(self) -> tuple[str, Iterable[bytes]]:
        """The drawing's version, size and seed, and the table: drawing all would take minutes."""
        recipe = (DRAWING_VERSION, self.size, self.seed, SHAPES, BACKGROUNDS, list(self.scenes))
        tables = (values.tobytes() for values in (self.places, *self.scenes.values()))
        return "recipe", (repr(recipe).encode(), *tables)


def shapes_images(
    split: Split, size: int | None = None, *, n_samples: int | None = None, seed: int = 0
) -> ImageSet:
    """Shapes and textures of any place, size, turn and colour; the two splits share no image.

    Parameters
    ----------
    split : "train" or "val"
    size : int, optional
        Side of the images in pixels, 64 unless told otherwise.
    n_samples : int, optional
        20,000 for training and 1,000 for validation unless told otherwise.
    seed : int
        Seed of all that is drawn.

    Returns
    -------
    ImageSet
        `factors` are those of `dvis.models.data.drawing.Scene`.
    """
    size = size or _DEFAULT_SIZE
    n_samples = n_samples or _DEFAULT_SAMPLES[split]
    scenes = drawn_scenes(n_samples, (seed, _SPLIT_SEED[split]))
    return ImageSet(
        name=f"shapes/{split}",
        classes=SHAPES,
        transform=InputTransform(size=size, mean=MEAN, std=STD),
        sample_ids=numbered(n_samples),
        labels=scenes["shape"],
        pictures=DrawnPictures(scenes, np.arange(n_samples), size, (seed, _SPLIT_SEED[split])),
        factors=scenes,
        categories={"shape": SHAPES, "background": BACKGROUNDS},
        periods={"colour": 1.0, "background_colour": 1.0, "rotation": 360.0},
    )


def drawn_scenes(
    n_samples: int,
    seed: tuple[int, ...],
    *,
    shapes: Sequence[int] = range(len(SHAPES)),
    sizes: tuple[float, float] = (SMALLEST, LARGEST),
) -> dict[str, np.ndarray]:
    """Factors of the samples, (sample,) each; those of the first do not depend on the number.

    Parameters
    ----------
    n_samples : int
        How many.
    seed : tuple of int
        What draws them.
    shapes : sequence of int
        Indices of the shapes that there are, each alike.
    sizes : (float, float)
        The smallest and the largest radius, in sides of the image.
    """
    names = ("shape", "x", "y", "size", "rotation", "colour", "background", "background_colour")
    streams = np.random.SeedSequence(seed).spawn(len(names))
    chance = {
        name: np.random.default_rng(stream).random(n_samples)
        for name, stream in zip(names, streams, strict=True)
    }
    shape = np.array(shapes, np.int64)[(chance["shape"] * len(shapes)).astype(np.int64)]
    size = sizes[0] + chance["size"] * (sizes[1] - sizes[0])
    nearest = size + MARGIN
    turn = np.where(np.array(TEXTURED)[shape], _TEXTURE_TURN, 180.0)
    return {
        "shape": shape,
        "x": nearest + chance["x"] * (1 - 2 * nearest),
        "y": nearest + chance["y"] * (1 - 2 * nearest),
        "size": size,
        "rotation": (2 * chance["rotation"] - 1) * turn,
        "colour": chance["colour"],
        "background": (chance["background"] * len(BACKGROUNDS)).astype(np.int64),
        "background_colour": chance["background_colour"],
    }
