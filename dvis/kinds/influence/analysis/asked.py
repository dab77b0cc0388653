"""What is asked of influence and births, refused where it cannot be answered.

What a caller gave in, units and draws that all statistics share out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.births import FINGERPRINT
from dvis.analysis.requirements import require_whole_numbers
from dvis.analysis.trajectories import origin
from dvis.kinds.influence.analysis.exchange import Draws, drawn
from dvis.kinds.influence.analysis.layer_pairs import (
    LayerPair,
    births_along,
    pairs_of,
    require_influence,
    whole,
)
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO
from dvis.store.portable import nested


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Influence and births, ready to be looked at.

    Attributes
    ----------
    strength : DataArray, (checkpoint, layer_from, channel_from, layer_to, channel_to)
    births : mapping of str to ndarray, (channel,)
        Of each layer, as places along influence's checkpoints.
    pairs : list of LayerPair
        With units that were born.
    draws : Draws
        Of the born units of each layer.
    generator : Generator
        For draws of edges.
    attrs : mapping
        Where it comes from, and the numbers of draws.
    """

    strength: xr.DataArray
    births: Mapping[str, np.ndarray]
    pairs: list[LayerPair]
    draws: Draws
    generator: np.random.Generator
    attrs: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        influence: xr.Dataset,
        births: xr.Dataset,
        *,
        n_permutations: int,
        n_bootstrap: int,
        seed: int,
        **numbers: int,
    ) -> "Asked":
        """What is asked.

        Raises
        ------
        TypeError, SchemaError, ValueError
            As `assembly` does.
        """
        counts = {**numbers, "n_permutations": n_permutations, "n_bootstrap": n_bootstrap}
        require_whole_numbers(**counts, seed=seed)
        for name, number in counts.items():
            if number < 1:
                raise ValueError(f"{name}={number}: give 1 or more")
        require_influence(influence)
        when = births_along(births, influence)
        _refuse_same_images(influence, births)
        strength = whole(influence)
        pairs = list(pairs_of(strength, when))
        if not pairs:
            raise ValueError(
                f"No pair of the layers {', '.join(when)} has three sources and three targets "
                "that were born and whose influence is measured. Look at births' `state`, and at "
                "influence's `status`"
            )
        n_born = {layer: int(np.isfinite(of_layer).sum()) for layer, of_layer in when.items()}
        return cls(
            strength=strength,
            births=when,
            pairs=pairs,
            draws=drawn(n_born, n_permutations, n_bootstrap, seed),
            generator=np.random.default_rng([seed, 1]),
            attrs={
                **origin(influence),
                "method": str(influence.attrs.get("method", "")),
                "births_measure": str(births.attrs.get("measure", "")),
                "n_permutations": n_permutations,
                "n_bootstrap": n_bootstrap,
                "seed": seed,
            },
        )

    def births_of(self, pair: LayerPair) -> tuple[np.ndarray, np.ndarray]:
        """Births of a pair's sources and of its targets."""
        sources = self.strength[CHANNEL_FROM].values[pair.rows].astype(int)
        targets = self.strength[CHANNEL_TO].values[pair.columns].astype(int)
        return self.births[pair.source][sources], self.births[pair.target][targets]

    def orders_of(self, pair: LayerPair) -> tuple[np.ndarray, np.ndarray]:
        """Orders of a pair's sources and of its targets."""
        return (
            self.draws.order_of(pair.source, pair.row_units),
            self.draws.order_of(pair.target, pair.column_units),
        )

    def weights_of(self, pair: LayerPair) -> tuple[np.ndarray, np.ndarray]:
        """How often a pair's sources and its targets are drawn, 1 or more in each sample."""
        return (
            _some(self.draws.weights[pair.source][:, pair.row_units]),
            _some(self.draws.weights[pair.target][:, pair.column_units]),
        )

    def of_targets(self, pair: LayerPair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Births, orders and weights of a pair's targets."""
        return self.births_of(pair)[1], self.orders_of(pair)[1], self.weights_of(pair)[1]


def _some(weights: np.ndarray) -> np.ndarray:
    """Weights, all 1 in a sample that has none of these units."""
    return np.where(weights.sum(1, keepdims=True) > 0, weights, 1)


def _refuse_same_images(influence: xr.Dataset, births: xr.Dataset) -> None:
    """Raise where both are known to be of the same images."""
    images = influence.attrs.get("images", {})
    if isinstance(images, str) and images.startswith("{"):
        images = nested(images)
    of_influence = images.get("fingerprint") if isinstance(images, Mapping) else None
    of_births = births.attrs.get(FINGERPRINT)
    if of_influence and of_births and str(of_influence) == str(of_births):
        raise ValueError(
            f"Influence and births are of the same images (fingerprint {of_births}), so that what "
            "is peculiar to these would look like an association. Take births of responses to "
            "other ones: `dvis respond` with another --dataset, --seed or --images"
        )
