"""Layers as sources and targets: which there are, and in which order they run."""

from collections.abc import Iterable, Mapping

from torch import nn

from dvis.kinds.influence.measure.nodes import Channels, Latents, Node
from dvis.kinds.influence.options import OF_LATENTS
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.models.hooks import LayerOutput
from dvis.schema import did_you_mean


def nodes_of(
    outputs: Mapping[str, LayerOutput],
    names: Iterable[str],
    autoencoders: Mapping[str, Autoencoder],
) -> dict[str, Node]:
    """Layers, and latents by `layer~autoencoder`, in the order of execution.

    Latents without an autoencoder are left out.

    Raises
    ------
    ValueError
        When an autoencoder is of another number of channels.
    """
    found: dict[str, Node] = {}
    for name in dict.fromkeys(names):
        layer, of_latents, _ = name.partition(OF_LATENTS)
        if not of_latents:
            found[name] = Channels(layer=layer, output=outputs[layer])
        elif name in autoencoders:
            one, output = autoencoders[name], outputs[layer]
            if one.n_channels != output.n_channels:
                raise ValueError(
                    f"the autoencoder {name} is of {one.n_channels} channels, and {layer} has "
                    f"{output.n_channels}; give the model that it was trained on"
                )
            found[name] = Latents(layer=layer, output=output, autoencoder=one)
    return dict(sorted(found.items(), key=lambda item: item[1].output.depth))


def check_layers(
    model: nn.Module, outputs: Mapping[str, LayerOutput], layers: Iterable[str]
) -> None:
    """Raise where a model has no such layer, it gives no channels, or runs several times.

    Raises
    ------
    KeyError
        When there is no such layer.
    ValueError
        When it gives no channels, or runs more than once in a pass.
    """
    names = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer not in names:
            raise KeyError(did_you_mean("layer", layer, names, type(model).__name__))
        if layer not in outputs:
            raise ValueError(
                f"layer {layer!r} of {type(model).__name__} gives no channels in a forward pass in "
                "eval mode: (batch, channel), (batch, token, channel) or (batch, channel, row, "
                "column); take another layer"
            )
        if outputs[layer].n_calls != 1:
            raise ValueError(
                f"layer {layer!r} runs {outputs[layer].n_calls} times in a pass, so that it is not "
                "told which of its outputs is meant; name a layer that runs once, such as the one "
                "before it"
            )
