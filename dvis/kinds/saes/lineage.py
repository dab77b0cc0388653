"""Whether a latent's number is one latent at all checkpoints: each began from the one before.

Autoencoders as `dvis.saes` gives them in, the reason why they are others out. Nothing here writes.
"""

from itertools import pairwise

import numpy as np
import xarray as xr

from dvis.kinds.saes.words import BEGAN_FROM, POOLED
from dvis.schema import CHECKPOINT, Status

_N_SHOWN = 5
_MENDED = (
    "a number is another latent at each, and none has a development; train them with `dvis sae "
    "train --warm-start --checkpoints all --overwrite`, or look at one checkpoint, such as "
    "ds.isel(checkpoint=[-1])"
)


def why_unmatched(trained: xr.Dataset, name: str) -> str:
    """Why latents of autoencoders have no development over checkpoints, or nothing.

    Parameters
    ----------
    trained : Dataset
        As `dvis.saes` gives it. Of autoencoders of an earlier dvis, which does not say from which
        checkpoint each began, it is believed whether they were trained by a warm start.
    name : str
        What the autoencoders are called.
    """
    if POOLED in trained.attrs:
        return ""
    if not trained.attrs.get("warm_start", False):
        return f"the autoencoders {name} were trained anew at each checkpoint, so that {_MENDED}"
    apart = begun_apart(trained)
    if not apart:
        return ""
    shown = ", ".join(apart[:_N_SHOWN]) + (", ..." if len(apart) > _N_SHOWN else "")
    return (
        f"the autoencoders {name} of {shown} did not begin from that of the checkpoint before, as "
        f"those trained in another order, so that {_MENDED}"
    )


def begun_apart(trained: xr.Dataset) -> list[str]:
    """Checkpoints whose autoencoder did not begin from that of the checkpoint before."""
    if BEGAN_FROM not in trained:
        return []
    is_there = trained["status"].values == Status.COMPLETE
    labels = np.asarray(trained[CHECKPOINT].values)[is_there].tolist()
    began = dict(zip(labels, trained[BEGAN_FROM].values[is_there].tolist(), strict=True))
    return [str(label) for before, label in pairwise(labels) if began[label] != before]
