"""Changes of targets over images, summed up as they come: what influence is kept as."""

from dataclasses import dataclass

import numpy as np

FLOAT16_MAX = float(np.finfo(np.float16).max)
# A deviation that is so small a part of the largest value is of rounding.
_ROUNDING = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 1e-6}


@dataclass(frozen=True)
class Means:
    """Means over positions of some units, of all images, (image, unit).

    Parameters
    ----------
    values : ndarray, (image, unit)
        As the model computes them.
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"means have shape {self.values.shape}; give (image, unit)")

    @property
    def mean(self) -> np.ndarray:
        """Mean over images, (unit,), float64."""
        found: np.ndarray = self.values.mean(0, dtype=np.float64)
        return found

    @property
    def centred(self) -> np.ndarray:
        """Less their mean, (image, unit), float64."""
        found: np.ndarray = self.values - self.mean
        return found

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation over images, (unit,), float64: exactly 0 where it is of rounding."""
        found: np.ndarray = self.centred.std(0)
        least = _ROUNDING.get(self.values.dtype, 1e-3) * np.abs(self.values).max(0)
        return np.where(found <= least, 0, found)

    @property
    def is_finite(self) -> bool:
        """Whether all are."""
        return bool(np.isfinite(self.values).all())


class Sums:
    r"""Sums over images of the changes e of targets, of which strength and the like are made.

    With r the target's response and x the source's mean over positions,

    .. math::

        \mathrm{strength} = \frac{\sqrt{\overline{e^2}}}{\mathrm{SD}(r)}, \qquad
        \mathrm{share} = \frac{\mathrm{Cov}(e, r)}{\mathrm{Var}(r)}, \qquad
        \mathrm{direction} = \mathrm{corr}(e, x)

    Parameters
    ----------
    sources, targets : Means
        Of all images, in their order.
    """

    def __init__(self, sources: Means, targets: Means) -> None:
        self._sources, self._targets = sources, targets
        self._centred = sources.centred, targets.centred
        n_images, n_sources = sources.values.shape
        shape = n_sources, targets.values.shape[1]
        self._n_halves = np.array([(n_images + 1) // 2, n_images // 2])
        self._squares = np.zeros((2, *shape))
        self._changes, self._with_target, self._with_source = np.zeros((3, *shape))

    def add(
        self, changes: np.ndarray, images: np.ndarray, sources: slice, targets: slice = slice(None)
    ) -> None:
        """Take changes (source, image, target) of some images, by their numbers."""
        changes = changes.astype(np.float64)
        at = sources, targets
        for half in (0, 1):
            self._squares[half][at] += (changes[:, images % 2 == half] ** 2).sum(1)
        self._changes[at] += changes.sum(1)
        of_sources, of_targets = (each[images] for each in self._centred)
        self._with_target[at] += np.einsum("snt,nt->st", changes, of_targets[:, targets])
        self._with_source[at] += np.einsum("snt,ns->st", changes, of_sources[:, sources])

    def of(self, columns: slice, targets: Means, *, is_unreached: bool = False) -> "Sums":
        """Those of some targets; without any change where nothing leads to them."""
        some = Sums(self._sources, targets)
        if not is_unreached:
            some._squares = self._squares[..., columns]
            some._changes = self._changes[:, columns]
            some._with_target = self._with_target[:, columns]
            some._with_source = self._with_source[:, columns]
        return some

    def found(self, scale: float = 1) -> dict[str, np.ndarray]:
        """Each number (source, target), float64; strength is divided by `scale`.

        Targets that do not vary have NaN; sources without an effect have no direction.
        """
        n_images = self._n_halves.sum()
        deviation = self._targets.deviation
        of_source = self._sources.deviation[:, None]
        squares = self._squares.sum(0) / n_images
        halves = self._squares / self._n_halves[:, None, None]
        variance = np.maximum(squares - (self._changes / n_images) ** 2, 0)
        # Below this the change is the same for all images, as far as numbers can tell.
        is_constant = variance <= 1e-12 * squares
        with np.errstate(divide="ignore", invalid="ignore"):
            direction = self._with_source / n_images / (np.sqrt(variance) * of_source)
            difference = (halves[0] - halves[1]) / halves.sum(0)
            strength = np.sqrt(squares) / deviation / scale
            share = self._with_target / n_images / deviation**2
        found = {
            "strength": strength,
            "share": share,
            "direction": np.where(is_constant | (of_source == 0), np.nan, direction),
            "half_difference": np.where(squares == 0, 0, difference),
        }
        is_dead = deviation == 0
        return {
            name: np.where(is_dead, np.nan, np.clip(values, -FLOAT16_MAX, FLOAT16_MAX))
            for name, values in found.items()
        }

    @property
    def is_finite(self) -> np.ndarray:
        """Whether all changes that a source makes are finite, (source,) bool."""
        return np.asarray(np.isfinite(self._squares).all((0, 2)))

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the targets' responses, (target,), float64."""
        return self._targets.deviation
