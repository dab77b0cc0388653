"""Latents as the page maps them: by their decoder directions, on axes that stay."""

from collections.abc import Iterator

import numpy as np

from dvis.analysis.fixed_maps import MOST_ENTRIES, fixed_map
from dvis.kinds.mapped import MapSource, UnitMap
from dvis.kinds.parts import Asked
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.listed import Latents, listed_latents
from dvis.plots.canvas import evenly
from dvis.schema import CHANNEL, CHECKPOINT

_DISTANCE = (
    "The distance of two latents is that of their decoder directions, of length 1: near 0 where "
    "they write the same into the layer"
)


def latent_maps(asked: Asked) -> Iterator[MapSource]:
    """A map of the latents of each of a run's autoencoders."""
    for listed in listed_latents(asked):
        if isinstance(listed, Latents):
            yield MapSource(
                run=asked.run,
                name=f"{listed.key.layer}/{listed.key.name}",
                noun=LATENT,
                list_name=listed.key.name,
                distance=_DISTANCE,
                make=_Making(listed),
            )


class _Making:
    """Makes the map of an autoencoder's latents."""

    def __init__(self, listed: Latents) -> None:
        self.listed = listed

    def __call__(self) -> UnitMap:
        """The map.

        Raises
        ------
        SchemaError, ValueError
            When nothing is trained yet, or too few latents are.
        """
        listed = self.listed
        head, decoder = listed.head(), listed.trained["decoder"]
        chosen = evenly(decoder.sizes[CHANNEL], MOST_ENTRIES)
        directions = decoder.transpose(CHECKPOINT, LATENT, CHANNEL).isel({CHANNEL: chosen})
        found = fixed_map(directions, centre=False)
        (best, classes) = self._best_classes()
        places = {unit: place for place, unit in enumerate(head.units)}
        texts = {**head.names, **listed.notes()}
        return UnitMap(
            layers=[listed.key.layer] * len(head.units),
            units=head.units,
            checkpoints=head.checkpoints,
            position=found["position"].values,
            explained=found["explained"].values,
            classes=classes,
            best_class=best,
            notes={places[unit]: text for unit, text in texts.items() if unit in places},
            remarks=head.remarks,
        )

    def _best_classes(self) -> tuple[np.ndarray | None, list[str]]:
        found = self.listed.found
        if found is None or not found.classes:
            return None, []
        rows = [
            np.nan_to_num(self.listed.numbers(row)["best_class"], nan=-1).astype(int)
            for row in range(len(self.listed.labels))
        ]
        return np.stack(rows), list(found.classes)
