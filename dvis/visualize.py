"""Feature images of every checkpoint of a run, into a store.

A model's name, its checkpoints and options in; `stores/{model}.zarr` grows. What is there is
skipped, so that a run that was stopped goes on, and more channels or checkpoints add to it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dvis.executors import in_processes, in_this_process, on_client, on_cluster, on_scheduler
from dvis.measure.feature_settings import VisualizeOptions
from dvis.measure.features import FeatureTask, FeatureVisualisation
from dvis.measure.features.spectra import spectrum_of_images
from dvis.metrics import write_metrics
from dvis.models.architectures import load_model, model_name
from dvis.models.checkpoints import (
    CheckpointError,
    CheckpointFile,
    find_checkpoints,
    fingerprint,
    read_facts,
)
from dvis.models.devices import find_device
from dvis.recorder import FeatureRecorder, Kept, recording_features
from dvis.starts import FromFolders, FromPrevious
from dvis.sweep import ExecutorFactory, Start, SweepReport, sweep
from dvis.tree import CheckpointName, training_steps

if TYPE_CHECKING:
    from distributed import Client

# ImageNet's, by which torchvision's own weights were trained.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_DEFAULT_SIZE = 224
_CPU_BATCH, _ACCELERATOR_BATCH = 4, 64


@dataclass
class VisualizeReport:
    """What came of a run of `visualize`."""

    store: Path
    n_measured: int = 0
    n_failed: int = 0
    kept: Kept = field(default_factory=Kept)
    notes: list[str] = field(default_factory=list)


def visualize(
    options: VisualizeOptions, *, client: "Client | None" = None, progress: bool = False
) -> VisualizeReport:
    """Make the feature images that a store lacks.

    Parameters
    ----------
    options : VisualizeOptions
        Model, checkpoints, units, and how images are made.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    VisualizeReport
        How many units were made, and what is to be said of some: dead, failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints, or none of them can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, channel or neuron, or an option is out of its range.
    DiskFullError
        When there is no space left; what was made before is safe, and a second run goes on.
    """
    find_device(options.device)
    checkpoints = find_checkpoints(options.checkpoint_path)
    facts, unreadable = _read_all(checkpoints)
    model, first = _first_model(options.model, checkpoints, unreadable)
    measurement = _measurement(options, facts.get(first, {}))
    widths = _widths(measurement, model, options.model)
    tasks = measurement.tasks(widths)
    name = model_name(options.model)
    report = VisualizeReport(options.store or Path("stores") / f"{name}.zarr")
    with recording_features(
        report.store,
        name,
        options.run,
        image_size=measurement.image_size,
        number_of_images=measurement.number_of_images,
        parameters={**measurement.parameters, **_origin(options)},
        overwrite=options.overwrite,
    ) as recorder:
        names = [checkpoint.name for checkpoint in checkpoints]
        fingerprints = {
            c.label: fingerprint(c.path) for c in checkpoints if c.path and c.label in facts
        }
        recorder.prepare(names, _steps(names, facts), widths, measurement.objectives, fingerprints)
        write_metrics(recorder.store, options.run, _metrics(facts))
        labels = [checkpoint.label for checkpoint in checkpoints]
        report.kept = recorder.n_kept(labels, tasks)
        done = _sweep(options, measurement, checkpoints, tasks, recorder, client, progress)
    report.n_measured, report.n_failed, report.notes = done.n_measured, done.n_failed, done.notes
    return report


def _widths(measurement: FeatureVisualisation, model: nn.Module, name: str) -> dict[str, int]:
    try:
        return measurement.widths(model)
    except RuntimeError as err:  # torch's, of a layer that the images do not fit
        size, n_channels = measurement.image_size, len(measurement.mean)
        raise ValueError(
            f"{name} takes no images of {n_channels} channels and {size} x {size} px: "
            f"{str(err).splitlines()[0]}. Give another --feature-image-size; channels are those of "
            "the checkpoint's `input`, else 3"
        ) from err


def _origin(options: VisualizeOptions) -> dict[str, Any]:
    """Where images begin, as a store keeps it."""
    folders = [str(folder) for folder in options.init_images_dir]
    return {"init_from": "images" if folders else options.init_from, "init_images_dir": folders}


def _sweep(
    options: VisualizeOptions,
    measurement: FeatureVisualisation,
    checkpoints: Sequence[CheckpointFile],
    tasks: Sequence[FeatureTask],
    recorder: FeatureRecorder,
    client: "Client | None",
    progress: bool,
) -> SweepReport:
    start: Start | None = None
    if options.init_images_dir:
        start = FromFolders(
            options.init_images_dir,
            model_name(options.model),
            options.run,
            measurement.image_size,
            measurement.number_of_images,
            measurement.mean,
            measurement.std,
        )
    elif options.init_from == "previous":
        start = FromPrevious(recorder)
    labels = [checkpoint.label for checkpoint in checkpoints]
    n_tasks = sum(bool(recorder.missing(label, task)) for label in labels for task in tasks)
    done = sweep(
        measurement,
        options.model,
        checkpoints,
        tasks,
        recorder,
        _executor(options, client, n_tasks),
        device=options.device,
        start=start,
        is_chained=options.init_from == "previous",
        progress=progress,
    )
    if isinstance(start, FromFolders) and start.without:
        done.notes.insert(
            0,
            f"{len(start.without)} images began at random, for no folder of --init-images-dir has "
            f"one to start from; the first is {start.without[0]}",
        )
    return done


def _executor(options: VisualizeOptions, client: "Client | None", n_tasks: int) -> ExecutorFactory:
    """Where to compute: as told, else on an accelerator alone, or in a process for each core."""
    if client is not None:
        return partial(on_client, client)
    if options.scheduler is not None:
        return partial(on_scheduler, options.scheduler)
    if options.workers is not None:
        return partial(on_cluster, options.workers) if options.workers > 0 else in_this_process
    n_processes = min(len(os.sched_getaffinity(0)), n_tasks)
    if options.device != "cpu" or n_processes < 2:
        return in_this_process
    return partial(in_processes, n_processes)


def _measurement(options: VisualizeOptions, facts: Mapping[str, Any]) -> FeatureVisualisation:
    """The measurement for models that take what a checkpoint's training recorded."""
    recorded = facts.get("input") or {}
    mean = tuple(float(value) for value in recorded.get("mean", _MEAN))
    std = tuple(float(value) for value in recorded.get("std", _STD))
    size = options.settings.feature_image_size or int(recorded.get("size", _DEFAULT_SIZE))
    if len(mean) not in (1, 3):
        raise ValueError(
            f"the model takes {len(mean)} channels; a store keeps images of 1 or 3. "
            "dvis.measure.features.engine.maximise takes any number"
        )
    magnitude = None
    if options.maco_images is not None:
        side = round(size * options.settings.crop_factor)
        magnitude = spectrum_of_images(options.maco_images, len(mean), side)
    batch_size = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    return FeatureVisualisation(
        settings=options.settings,
        mean=mean,
        std=std,
        image_size=size,
        layers=options.layers,
        channels=options.channels,
        neurons=options.neuron_positions,
        aggregation=options.aggregation,
        number_of_images=options.number_of_images,
        batch_size=options.batch_size or batch_size,
        magnitude=magnitude,
        precision=options.precision,
    )


