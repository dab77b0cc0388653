"""Pairs of drawn images: one attribute differs, and nothing else, to the last bit."""

from hashlib import blake2b

import numpy as np
import pytest

from dvis.models.data.drawing import SHAPES
from dvis.models.data.image_set import ImageSet
from dvis.models.data.pairs import ATTRIBUTES, Contrast, paired_images
from dvis.models.data.shapes import shapes_images

N_PAIRS, SIZE = 6, 32
FACTORS = {"shape": "shape", "colour": "colour", "size": "size", "place": "x"}
FACTORS["orientation"] = "rotation"


def pairs_of(*labels: str, n_pairs: int = N_PAIRS, size: int = SIZE, seed: int = 0) -> ImageSet:
    contrasts = [Contrast.parse(label) for label in labels]
    return paired_images(contrasts, n_pairs, size=size, seed=seed)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_one_factor_differs_and_no_other(attribute: str) -> None:
    pairs = pairs_of(attribute)
    assert len(pairs) == 2 * N_PAIRS
    for name, values in pairs.factors.items():
        first, second = values[::2], values[1::2]
        if name == FACTORS[attribute]:
            assert len(set(first)) == len(set(second)) == 1
            assert first[0] != second[0]
        else:
            np.testing.assert_array_equal(first, second)
    others = [name for name in ("y", "background_colour") if name != FACTORS[attribute]]
    assert all(len(set(pairs.factors[name][::2])) == N_PAIRS for name in others)


@pytest.mark.parametrize(
    "attribute", [*ATTRIBUTES, "shape:horizontal-stripes:vertical-stripes", "shape:star:ring"]
)
def test_pixels_outside_of_both_shapes_are_the_same(attribute: str) -> None:
    pairs = pairs_of(attribute)
    places = (np.arange(SIZE) + 0.5) / SIZE
    for number in range(0, len(pairs), 2):
        first, second = (np.asarray(pairs.picture(number + side)) for side in (0, 1))
        is_outside = np.ones((SIZE, SIZE), bool)
        for side in (number, number + 1):
            x, y, radius = (pairs.factors[name][side] for name in ("x", "y", "size"))
            away = np.hypot(places[None] - x, places[:, None] - y)
            is_outside &= away > radius + 2 / SIZE
        assert 0 < is_outside.sum() < SIZE**2
        np.testing.assert_array_equal(first[is_outside], second[is_outside])
        assert (first != second).any()


def test_shapes_lie_wholly_inside() -> None:
    pairs = pairs_of(*ATTRIBUTES, "size:0.23:0.42", "place:0.26:0.74", n_pairs=50)
    for name in ("x", "y"):
        middle, radius = pairs.factors[name], pairs.factors["size"]
        assert (middle - radius).min() >= 0
        assert (middle + radius).max() <= 1


def test_pairs_do_not_depend_on_number_or_company() -> None:
    alone, beside = pairs_of("size"), pairs_of("colour", "shape", "size", n_pairs=9)
    ids = list(beside.sample_ids)
    for number, name in enumerate(alone.sample_ids):
        picture = np.asarray(beside.picture(ids.index(name)))
        np.testing.assert_array_equal(picture, alone.picture(number))
    assert pairs_of("size").fingerprint == alone.fingerprint
    others = [pairs_of("size", seed=1), pairs_of("size", size=40), pairs_of("size:0.3:0.4")]
    prints = {alone.fingerprint, *(each.fingerprint for each in others)}
    assert len(prints) == 4
    assert not np.array_equal(pairs_of("size", seed=1).picture(0), alone.picture(0))


def test_shapes_are_drawn_as_ever() -> None:
    """What `shapes` draws is what it drew before there were pairs, bit for bit."""
    drawn = shapes_images("val", 48, n_samples=40, seed=3)
    digest = blake2b(digest_size=8)
    for number in range(40):
        digest.update(np.asarray(drawn.picture(number)).tobytes())
    assert digest.hexdigest() == "d430f5db4196595a"
    assert drawn.fingerprint == "recipe-88da1fb68ebf2c5222637908216b3578"


def test_contrasts_have_values_of_their_own() -> None:
    striped = pairs_of("shape:horizontal-stripes:vertical-stripes")
    named = [SHAPES[each] for each in striped.factors["shape"][:2]]
    assert named == ["horizontal-stripes", "vertical-stripes"]
    assert abs(striped.factors["rotation"]).max() <= 15
    assert pairs_of("orientation:0:90").factors["rotation"][:2].tolist() == [0.0, 90.0]


@pytest.mark.parametrize(
    ("label", "error", "said"),
    [
        ("color", KeyError, r"No attribute 'color' in drawn pairs.*Did you mean 'colour'"),
        ("shape:circle", ValueError, r"has 1 values; give two, such as shape:circle:square"),
        ("shape:circle:sqare", KeyError, r"Did you mean 'square'"),
        ("shape:circle:circle", ValueError, "give two shapes, not one twice"),
        ("shape:circle:checker", ValueError, "disc of a texture.*two outlines or two textures"),
        ("size:0.3:0.3", ValueError, r"look unlike, of 0.23 to 0.42"),
        ("size:0.3:0.9", ValueError, r"of 0.23 to 0.42"),
        ("colour:0:1", ValueError, "look unlike"),
        ("orientation:-90:90", ValueError, "look unlike"),
        ("place:left:right", ValueError, "values of place are numbers"),
    ],
)
def test_errors_say_what_to_do(label: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Contrast.parse(label)
