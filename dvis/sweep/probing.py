"""A run's model and the fixed images that it is probed with, as plans need them.

Options of a run and of images in; the model at its first checkpoint, the images, and what each
layer gives of them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.data.transform import InputTransform
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import Model
from dvis.models.probe_options import ProbeOptions
from dvis.schema import did_you_mean
from dvis.sweep.probing_options import ProbeRunOptions
from dvis.sweep.run_facts import RunFacts

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A model at its first checkpoint, and what it is probed with.

    Attributes
    ----------
    module : nn.Module
        The model in eval mode.
    model_input : ModelInput
        What it takes, and who tells so.
    images : FixedImages
        The images.
    outputs : dict of str to LayerOutput
        What each layer gives, the model itself left out.
    batch_size : int
        Images in one forward pass.
    """

    module: nn.Module
    model_input: ModelInput
    images: FixedImages
    outputs: dict[str, LayerOutput]
    batch_size: int

    def chosen(self, layers: Sequence[str]) -> dict[str, LayerOutput]:
        """Some of the layers, in the order of execution.

        Raises
        ------
        KeyError
            When the model has no such layer.
        ValueError
            When a layer's output has no channels.
        """
        names = [name for name, _ in self.module.named_modules() if name]
        what = type(self.module).__name__
        for layer in layers:
            if layer not in names:
                raise KeyError(did_you_mean("layer", layer, names, what))
            if layer not in self.outputs:
                raise ValueError(
                    f"layer {layer!r} of {what} gives no channels in a forward pass in eval mode: "
                    "(batch, channel), (batch, token, channel) or (batch, channel, row, column); "
                    "take another layer"
                )
        return {layer: output for layer, output in self.outputs.items() if layer in layers}


def probe_of(options: ProbeRunOptions, run: RunFacts) -> Probe:
    """The model of a run and its images, ready to be looked at.

    Raises
    ------
    CheckpointError, FileNotFoundError
        When no checkpoint fits the model, or there are no images.
    ValueError
        When the model takes no images of the size, or there are fewer than are asked for.
    """
    module, first = run.first_model(options.model)
    facts = run.facts.get(first, {})
    taken = find_input(options, facts, options.model, module, options.image_size)
    images = probe_images(options, taken.transform, options.n_images)
    default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    return Probe(
        module=module,
        model_input=taken,
        images=images,
        outputs=_outputs(options.model, module, images),
        batch_size=options.batch_size or default,
    )


def probe_images(
    options: ProbeOptions, transform: InputTransform, n_images: int | None
) -> FixedImages:
    """So many of the images that are asked for, or all."""
    if options.dataset is None:
        assert options.noise is not None
        return FixedImages.of(noise_images(options.noise, options.seed, transform), transform)
    image_set = load_images(
        options.dataset,
        options.data_path,
        split=options.split,
        size=transform.size,
        n_samples=n_images,
        seed=options.seed,
    )
    return FixedImages.of(image_set, transform)


def told_of(images: FixedImages) -> dict[str, Any]:
    """What a group keeps of its images."""
    return {
        "name": images.images.name,
        "fingerprint": images.fingerprint,
        "n_images": len(images),
        "transform": images.transform.to_dict(),
    }


def _outputs(model: Model, module: nn.Module, images: FixedImages) -> dict[str, LayerOutput]:
    try:
        traced = trace_layers(module, images.batch(0, 1, next(module.parameters())))
    except (RuntimeError, AssertionError) as err:  # torch's, of images that a layer does not fit
        transform = images.transform
        raise ValueError(
            f"{model} takes no images of {transform.channels} channels and {transform.size} x "
            f"{transform.size} px: {str(err).splitlines()[0]}. Give another --input-size or "
            "--input-channels"
        ) from err
    return {layer: output for layer, output in traced.items() if layer}