def _read_all(
    checkpoints: Sequence[CheckpointFile],
) -> tuple[dict[str, dict[str, Any]], dict[str, CheckpointError]]:
    """Facts of the checkpoints that can be read, and why the others cannot."""
    facts: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, CheckpointError] = {}
    for checkpoint in checkpoints:
        if checkpoint.path is None:
            continue
        try:
            facts[checkpoint.label] = read_facts(checkpoint.path)
        except CheckpointError as err:
            unreadable[checkpoint.label] = err
    return facts, unreadable


def _fingerprints(
    checkpoints: Sequence[CheckpointFile], unreadable: Mapping[str, CheckpointError]
) -> dict[str, int]:
    return {
        checkpoint.label: fingerprint(checkpoint.path)
        for checkpoint in checkpoints
        if checkpoint.path is not None and checkpoint.label not in unreadable
    }


def _first_model(
    model: str, checkpoints: Sequence[CheckpointFile], unreadable: Mapping[str, CheckpointError]
) -> tuple[nn.Module, str]:
    """The model at the first checkpoint that fits it, and that checkpoint's label."""
    errors = list(unreadable.values())
    for checkpoint in checkpoints:
        if checkpoint.label in unreadable:
            continue
        try:
            return load_model(model, checkpoint), checkpoint.label
        except CheckpointError as err:
            errors.append(err)
    raise errors[0]


def _steps(
    names: Sequence[CheckpointName], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Training steps of checkpoints, as their files say, else as their names do."""
    steps = {
        name.label: step
        for name, step in zip(names, training_steps(list(names), None), strict=True)
        if step >= 0
    }
    for label, of_file in facts.items():
        if isinstance(of_file.get("step"), int):
            steps[label] = of_file["step"]
    return steps


def _metrics(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    metrics = {}
    for label, of_file in facts.items():
        numbers = of_file.get("metrics")
        if isinstance(numbers, Mapping):
            metrics[label] = {
                str(name): float(value)
                for name, value in numbers.items()
                if isinstance(value, int | float)
            }
    return metrics
