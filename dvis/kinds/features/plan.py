"""Feature images of every checkpoint of a run, into a store.

A model's name, its checkpoints and options in; `stores/{model}.zarr` grows. What is there is
skipped, so that a run that was stopped goes on, and more channels or checkpoints add to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation
from dvis.kinds.features.measure.spectra import spectrum_of_images
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.record import FeatureRecorder, Kept, recording_features
from dvis.kinds.features.starts import FromFolders, FromPrevious
from dvis.models.architectures import model_name
from dvis.models.checkpoints import CheckpointFile, find_checkpoints
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD
from dvis.models.devices import find_device
from dvis.schema import counted
from dvis.store.metrics import write_metrics
from dvis.sweep.run_facts import choose_executor, read_run
from dvis.sweep.sweep import Start, SweepReport, sweep

if TYPE_CHECKING:
    from distributed import Client

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
    run = read_run(checkpoints)
    model, first = run.first_model(options.model)
    measurement = _measurement(options, run.facts.get(first, {}))
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
        recorder.prepare(names, run.steps, widths, measurement.objectives, run.fingerprints)
        write_metrics(recorder.store, options.run, run.metrics)
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
        choose_executor(
            n_tasks,
            device=options.device,
            workers=options.workers,
            scheduler=options.scheduler,
            client=client,
        ),
        device=options.device,
        start=start,
        is_chained=options.init_from == "previous",
        progress=progress,
    )
    if isinstance(start, FromFolders) and start.without:
        done.notes.insert(
            0,
            f"{counted(len(start.without), 'image')} began at random, for no folder of "
            f"--init-images-dir has one to start from; the first is {start.without[0]}",
        )
    return done


def _measurement(options: VisualizeOptions, facts: Mapping[str, Any]) -> FeatureVisualisation:
    """The measurement for models that take what a checkpoint's training recorded."""
    recorded = facts.get("input") or {}
    mean = tuple(float(value) for value in recorded.get("mean", IMAGENET_MEAN))
    std = tuple(float(value) for value in recorded.get("std", IMAGENET_STD))
    size = options.settings.feature_image_size or int(recorded.get("size", _DEFAULT_SIZE))
    if len(mean) not in (1, 3):
        raise ValueError(
            f"the model takes {len(mean)} channels; a store keeps images of 1 or 3. "
            "dvis.kinds.features.measure.engine.maximise takes any number"
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
