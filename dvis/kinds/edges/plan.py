"""Shares of inputs at every checkpoint of a run, into a store.

Options and the run's files in, a plan out; the group `{run}/edges/{name}` of `stores/{model}.zarr`
grows. What is there is skipped, so that a run that was stopped goes on.
"""

from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import nn

from dvis.kinds.edges.input_layers import input_layers
from dvis.kinds.edges.measure import EdgeShares, EdgesTask
from dvis.kinds.edges.options import BatchNorm, EdgesOptions
from dvis.kinds.edges.record import EdgesRecorder
from dvis.kinds.edges.sums import n_inputs, weighted_layers
from dvis.kinds.edges.words import INPUT_CHANNEL, WORDS
from dvis.models.data import ImageSet, InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages, images_of_files, noise_images
from dvis.models.data.image_set import Split
from dvis.models.devices import find_device
from dvis.models.hooks import layer_columns
from dvis.models.input_options import InputOptions
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import Model
from dvis.models.recalibration import Recalibrated
from dvis.schema import CHANNEL, LAYER
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256
N_IMAGES = 256  # where nobody says how many
_CALIBRATING_IMAGES = 256  # Wu and Johnson 2021: fewer give statistics that are noise


class Probe(Protocol):
    """Images that are asked for: fields of options, beside those of `InputOptions`."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def dataset(self) -> str | None:
        """A labelled set of images."""

    @property
    def data_path(self) -> Path | None:
        """Where it lies."""

    @property
    def split(self) -> Split:
        """Which of its images."""

    @property
    def n_images(self) -> int | None:
        """So many of them."""

    @property
    def image_size(self) -> int | None:
        """Side of images in pixels."""

    @property
    def images(self) -> tuple[Path, ...]:
        """Image files."""

    @property
    def noise(self) -> int | None:
        """So many images of noise."""

    @property
    def seed(self) -> int:
        """Of noise, and of the choice of images."""

    @property
    def batch_size(self) -> int | None:
        """Images in one pass."""

    @property
    def batch_norm(self) -> BatchNorm:
        """Whose statistics batch norm has."""


class Asked(Probe, Protocol):
    """What is asked for."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers; all where none are named."""

    @property
    def name(self) -> str | None:
        """Name of the shares."""


def measure_edges(
    options: EdgesOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the shares of inputs that a store lacks.

    Parameters
    ----------
    options : EdgesOptions
        Model, checkpoints, layers and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many layers were measured, and what is to be said of some: failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, an option is out of its range, or the store has shares on
        other images under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    return carry_out(edges_plan(options, run), run, options, client=client, progress=progress)


def edges_plan(options: Asked, run: RunFacts) -> Plan:
    """The plan of shares of inputs.

    Parameters
    ----------
    options : Asked
        Layers and images, of `EdgesOptions` or of other options that have its fields.
    run : RunFacts
        The checkpoints.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `measure_edges` does.
    """
    model, first = run.first_model(options.model)
    taken = _taken(options, run, model, first)
    transform = taken.transform
    measurement, notes = _measurement(options, transform)
    images = measurement.images
    try:
        outputs = measurement.outputs(model, options.layers)
    except (RuntimeError, AssertionError) as err:  # torch's, of images that a layer does not fit
        raise ValueError(
            f"{options.model} takes no images of {transform.channels} channels and "
            f"{transform.size} x {transform.size} px: {str(err).splitlines()[0]}. Give another "
            "--input-size or --input-channels"
        ) from err
    there = weighted_layers(model, outputs)
    widths = {layer: n_inputs(there[layer]) for layer in outputs}
    image = images.batch(0, 1, next(model.parameters()))
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name or default_name(options),
        measurement=measurement,
        tasks=[EdgesTask(tuple(outputs), tuple(range(len(outputs))))],
        settings={
            "batch_norm": options.batch_norm,
            "images": {
                "name": images.images.name,
                "fingerprint": images.fingerprint,
                "n_images": len(images),
                "transform": transform.to_dict(),
            },
        },
        labels={
            LAYER: list(outputs),
            CHANNEL: range(max(output.n_channels for output in outputs.values())),
            INPUT_CHANNEL: range(max(widths.values())),
        },
        columns={
            **layer_columns(outputs),
            "n_inputs": widths,
            "input_layer": input_layers(model, list(outputs), image),
        },
        recorder=EdgesRecorder.open,
        unit="layer",
        model_input=taken,
        notes=notes,
    )


def shares_on_images(options: Probe, run: RunFacts, model: nn.Module, first: str) -> EdgeShares:
    """What measures shares on the images that are asked for, of a model at its first checkpoint."""
    return _measurement(options, _taken(options, run, model, first).transform)[0]


def default_name(options: Asked) -> str:
    """Name of shares where none is given, by the images."""
    if options.dataset is not None:
        return f"{options.dataset}-{options.split}"
    if options.noise is not None:
        return f"noise-{options.noise}-seed-{options.seed}"
    return (options.images[0].stem if len(options.images) == 1 else "") or "images"


def _taken(options: Probe, run: RunFacts, model: nn.Module, first: str) -> ModelInput:
    """What the model takes."""
    told = {each.name: getattr(options, each.name) for each in fields(InputOptions)}
    facts = run.facts.get(first, {})
    return find_input(InputOptions(**told), facts, options.model, model, options.image_size)


def _measurement(options: Probe, transform: InputTransform) -> tuple[EdgeShares, tuple[str, ...]]:
    """What is measured, and what is to be said of its images."""
    images = FixedImages.of(_images(options, transform), transform)
    calibrating, notes = _calibrating(options, images)
    default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    measurement = EdgeShares(
        images=images,
        recalibrated=Recalibrated(calibrating, options.batch_norm),
        batch_size=options.batch_size or default,
    )
    return measurement, notes


def _images(options: Probe, transform: InputTransform, least: int = 0) -> ImageSet:
    """The images that are asked for, or as many as at least are wanted where there are more."""
    if options.dataset is not None:
        load = partial(
            load_images,
            options.dataset,
            options.data_path,
            split=options.split,
            size=transform.size,
            seed=options.seed,
        )
        if options.n_images is not None:
            return load(n_samples=max(options.n_images, least))
        try:
            return load(n_samples=N_IMAGES)
        except ValueError:  # the set has fewer, or what it raises again
            return load()
    if options.noise is not None:
        return noise_images(max(options.noise, least), options.seed, transform)
    return images_of_files(options.images, transform)


def _calibrating(options: Probe, images: FixedImages) -> tuple[FixedImages, tuple[str, ...]]:
    """Images of whose pass batch norm has its statistics, and what is to be said of them."""
    if options.batch_norm == "running" or len(images) >= _CALIBRATING_IMAGES:
        return images, ()
    more = images
    with suppress(ValueError):  # a set that has fewer
        more = FixedImages.of(
            _images(options, images.transform, _CALIBRATING_IMAGES), images.transform
        )
    if len(more) >= _CALIBRATING_IMAGES:
        return more, ()
    return images, (
        f"batch norm has statistics of {len(images)} images; {_CALIBRATING_IMAGES} or more give "
        "steadier ones",
    )
