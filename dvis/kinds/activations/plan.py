"""Activations of an image set at every checkpoint of a run, into a store.

A model's name, its checkpoints and an image set in; a group `{run}/activations/{name}/{layer}` a
layer grows. What is there is skipped, so that a run that was stopped goes on.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.cost import cost_lines, require_budget
from dvis.kinds.activations.layers import KeptLayer
from dvis.kinds.activations.measure import ActivationMeasurement, BlockTask
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.record import LayersRecorder
from dvis.kinds.activations.samples import THUMBNAILS_SHOW, duplicates, samples_of
from dvis.kinds.activations.survey import Survey, surveyed
from dvis.kinds.activations.top import N_BINS, lower_edges
from dvis.kinds.activations.words import BIN, BLOCK, SLOT, TOKEN, activation_words, group_name
from dvis.models.model_reference import model_name
from dvis.schema import CHANNEL
from dvis.store.datasets import SAMPLE, keep_dataset, making_dataset, open_dataset
from dvis.store.thumbnails import ThumbnailFiles
from dvis.store.writer import create_store
from dvis.sweep.plan import Plan
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client


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
        How many blocks of samples were measured, counted for each layer, and what is to be said;
        where `options.plan` asks so, only what it would be, in `notes`.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer or tokens, images cannot be read, an option is out of its
        range, the store has activations of other images under the name, or it would be more than
        the budget.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    survey = surveyed(options)
    store = survey.store
    require_budget(survey)
    if options.plan:
        notes = cost_lines(survey)
        return Report(store=store, run=options.run, name=options.called, unit="block", notes=notes)
    create_store(store, model_name(options.model), next(iter(survey.run.architecture), None))
    plan = _planned(survey, _with_set(store, survey, progress=progress))
    return carry_out(plan, survey.run, options, client=client, progress=progress)


def _with_set(store: Path, survey: Survey, *, progress: bool) -> tuple[str, ...]:
    """Have the store know the samples; return what is to be said of the set."""
    images, name, size = survey.images.images, survey.set_name, survey.options.thumbnail_size
    with making_dataset(store, name) as folder:
        if folder is not None:
            files = ThumbnailFiles(folder, store, len(images), size) if size else None
            samples = samples_of(images, thumbnails=files, progress=progress)
            keep_dataset(store, name, samples, files, THUMBNAILS_SHOW)
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
    columns = {**layer.columns, **({"bin_low": lower_edges()} if options.n_top else {})}
    return Plan(
        model=options.model,
        words=activation_words(
            options.dtype,
            options.keep,
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
            "keep": list(options.keep),
            "block_samples": survey.block_samples,
            "n_all_tokens": layer.n_all,
            "classes": list(images.images.classes),
        },
        labels={
            SAMPLE: images.images.sample_ids,
            TOKEN: range(layer.n_tokens),
            CHANNEL: range(layer.n_channels),
            BLOCK: range(survey.n_blocks),
            **(_labels_of_top(options.n_top) if options.n_top else {}),
        },
        columns={name: dict(enumerate(of.tolist())) for name, of in columns.items()},
        model_input=survey.model_input,
        unit="block",
    )


def _labels_of_top(n_top: int) -> dict[str, range]:
    return {SLOT: range(2), RANK: range(n_top), BIN: range(N_BINS)}
