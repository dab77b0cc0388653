"""What of a model is asked for: whether it has such layers, channels and neurons."""

from collections.abc import Mapping, Sequence

from torch import nn

from dvis.kinds.features.measure.objectives import map_size
from dvis.models.hooks import LayerOutput, convolutions
from dvis.schema import did_you_mean


def of_layers(
    model: nn.Module, outputs: Mapping[str, LayerOutput], asked: Sequence[str]
) -> dict[str, LayerOutput]:
    """What the layers that are asked for give; all convolutions where none is.

    Raises
    ------
    KeyError
        When the model has no such layer.
    ValueError
        When a layer's output has no channels.
    """
    layers = asked or convolutions(model, outputs)
    modules = dict(model.named_modules())
    for layer in layers:
        if layer in modules and layer not in outputs:
            raise ValueError(
                f"layer {layer!r} of {type(model).__name__} gives no channels in a forward "
                "pass in eval mode: (batch, channel), (batch, token, channel) or "
                "(batch, channel, row, column); take another layer"
            )
        if layer not in outputs:
            names = [name for name in outputs if name]
            raise KeyError(did_you_mean("layer", layer, names, type(model).__name__))
    return {layer: outputs[layer] for layer in layers}


def check_units(
    layer: str,
    output: LayerOutput,
    channels: Sequence[int],
    neurons: Sequence[tuple[int, int]],
    image_size: int,
) -> None:
    """See that a layer has channels and neurons.

    Raises
    ------
    ValueError
        When it has not.
    """
    for index in channels:
        if not 0 <= index < output.n_channels:
            raise ValueError(
                f"channel is {index}; {layer} has {output.n_channels} channels: 0 to "
                f"{output.n_channels - 1}"
            )
    height, width = map_size(output)
    for row, column in neurons:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f"neuron is {row},{column}; the map of {layer} has {height} rows and {width} "
                f"columns at {image_size} px, counted from 0"
            )
