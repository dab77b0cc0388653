"""Latents of layers' autoencoders as units that may tell attributes: which there are.

Options, checkpoints and layers in; a store's autoencoders out.
"""

from collections.abc import Mapping

import xarray as xr

from dvis.kinds.attributes.options import AttributeOptions
from dvis.kinds.saes.directions import stored_autoencoders
from dvis.models.hooks import LayerOutput
from dvis.models.model_reference import model_name
from dvis.schema import CHANNEL, CHECKPOINT
from dvis.sweep.run_facts import RunFacts


def trained_autoencoders(
    options: AttributeOptions, run: RunFacts, outputs: Mapping[str, LayerOutput]
) -> dict[str, xr.Dataset]:
    """Autoencoders that are asked for, by the layer that they are of.

    Raises
    ------
    KeyError, SchemaError
        When the store has no such autoencoders.
    ValueError
        When none is of these layers and checkpoints, or one has another number of channels.
    """
    if options.latents is None:
        return {}
    store = options.store_of(model_name(options.model))
    found = stored_autoencoders(store, options.latents, run=options.run, weights=run.fingerprints)
    labels = {checkpoint.label for checkpoint in run.checkpoints}
    own = {
        layer: dataset
        for layer, dataset in found.items()
        if layer in outputs and labels & set(dataset[CHECKPOINT].values.tolist())
    }
    if not own:
        raise ValueError(
            f"no autoencoder {options.latents!r} is of these layers and checkpoints: there are "
            f"some of {', '.join(found)}; name these layers, or run `dvis sae train` first"
        )
    for layer, dataset in own.items():
        if dataset.sizes[CHANNEL] != outputs[layer].n_channels:
            raise ValueError(
                f"the autoencoder {options.latents} of {layer} is of {dataset.sizes[CHANNEL]} "
                f"channels, and {layer} has {outputs[layer].n_channels}; give the model that it "
                "was trained on"
            )
    return own
