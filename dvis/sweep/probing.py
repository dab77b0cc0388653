"""A run's model and the fixed images that it is probed with, as plans need them.

Options of a run and of images in; the model at its first checkpoint, the images, and what each
layer gives of them out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from dvis.models.data import ImageSet, load_images
from dvis.models.data.fixed_images import FixedImages, images_of_files, noise_images
from dvis.models.data.transform import InputTransform
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import Model
from dvis.models.probe_options import ImageOptions, ProbeOptions
from dvis.models.recalibration import Recalibrated
from dvis.schema import did_you_mean
from dvis.sweep.probing_options import ProbedRun
from dvis.sweep.run_facts import RunFacts

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256
N_STATISTICS = 256  # images that statistics of batch norm want (Wu and Johnson 2021)


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
    recalibrated : Recalibrated
        Models with the batch norm that is asked for: of these images, or of more of the same set.
    notes : list of str
        What is to be said of the images.
    outputs : dict of str to LayerOutput
        What each layer gives, the model itself left out.
    batch_size : int
        Images in one forward pass.
    """

    module: nn.Module
    model_input: ModelInput
    images: FixedImages
    recalibrated: Recalibrated
    notes: list[str]
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


def probe_of(options: ProbedRun, run: RunFacts) -> Probe:
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
    images = _asked(options, taken.transform)
    of_statistics, notes = _of_statistics(options, images, module)
    default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    return Probe(
        module=module,
        model_input=taken,
        images=images,
        recalibrated=Recalibrated(of_statistics, options.batch_norm),
        notes=notes,
        outputs=_outputs(options.model, module, images),
        batch_size=options.batch_size or default,
    )


def _asked(options: ProbeOptions, transform: InputTransform) -> FixedImages:
    """The images that are asked for, as a model takes them."""
    if options.dataset is not None and options.n_images is None and options.images_unasked:
        images = _up_to(options.images_unasked, options, transform)
    else:
        images = FixedImages.of(image_set(options, transform, options.n_images), transform)
    if len(images) < options.fewest_images:
        raise ValueError(
            f"there are {len(images)} images; it is a spread over images that is measured, and "
            f"needs {options.fewest_images} or more"
        )
    return images


def _of_statistics(
    options: ProbeOptions, images: FixedImages, module: nn.Module
) -> tuple[FixedImages, list[str]]:
    """Images for statistics of batch norm, and what is to be said where they are few.

    They are the same where those are enough, else more of the same kind.
    """
    if options.batch_norm == "running" or not Recalibrated.changes(module):
        return images, []
    if len(images) < N_STATISTICS and not options.images:
        images = _up_to(N_STATISTICS, options, images.transform)
    if len(images) >= N_STATISTICS:
        return images, []
    return images, [
        f"statistics of batch norm are of {len(images)} images, for there are no more; "
        f"{N_STATISTICS} are better, or --batch-norm running"
    ]


def _up_to(n_images: int, options: ProbeOptions, transform: InputTransform) -> FixedImages:
    """So many images, or all of a set that has fewer."""
    try:
        found = image_set(options, transform, n_images)
    except ValueError:  # the set has fewer; of another reason it is said again
        found = image_set(options, transform, None)
    return FixedImages.of(found, transform)


def image_set(options: ImageOptions, transform: InputTransform, n_images: int | None) -> ImageSet:
    """So many of the images that are asked for, or all: of a set, noise, or of files.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no such set or file, or there are fewer images.
    """
    if options.dataset is not None:
        return load_images(
            options.dataset,
            options.data_path,
            split=options.split,
            size=transform.size,
            n_samples=n_images,
            seed=options.seed,
        )
    if options.noise is not None:
        return noise_images(n_images or options.noise, options.seed, transform)
    return images_of_files(options.images, transform)


@contextmanager
def telling_misfits(model: Model, transform: InputTransform) -> Iterator[None]:
    """Say of torch's errors in a first pass that the model does not take such images.

    Raises
    ------
    ValueError
        With what the images are.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as err:
        raise ValueError(
            f"{model} takes no images of {transform.channels} channels and {transform.size} x "
            f"{transform.size} px: {str(err).splitlines()[0]}. Give another --input-size or "
            "--input-channels"
        ) from err


def told_of(images: FixedImages) -> dict[str, Any]:
    """What a group keeps of its images."""
    return {
        "name": images.images.name,
        "fingerprint": images.fingerprint,
        "n_images": len(images),
        "transform": images.transform.to_dict(),
    }


def _outputs(model: Model, module: nn.Module, images: FixedImages) -> dict[str, LayerOutput]:
    with telling_misfits(model, images.transform):
        traced = trace_layers(module, images.batch(0, 1, next(module.parameters())))
    return {layer: output for layer, output in traced.items() if layer}
