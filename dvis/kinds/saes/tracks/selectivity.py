"""What an evaluation found of the latents that tracks are of, where it is of the same weights.

A store and a name in, numbers of latents by checkpoint out. Nothing here writes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.plan_evaluation import weights_told
from dvis.kinds.saes.read import saes
from dvis.kinds.saes.words import KIND, evaluation_name
from dvis.schema import CHECKPOINT, SOURCE, Status
from dvis.store.contents import contents, open_group


def selectivity_of(
    store: Path, layer: str, name: str, run: str, labels: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Selectivity of latents, (latent,), by checkpoint, of those that are evaluated.

    Parameters
    ----------
    store : Path
        The store.
    layer, name, run : str
        Of which autoencoders.
    labels : sequence of str
        Checkpoints.
    """
    called = evaluation_name(layer, name)
    entries = [each for each in contents(store).of(KIND, run) if each.name == called]
    if not entries:
        return {}
    group: Any = open_group(store, entries[0])
    there = np.asarray(group[CHECKPOINT][:]).tolist()
    status, weights = np.asarray(group["status"][:]), np.asarray(group[f"{SOURCE}/weights"][:])
    trained, found = saes(store, layer, name, run), {}
    for label in labels:
        row = there.index(label) if label in there else -1
        if row < 0 or status[row] != Status.COMPLETE:
            continue
        if int(weights[row]) == weights_told(autoencoder_at(trained, label)):
            found[label] = np.asarray(group["selectivity"][row], np.float64)
    return found
