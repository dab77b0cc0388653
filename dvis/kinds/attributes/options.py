"""Which attributes of drawn pairs are measured, at which layers: the options of `dvis attributes`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import ClassVar

from dvis.models.option_numbers import at_least
from dvis.sweep.probing_options import ProbeRunOptions

ALL = "all"
DRAWN = "shapes"  # on which batch norm is measured where no images are given
N_FOLDS = 5  # of pairs: a direction is learnt on four and tried on the fifth
_FEWEST_PAIRS = 2 * N_FOLDS


@dataclass(frozen=True, kw_only=True)
class AttributeOptions(ProbeRunOptions):
    """Which layers are shown pairs of drawn images, and in what those differ.

    Images that are given besides are those on which batch norm is measured (default: 256 drawn
    shapes).

    Parameters
    ----------
    layers
        Layers by their dotted names, or all: every one that runs once and whose output has
        channels.
    attributes
        In what the sides of pairs differ: shape, colour, size, place, orientation; or with two
        values, shape:circle:square, colour:0:0.5 (hues), size:0.26:0.4 (radii in sides of the
        image), place:0.3:0.7 (from the left), orientation:-45:45 (degrees, of an ellipse).
    n_pairs
        Pairs of each attribute.
    dataset
        A labelled image set, as `dvis probe` takes it, on which batch norm is measured (default:
        shapes, which are drawn).
    n_images
        So many images for batch norm, at random (default: 256, or all of a smaller set).
    seed
        Seed of the pairs, and of all that is drawn.
    n_shuffles
        How often sides of pairs are exchanged, for the null.
    n_random
        Random directions that are taken out in place of the attribute's, for the control.
    latents
        Name of sparse autoencoders, as `dvis sae train` gave it, whose latents are scored beside
        the channels.
    name
        Name in the store (default: pairs, or pairs-LATENTS).
    """

    images_unasked: ClassVar[int | None] = 256
    needs_images: ClassVar[bool] = False

    attributes: tuple[str, ...] = ("shape", "colour", "size", "place", "orientation")
    n_pairs: int = 128
    dataset: str | None = None
    n_images: int | None = None
    n_shuffles: int = 20
    n_random: int = 10
    latents: str | None = None

    def __post_init__(self) -> None:
        if self.n_images is not None and not self.given:
            object.__setattr__(self, "dataset", DRAWN)  # as where nothing is said of images
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; give some, such as layer1 layer4, or all")
        if not self.attributes:
            raise ValueError("no attributes given; give some, such as shape colour")
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes are {' '.join(self.attributes)}; give each once")
        at_least("n_pairs", self.n_pairs, _FEWEST_PAIRS)
        at_least("n_shuffles", self.n_shuffles, 2)
        at_least("n_random", self.n_random, 2)

    @property
    def called(self) -> str:
        """Name of the group."""
        return self.name or ("pairs" if self.latents is None else f"pairs-{self.latents}")
