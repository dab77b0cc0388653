"""One drawn image: a coloured shape, or a disc of a texture, on a background, with some noise.

A scene, a size and a generator go in; pixels come out. Edges are antialiased: each shape is the
signed distance to its outline, in radii, which a pixel's width blurs.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

# To be raised with any change of the pixels: it is part of the fingerprint of drawn image sets.
DRAWING_VERSION = 1

BACKGROUNDS = ("plain", "gradient", "waves", "blotches")

_NOISE = 0.03  # standard deviation of a pixel's noise, of 1
_SHADE = 0.25  # how much darker or lighter a shape's rim is than its middle


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a drawn image shows.

    Parameters
    ----------
    shape : int
        Index into `SHAPES`.
    x, y : float
        Centre, from the left and the top, in sides of the image.
    size : float
        Radius, in sides of the image.
    rotation : float
        Clockwise, in degrees.
    colour : float
        Hue of the shape, 0 to 1.
    background : int
        Index into `BACKGROUNDS`.
    background_colour : float
        Hue of the background, 0 to 1.
    """

    shape: int
    x: float
    y: float
    size: float
    rotation: float
    colour: float
    background: int
    background_colour: float


def draw(scene: Scene, size: int, generator: np.random.Generator) -> np.ndarray:
    """Pixels of a scene; shades, textures' widths and noise are the generator's.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the image, in pixels.
    generator : Generator

    Returns
    -------
    ndarray, (y, x, rgb), uint8 0-255
    """
    is_dark = generator.random() < 0.5  # a bright shape on dark ground, or the other way round
    y, x = _grid(size)
    turn = math.radians(scene.rotation)
    across, down = (x - scene.x) / scene.size, (y - scene.y) / scene.size
    u = across * math.cos(turn) + down * math.sin(turn)
    v = down * math.cos(turn) - across * math.sin(turn)
    distance, texture = _OUTLINES[SHAPES[scene.shape]]
    radius = scene.size * size
    alpha = np.clip(0.5 - distance(u, v) * radius, 0, 1)[..., None]
    paint, other = _paints(scene.colour, is_dark, generator)
    pixels = _ground(scene, is_dark, x, y, generator)
    shape = (1 + _SHADE * generator.uniform(-1, 1) * (across + down))[..., None] * paint
    if texture is not None:
        n_bands = generator.uniform(2.5, 4.0)  # a radius
        share = _antialiased(texture(u * n_bands, v * n_bands), radius / n_bands)[..., None]
        shape = shape + share * (other - shape)
    pixels = pixels + alpha * (shape - pixels)
    pixels += _NOISE * generator.standard_normal(pixels.shape, np.float32)
    return np.asarray(np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pixels' middles, (y, 1) and (1, x) float32, in sides of the image."""
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    return middles[:, None], middles[None, :]


def _paints(
    hue: float, is_dark: bool, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Colour of a shape, (rgb,) float32 0-1, and the one that its texture mixes it with."""
    saturation, value, turn = generator.random(3)
    if is_dark:
        paint = (hue, 0.6 + 0.4 * saturation, 0.8 + 0.2 * value)
        other = (hue + 0.3 + 0.4 * turn, 0.7, 0.3)
    else:
        paint = (hue, 0.7 + 0.3 * saturation, 0.3 + 0.35 * value)
        other = (hue + 0.3 + 0.4 * turn, 0.25, 1.0)
    return _rgb(*paint), _rgb(*other)


def _ground(
    scene: Scene, is_dark: bool, x: np.ndarray, y: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Background of two related colours, (y, x, rgb) float32 0-1."""
    saturation, value, shift, direction, phase = generator.random(5)
    hue = scene.background_colour
    level = 0.12 + 0.25 * value if is_dark else 0.7 + 0.2 * value
    colour = _rgb(hue, (0.3 + 0.4 * saturation) * (1 if is_dark else 0.4), level)
    other = _rgb(hue + 0.3 * (shift - 0.5), 0.3, level + (0.18 if is_dark else -0.18))
    angle = 2 * math.pi * direction
    along = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)
    match BACKGROUNDS[scene.background]:
        case "gradient":
            share = along * 0.9 + 0.5
        case "waves":
            share = 0.5 + 0.5 * np.sin(2 * math.pi * ((2 + 4 * shift) * along + phase))
        case "blotches":
            share = _blotches(x.size, generator)
        case _:
            share = np.zeros_like(along)
    ground: np.ndarray = colour + share[..., None].astype(np.float32) * (other - colour)
    return ground


def _blotches(size: int, generator: np.random.Generator, n_cells: int = 6) -> np.ndarray:
    """Smooth noise, (y, x) float32, about 0 to 1."""
    cells = Image.fromarray(generator.random((n_cells, n_cells), np.float32))
    return np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC))


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _antialiased(waves: np.ndarray, width_px: float) -> np.ndarray:
    """Bands of 0 and 1, each `width_px` wide, of waves of -1 to 1."""
    bands: np.ndarray = np.clip(0.5 + waves * (width_px / math.pi), 0, 1)
    return bands


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.sqrt(u * u + v * v) - 1
    return distance


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(_circle(u, v) + 0.25) - 0.25


def _ellipse(u: np.ndarray, v: np.ndarray, narrow: float = 0.5) -> np.ndarray:
    # To first order: the function that is 1 at the outline, over the length of its gradient.
    scaled = np.sqrt(u * u + (v / narrow) ** 2) + 1e-6
    slope = np.sqrt(u * u + (v / narrow**2) ** 2) + 1e-6
    distance: np.ndarray = (scaled - 1) * scaled / slope
    return distance


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.maximum(np.abs(u), np.abs(v)) - math.sqrt(0.5)
    return distance


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.maximum(v, np.abs(u) * (math.sqrt(3) / 2) - v / 2) - 0.5
    return distance


def _star(u: np.ndarray, v: np.ndarray, notch: float = 0.42) -> np.ndarray:
    # Folded at its ten axes, a star is one line from a tip to the notch beside it.
    tenth = math.pi / 5
    angle = np.arctan2(u, -v)
    angle = np.abs(angle - 2 * tenth * np.rint(angle / (2 * tenth)))
    radius = np.sqrt(u * u + v * v)
    down, aside = notch * math.cos(tenth) - 1, notch * math.sin(tenth)
    offset = (radius * np.cos(angle) - 1) * aside - radius * np.sin(angle) * down
    distance: np.ndarray = offset / math.hypot(down, aside)
    return distance


def _cross(u: np.ndarray, v: np.ndarray, arm: float = 0.28) -> np.ndarray:
    narrow, long = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    distance: np.ndarray = np.maximum(narrow - arm, long - math.sqrt(1 - arm * arm))
    return distance


def _rows(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    waves: np.ndarray = np.sin(math.pi * v)
    return waves


def _columns(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _rows(v, u)


def _checker(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    waves: np.ndarray = _rows(u, v) * _columns(u, v)
    return waves


Field = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Distance to the outline of each shape and, where it has one, its texture.
_OUTLINES: dict[str, tuple[Field, Field | None]] = {
    "circle": (_circle, None),
    "ring": (_ring, None),
    "ellipse": (_ellipse, None),
    "square": (_square, None),
    "triangle": (_triangle, None),
    "star": (_star, None),
    "cross": (_cross, None),
    "horizontal-stripes": (_circle, _rows),
    "vertical-stripes": (_circle, _columns),
    "checker": (_circle, _checker),
}
SHAPES = tuple(_OUTLINES)
TEXTURED = tuple(texture is not None for _, texture in _OUTLINES.values())
