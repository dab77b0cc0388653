"""Measuring from Python: each function writes what `dvis` reads under the same name.

    from dvis import measure
    measure.responses(net, {"start": before, "end": after}, noise=8, store="stores/net.zarr")
    dvis.responses("stores/net.zarr")

Options are those of the command, by their names and flat. Torch is loaded when one is called.
"""

from dvis.measure.autoencoders import chain_saes, evaluate_saes, saes, track_saes
from dvis.measure.circuits import edges, kernels
from dvis.measure.models import (
    activations,
    chimera,
    features,
    influence,
    layers,
    llc,
    responses,
    sizes,
)
from dvis.measure.readouts import attributes, probes

__all__ = [
    "activations",
    "attributes",
    "chain_saes",
    "chimera",
    "edges",
    "evaluate_saes",
    "features",
    "influence",
    "kernels",
    "layers",
    "llc",
    "probes",
    "responses",
    "saes",
    "sizes",
    "track_saes",
]
