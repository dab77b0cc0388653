"""Where the shares of a model's layers go: each layer is kept, and counts, by itself."""

import numpy as np
import xarray as xr

from dvis.kinds.edges.measure import EdgesTask
from dvis.kinds.edges.words import INPUT_CHANNEL
from dvis.schema import CHANNEL, LAYER
from dvis.sweep.record import GroupRecorder


class EdgesRecorder(GroupRecorder):
    """A group of shares that one sweep fills."""

    def record(self, label: str, task: EdgesTask, result: xr.Dataset) -> list[str]:
        """Put the shares of a task's layers into the group, one layer after another."""
        said: list[str] = []
        first = 0
        for place, layer in enumerate(result[LAYER].values.tolist()):
            shape = int(result["n_outputs"][place]), int(result["n_inputs"][place])
            stop = first + int(np.prod(shape))
            shares = result["share"].values[first:stop].reshape(1, *shape)
            of_layer = xr.Dataset(
                {
                    "share": ((LAYER, CHANNEL, INPUT_CHANNEL), shares),
                    "error": (LAYER, result["error"].values[[place]]),
                },
                {LAYER: [layer]},
            )
            alone = task.with_parts((task.layers.index(layer),))
            said += super().record(label, alone, of_layer)
            first = stop
        return said
