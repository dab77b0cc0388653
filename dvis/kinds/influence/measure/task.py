"""Some of the work on one model: sources onto all their targets, or all sources onto a target."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from dvis.kinds.influence.words import CHANNEL_FROM, LAYER_FROM, LAYER_TO
from dvis.kinds.saes.measure.autoencoder import Autoencoder


@dataclass(frozen=True)
class InfluenceTask:
    """Pairs of a channel and a later layer: of one layer_from, or onto one layer_to.

    Parameters
    ----------
    pairs : tuple of (str, int, str)
        Layer and channel of the source, and layer of the target.
    parts : tuple of int
        Which of the pairs.
    by_target : bool
        Whether all are onto one layer, as attribution has them.
    autoencoders : mapping of str to Autoencoder
        Of one checkpoint, for layers that are latents.
    """

    pairs: tuple[tuple[str, int, str], ...]
    parts: tuple[int, ...]
    by_target: bool = False
    autoencoders: Mapping[str, Autoencoder] = field(default_factory=dict, compare=False)

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same task, and other pairs of it."""
        return replace(self, parts=parts)

    @property
    def asked(self) -> list[tuple[str, int, str]]:
        """The pairs that are asked for."""
        return [self.pairs[part] for part in self.parts]

    @property
    def labels(self) -> dict[str, Any]:
        """Labels of the parts; the layer that all have is one for all."""
        layers, channels, targets = zip(*self.asked, strict=True)
        return {
            LAYER_FROM: np.array(layers, object) if self.by_target else layers[0],
            CHANNEL_FROM: np.array(channels),
            LAYER_TO: targets[0] if self.by_target else np.array(targets, object),
        }

    @property
    def sources(self) -> dict[str, tuple[int, ...]]:
        """Channels that are asked for of each layer of a source."""
        found: dict[str, dict[int, None]] = {}
        for layer, channel, _ in self.asked:
            found.setdefault(layer, {})[channel] = None
        return {layer: tuple(sorted(channels)) for layer, channels in found.items()}

    @property
    def targets(self) -> tuple[str, ...]:
        """Layers of the targets that are asked for."""
        return tuple(dict.fromkeys(target for *_, target in self.asked))

    @property
    def looked_at(self) -> set[str]:
        """Layers of sources and targets."""
        return {*self.sources, *self.targets}

    def __str__(self) -> str:
        return f"{', '.join(self.sources)} onto {', '.join(self.targets)}"
