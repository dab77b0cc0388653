"""What was found of an autoencoder's latents, as the page reads it: once for all latents.

A Dataset as `dvis.latents` gives it in, numbers of all latents at a checkpoint out. What is asked
for is kept: pages ask for one latent after the other, and chunks hold many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
import pandas as pd
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.parts import MAX_RANKS
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE, SHUFFLE
from dvis.kinds.saes.words import DENSE, MONO_SCORE
from dvis.schema import CHECKPOINT

SHARE = 0.95  # of shuffled labels that a selectivity is to exceed
STATES = ("fires", "dense", "dead")
_SCORED = {"selectivity": "labels", MONO_SCORE: "images"}


@dataclass(frozen=True)
class Found:
    """What was found of latents.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.latents` gives it, of those checkpoints that are evaluated.
    image_set : str
        What the image set is called in the store, "" where it is not there.
    places : Dataset, optional
        Row and column of each token.
    """

    dataset: xr.Dataset
    image_set: str
    places: xr.Dataset | None
    _numbers: dict[int, Mapping[str, np.ndarray]] = field(default_factory=dict)
    _top: dict[int, np.ndarray] = field(default_factory=dict)
    _ids: dict[str, int] = field(default_factory=lambda: {"": 0})
    _lock: Lock = field(default_factory=Lock)

    @cached_property
    def labels(self) -> list[str]:
        """Checkpoints, in training order."""
        return [str(label) for label in self.dataset[CHECKPOINT].values]

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return [str(each) for each in self.dataset[CLASS].values]

    @cached_property
    def scored(self) -> dict[str, str]:
        """Numbers that have a null of shuffles, with what is shuffled, of those that were found."""
        there = {name: what for name, what in _SCORED.items() if name in self.dataset}
        return there if self.classes else {n: w for n, w in there.items() if n != "selectivity"}

    @property
    def n_top(self) -> int:
        """Top images that are looked at."""
        return min(MAX_RANKS, self.dataset.sizes[RANK])

    @property
    def score(self) -> str:
        """How tokens of an image make the score by which top images are ranked."""
        return str(self.dataset[SCORE].values[0])

    def places_of(self, latents: Sequence[int]) -> np.ndarray:
        """Places of some latents among all."""
        return np.searchsorted(self.dataset[LATENT].values, list(latents))

    def numbers(self, row: int) -> Mapping[str, np.ndarray]:
        """Numbers of all latents at a checkpoint, (latent,), and bounds of their nulls."""
        if row not in self._numbers:
            self._numbers[row] = self._read_numbers(self.dataset.isel({CHECKPOINT: row}))
        return self._numbers[row]

    def _read_numbers(self, of_row: xr.Dataset) -> Mapping[str, np.ndarray]:
        frequency = of_row["frequency"].values
        state = np.select([frequency == 0, frequency > DENSE], [2.0, 1.0], 0.0)
        numbers = {
            "state": np.where(np.isfinite(frequency), state, np.nan),
            "frequency": frequency,
            "max": of_row["max"].values,
        }
        for name in self.scored:
            null = of_row[f"null_{name}"].transpose(SHUFFLE, LATENT).values
            numbers[name] = of_row[name].values
            numbers[f"{name}_low"], numbers[f"{name}_high"] = _bounds_of(null)
        if self.classes:
            best = of_row["best_class"].values.astype(float)
            numbers["best_class"] = np.where(best >= 0, best, np.nan)
        return numbers

    def top(self, row: int, places: np.ndarray) -> np.ndarray:
        """Ids of the top images of latents at some places, (latent, rank) str, "" for none."""
        with self._lock:  # what numbers an id is one thread at a time
            if row not in self._top:
                at = {CHECKPOINT: row, SCORE: 0, RANK: slice(self.n_top)}
                first = self.dataset[["top_sample", "top_value"]].isel(at)
                ids, values = (each.transpose(LATENT, RANK).values for each in first.values())
                # Images in which it does not fire are the best of nothing.
                self._top[row] = np.where(values > 0, self._numbered(ids), 0)
        numbers = self._top[row][places]
        names = [*self._ids]
        return np.array([names[each] for each in numbers.ravel()], str).reshape(numbers.shape)

    def top_values(self, row: int, places: np.ndarray) -> np.ndarray:
        """Scores of the top images of latents at some places, (latent, rank)."""
        at = {CHECKPOINT: row, SCORE: 0, RANK: slice(self.n_top), LATENT: places}
        values: np.ndarray = self.dataset["top_value"].isel(at).transpose(LATENT, RANK).values
        return values

    def _numbered(self, ids: np.ndarray) -> np.ndarray:
        """Ids as numbers: a few thousand texts stand there, each often."""
        codes, names = pd.factorize(np.asarray(ids, object).ravel())
        numbers = [self._ids.setdefault(str(name), len(self._ids)) for name in names]
        return np.array([*numbers, 0], np.int32)[codes].reshape(ids.shape)


def _bounds_of(null: np.ndarray) -> np.ndarray:
    """Bounds of a null (shuffle, latent), (low and high, latent), NaN where it is not known."""
    bounds = np.full((2, null.shape[1]), np.nan)
    is_known = np.isfinite(null).all(0)
    if len(null) and is_known.any():
        bounds[:, is_known] = np.quantile(null[:, is_known], (1 - SHARE, SHARE), axis=0)
    return bounds
