"""Activations of an image set at every checkpoint of a run, into a store.

A model's name, its checkpoints and an image set in; a group `{run}/activations/{name}/{layer}` a
layer grows. What is there is skipped, so that a run that was stopped goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from dvis.kinds.activations.layers import KeptLayer, kept_layer, named_layers
from dvis.kinds.activations.measure import ActivationMeasurement, BlockTask
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.record import LayersRecorder
from dvis.kinds.activations.samples import duplicates, samples_of
from dvis.kinds.activations.value_files import Lock, ValueFiles
from dvis.kinds.activations.words import (
    BLOCK,
    KIND,
    TOKEN,
    activation_words,
    group_name,
    samples_in_block,
)
from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import model_name
from dvis.schema import CHANNEL, group_path
from dvis.store.contents import contents
from dvis.store.datasets import (
    DATASETS,
    SAMPLE,
    has_dataset,
    keep_dataset,
    name_of_set,
    open_dataset,
)
from dvis.store.writer import create_store
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256


def keep_activations(
    options: ActivationOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the activations that a store lacks.

    Parameters
    ----------
    options : ActivationOptions
        Model, checkpoints, layers and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many blocks of samples were measured, counted for each layer, and what is to be said.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer or tokens, images cannot be read, an option is out of its
        range, or the store has activations of other images under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    survey = surveyed(options)
    store = survey.store
    create_store(store, model_name(options.model), next(iter(survey.run.architecture), None))
    notes = _with_set(store, survey, progress=progress)
    plan = _planned(survey, notes)
    return carry_out(plan, survey.run, options, client=client, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a call would measure, found out before anything is written.

    Parameters
    ----------
    options : ActivationOptions
        What is asked for.
    run : RunFacts
        The checkpoints.
    model : nn.Module
        The first that can be loaded.
    model_input : ModelInput
        What it takes.
    images : FixedImages
        The images as it takes them.
    layers : tuple of KeptLayer
        Its layers, and what is kept of each.
    block_samples : int
        Samples of a block.
    """

    options: ActivationOptions
    run: RunFacts
    model: nn.Module
    model_input: ModelInput
    images: FixedImages
    layers: tuple[KeptLayer, ...]
    block_samples: int

    @property
    def store(self) -> Path:
        """The store."""
        return self.options.store_of(model_name(self.options.model))

    @property
    def set_name(self) -> str:
        """What the image set is called in the store."""
        return name_of_set(self.images.images.name, self.images.fingerprint)

    @property
    def n_blocks(self) -> int:
        """Blocks of samples at a checkpoint."""
        return -(-len(self.images) // self.block_samples)

    def measurement(self, *, writes: bool) -> ActivationMeasurement:
        """What is measured; whether it may write values into the store itself."""
        options = self.options
        store = self.store.absolute()
        files = tuple(
            ValueFiles(
                store,
                group_path(options.run, KIND, group_name(options.called, layer.name)),
                (self.block_samples, layer.n_tokens, layer.n_channels),
                options.dtype,
            )
            for layer in self.layers
        )
        default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
        return ActivationMeasurement(
            images=self.images,
            layers=self.layers,
            block_samples=self.block_samples,
            dtype=options.dtype,
            batch_size=options.batch_size or default,
            files=files,
            lock=Lock.of_this_process(store, f"{options.run}/{KIND}") if writes else None,
        )


def surveyed(options: ActivationOptions) -> Survey:
    """Look at checkpoints, images and layers; nothing is written.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `keep_activations` does.
    """
    if options.run == DATASETS:
        raise ValueError(f"the run is called {DATASETS}, where stores keep image sets; rename it")
    assert options.dataset is not None
    find_device(options.device)
    run = run_of(options)
    model, first = run.first_model(options.model)
    facts = run.facts.get(first, {})
    taken = find_input(options, facts, options.model, model, options.image_size)
    images = load_images(
        options.dataset,
        options.data_path,
        split=options.split,
        size=taken.transform.size,
        n_samples=options.n_images,
        seed=options.seed,
    )
    fixed = FixedImages.of(images, taken.transform)
    outputs = _outputs(model, fixed, options)
    names = named_layers(model, outputs, options.layers)
    layers = tuple(
        kept_layer(model, name, outputs[name], options.tokens, options.n_random, options.seed)
        for name in names
    )
    widest = max(layer.n_tokens * layer.n_channels for layer in layers)
    n_bytes = widest * np.dtype(options.dtype).itemsize
    stored = _stored_block(options)
    return Survey(
        options=options,
        run=run,
        model=model,
        model_input=taken,
        images=fixed,
        layers=layers,
        block_samples=stored or samples_in_block(n_bytes, len(fixed)),
    )


def _outputs(
    model: nn.Module, images: FixedImages, options: ActivationOptions
) -> dict[str, LayerOutput]:
    transform = images.transform
    shape = (1, transform.channels, transform.size, transform.size)
    try:
        return trace_layers(model, next(model.parameters()).new_zeros(shape))
    except (RuntimeError, AssertionError) as err:  # torch's, of images that a layer does not fit
        raise ValueError(
            f"{options.model} takes no images of {transform.channels} channels and "
            f"{transform.size} x {transform.size} px: {str(err).splitlines()[0]}. Give another "
            "--input-size or --input-channels"
        ) from err


def _stored_block(options: ActivationOptions) -> int | None:
    """Samples of a block of what the store has under the name, so that layers have the same."""
    store = options.store_of(model_name(options.model))
    if options.overwrite or not (store / "zarr.json").is_file():
        return None
    for entry in contents(store).of(KIND, options.run):
        if entry.name.startswith(group_name(options.called, "")):
            return int(entry.attrs["block_samples"])
    return None


def _with_set(store: Path, survey: Survey, *, progress: bool) -> tuple[str, ...]:
    """Have the store know the samples; return what is to be said of the set."""
    images, name = survey.images.images, survey.set_name
    if not has_dataset(store, name):
        keep_dataset(store, name, samples_of(images, progress=progress))
    said = duplicates(open_dataset(store, name)["content"].values, images.sample_ids)
    return (said,) if said else ()


def _planned(survey: Survey, notes: tuple[str, ...]) -> Plan:
    """The plan of all layers, whose recorder has a plan of each layer's own group."""
    options, n_layers = survey.options, len(survey.layers)
    measurement = survey.measurement(writes=True)
    plans = [_plan_of_layer(survey, layer, measurement) for layer in survey.layers]
    recorder = LayersRecorder(plans)
    numbers = zip(options.layers, survey.layers, strict=True)
    resolved = [f"layer {asked} is {kept.name}" for asked, kept in numbers if asked != kept.name]
    tasks = [BlockTask(block, tuple(range(n_layers))) for block in range(survey.n_blocks)]
    return Plan(
        model=options.model,
        words=plans[0].words,
        name=options.called,
        measurement=measurement,
        tasks=tasks,
        start=recorder.rows,
        unit="block",
        recorder=recorder.open,
        model_input=survey.model_input,
        notes=(*resolved, *notes),
    )


def _plan_of_layer(survey: Survey, layer: KeptLayer, measurement: ActivationMeasurement) -> Plan:
    options, images = survey.options, survey.images
    return Plan(
        model=options.model,
        words=activation_words(
            options.dtype,
            block_samples=survey.block_samples,
            n_tokens=layer.n_tokens,
            n_channels=layer.n_channels,
        ),
        name=group_name(options.called, layer.name),
        measurement=measurement,
        tasks=(),
        settings={
            "layer": layer.name,
            "dataset": survey.set_name,
            "fingerprint": images.fingerprint,
            "n_samples": len(images),
            "transform": images.transform.to_dict(),
            "tokens": options.tokens,
            **({} if options.n_random is None else {"seed": options.seed}),
            "dtype": options.dtype,
            "block_samples": survey.block_samples,
            "n_all_tokens": layer.n_all,
            "classes": list(images.images.classes),
        },
        labels={
            SAMPLE: images.images.sample_ids,
            TOKEN: range(layer.n_tokens),
            CHANNEL: range(layer.n_channels),
            BLOCK: range(survey.n_blocks),
        },
        columns=_columns(layer.columns),
        model_input=survey.model_input,
        unit="block",
    )


def _columns(columns: dict[str, Any]) -> dict[str, dict[int, Any]]:
    return {name: dict(enumerate(_listed(values))) for name, values in columns.items()}


def _listed(values: Sequence[Any] | np.ndarray) -> list[Any]:
    listed: list[Any] = np.asarray(values).tolist()
    return listed
