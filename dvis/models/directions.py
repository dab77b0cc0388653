"""Numbers read off a layer's output along directions of its channels: latents, probes.

Free of torch, for what plans, records and reads such numbers knows them too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ANY_CHECKPOINT = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOut:
    r"""Numbers of each position of a layer's output.

    .. math:: R x + o

    Parameters
    ----------
    numbers : sequence of int, (unit,)
        What the units are called: a latent's number.
    rows : array, (unit, channel), float32
        R.
    offsets : array, (unit,), float32
        o.

    Raises
    ------
    ValueError
        When these do not fit each other, or are not finite.
    """

    numbers: tuple[int, ...]
    rows: Floats
    offsets: Floats

    def __post_init__(self) -> None:
        n_units = len(self.numbers)
        if self.rows.ndim != 2 or len(self.rows) != n_units or self.offsets.shape != (n_units,):
            raise ValueError(
                f"{n_units} units have rows of shape {self.rows.shape} and offsets of shape "
                f"{self.offsets.shape}; give ({n_units}, channel) and ({n_units},)"
            )
        is_finite = np.isfinite(self.rows).all(1) & np.isfinite(self.offsets)
        if not is_finite.all():
            bad = np.array(self.numbers)[~is_finite].tolist()
            raise ValueError(f"directions of units {bad[:10]} are not finite; leave them out")

    @property
    def n_channels(self) -> int:
        """Channels of the layer's output."""
        return int(self.rows.shape[1])

    def of(self, numbers: Sequence[int]) -> Self:
        """Some of the units, in the order that is given."""
        places = [self.numbers.index(number) for number in numbers]
        rows, offsets = self.rows[places], self.offsets[places]
        return replace(self, numbers=tuple(numbers), rows=rows, offsets=offsets)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Numbers (..., unit), float64, of values (..., channel)."""
        found: np.ndarray = values @ self.rows.T.astype(np.float64) + self.offsets
        return found

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """What tells each unit's direction from others, (unit,)."""
        texts = (
            row.tobytes() + offset.tobytes()
            for row, offset in zip(self.rows, self.offsets, strict=True)
        )
        hashes = [int.from_bytes(blake2b(text, digest_size=8).digest(), "little") for text in texts]
        return np.array(hashes, np.uint64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
    """Directions of some layers' outputs over the checkpoints of a run.

    Parameters
    ----------
    name : str
        What they are called together: an autoencoder's name.
    read_outs : mapping of (str, str) to ReadOut
        By layer and checkpoint; of the checkpoint "" at every one. Of a layer all have the same
        units.
    unit : str
        What one of them is: latent.
    attrs : mapping
        What is to be kept with what is measured of them: plain values.
    widths : mapping of str to int
        How many units a layer has in all, where there are more than are asked for.
    notes : sequence of str
        What is to be said of them.

    Raises
    ------
    ValueError
        When there are none, or the name has a sign that names of variants need themselves.

    Examples
    --------
    >>> row = ReadOut(numbers=(0,), rows=np.eye(1, 8, dtype="f4"), offsets=np.zeros(1, "f4"))
    >>> Directions(name="probe", read_outs={("conv1", ""): row}).variant
    'directions-probe'
    """

    name: str
    read_outs: Mapping[tuple[str, str], ReadOut]
    unit: str = "direction"
    attrs: Mapping[str, Any] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.read_outs:
            raise ValueError(f"there are no directions called {self.name!r}; give one or more")
        if not self.name or set(self.name) & set("/~@"):
            raise ValueError(
                f"directions are called {self.name!r}; give a name without any of / ~ @, which "
                "names of variants need themselves"
            )

    @property
    def variant(self) -> str:
        """What the first image of a unit is called."""
        return f"{self.unit}s-{self.name}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that have some."""
        return tuple(dict.fromkeys(layer for layer, _ in self.read_outs))

    @property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """Units by layer."""
        return {layer: each.numbers for (layer, _), each in self.read_outs.items()}

    def n_units(self, layer: str) -> int:
        """Units of a layer, asked for or not."""
        return max(self.widths.get(layer, 0), *(n + 1 for n in self.numbers[layer]))

    def at(self, layer: str, checkpoint: str) -> ReadOut | None:
        """The directions of a layer at a checkpoint; None where there are none."""
        found = self.read_outs.get((layer, checkpoint))
        return self.read_outs.get((layer, ANY_CHECKPOINT)) if found is None else found

    def has(self, checkpoint: str) -> bool:
        """Whether any layer has some at a checkpoint."""
        return any(self.at(layer, checkpoint) is not None for layer in self.layers)
