"""Units' responses to fixed images at every checkpoint of a run, into a store.

A model's name, its checkpoints and images in; the group `{run}/responses/{name}` of
`stores/{model}.zarr` grows. What is there is skipped, so that a run that was stopped goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr
from torch import nn

from dvis.kinds.responses.fixed_images import (
    FixedImages,
    forget_prepared,
    images_of_files,
    noise_images,
)
from dvis.kinds.responses.measure import FeatureImageResponses, ImageResponses
from dvis.kinds.responses.options import ALL, LAST, RespondOptions
from dvis.kinds.responses.read import CLASS, IMAGE
from dvis.kinds.responses.record import ResponseRecorder, recording_responses
from dvis.kinds.responses.stored_images import StoredImages, choose_units, fingerprints_of_images
from dvis.kinds.responses.words import ResponseSettings
from dvis.models.architectures import model_name
from dvis.models.checkpoints import find_checkpoints
from dvis.models.data import ImageSet, InputTransform, load_images
from dvis.models.devices import find_device
from dvis.opening import contents
from dvis.opening import open as open_store
from dvis.schema import CHECKPOINT, LAYER, Status, Variant, did_you_mean
from dvis.store.metrics import write_metrics
from dvis.sweep.run_facts import RunFacts, choose_executor, input_transform, read_run
from dvis.sweep.sweep import Measurement, SweepReport, sweep

if TYPE_CHECKING:
    from distributed import Client

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256


@dataclass
class RespondReport:
    """What came of a run of `respond`.

    Attributes
    ----------
    store, name : Path, str
        Where the responses are.
    n_measured, n_failed : int
        Units of checkpoints that were measured, and that failed; of feature images, images.
    n_of_other_weights : int
        Units that are there of other weights under the same label, and were kept.
    n_unknown : int
        Feature images that were left out, for the values of their levels are not known.
    notes : list of str
        What is to be said of single units.
    """

    store: Path
    name: str
    n_measured: int = 0
    n_failed: int = 0
    n_of_other_weights: int = 0
    n_unknown: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be measured, and what it is of."""

    name: str
    settings: ResponseSettings
    measurement: Measurement
    tasks: list[Any]
    widths: dict[str, int]
    given: StoredImages | None = None
    images: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    n_unknown: int = 0


def respond(
    options: RespondOptions, *, client: "Client | None" = None, progress: bool = False
) -> RespondReport:
    """Measure the responses that a store lacks.

    Parameters
    ----------
    options : RespondOptions
        Model, checkpoints, units and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    RespondReport
        How many units were measured, and what is to be said of some: failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, there are no such feature images, an option is out of its
        range, or the store has responses to other images under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = read_run(find_checkpoints(options.checkpoint_path))
    name = model_name(options.model)
    store = (options.store or Path("stores") / f"{name}.zarr").expanduser()
    plan = _of_features(options, store) if options.feature_images else _of_images(options, run)
    report = RespondReport(store, plan.name, n_unknown=plan.n_unknown)
    with recording_responses(
        store, name, options.run, plan.name, plan.settings, overwrite=options.overwrite
    ) as recorder:
        names = [checkpoint.name for checkpoint in run.checkpoints]
        recorder.prepare(names, run.steps, plan.widths, run.fingerprints, plan.images)
        write_metrics(store, options.run, run.metrics)
        report.n_of_other_weights = recorder.n_of_other_weights
        try:
            done = _sweep(options, plan, run, recorder, client, progress)
        finally:
            forget_prepared()
    report.n_measured, report.n_failed, report.notes = done.n_measured, done.n_failed, done.notes
    return report


def _sweep(
    options: RespondOptions,
    plan: _Plan,
    run: RunFacts,
    recorder: ResponseRecorder,
    client: "Client | None",
    progress: bool,
) -> SweepReport:
    labels = [checkpoint.label for checkpoint in run.checkpoints]
    n_tasks = sum(bool(recorder.missing(label, task)) for label in labels for task in plan.tasks)
    return sweep(
        plan.measurement,
        options.model,
        run.checkpoints,
        plan.tasks,
        recorder,
        choose_executor(
            n_tasks,
            device=options.device,
            workers=options.workers,
            scheduler=options.scheduler,
            client=client,
        ),
        device=options.device,
        start=plan.given,
        progress=progress,
    )


def _of_images(options: RespondOptions, run: RunFacts) -> _Plan:
    """Responses to a set, to files or to noise."""
    model, first = run.first_model(options.model)
    transform = input_transform(run.facts.get(first, {}), options.image_size)
    images = FixedImages.of(_images(options, transform), transform)
    measurement = ImageResponses(
        images=images,
        aggregation=options.aggregation or "mean",
        by_class=options.by_class,
        batch_size=_batch_size(options),
    )
    widths = _widths(measurement, model, options)
    image_set = images.images
    settings = ResponseSettings(
        kind=CLASS if options.by_class else IMAGE,
        labels=image_set.classes if options.by_class else image_set.sample_ids,
        images={
            "name": image_set.name,
            "fingerprint": images.fingerprint,
            "n_images": len(images),
            "transform": transform.to_dict(),
        },
        aggregation=measurement.aggregation,
        image_classes=(
            tuple(image_set.classes[label] for label in image_set.labels)
            if image_set.classes and not options.by_class
            else ()
        ),
    )
    return _Plan(
        name=options.name or options.default_name,
        settings=settings,
        measurement=measurement,
        tasks=[measurement.task(widths)],
        widths=widths,
    )


def _widths(
    measurement: ImageResponses, model: nn.Module, options: RespondOptions
) -> dict[str, int]:
    try:
        return measurement.widths(model, options.layers)
    except (RuntimeError, AssertionError) as err:  # torch's, of images that a layer does not fit
        transform = measurement.images.transform
        raise ValueError(
            f"{options.model} takes no images of {transform.channels} channels and "
            f"{transform.size} x {transform.size} px: {str(err).splitlines()[0]}. Give another "
            "--image-size; channels are those of the checkpoint's `input`, else 3"
        ) from err


def _images(options: RespondOptions, transform: InputTransform) -> ImageSet:
    if options.dataset is not None:
        return load_images(
            options.dataset,
            options.data_path,
            split=options.split,
            size=transform.size,
            n_samples=options.n_images,
            seed=options.seed,
        )
    if options.noise is not None:
        return noise_images(options.noise, options.seed, transform)
    return images_of_files(options.images, transform)


def _of_features(options: RespondOptions, store: Path) -> _Plan:
    """Responses to stored feature images, of one checkpoint or of all."""
    run, asked = _run_and_checkpoint(options, store)
    dataset = open_store(store, run, options.variant)
    labels = _image_checkpoints(dataset, asked)
    is_one = asked != ALL
    units, n_unknown = choose_units(dataset, labels, options.layers, options.channels)
    variant = str(dataset.attrs["variant"])
    measurement = FeatureImageResponses(
        aggregation=options.aggregation or Variant.parse(variant).objective,
        batch_size=_batch_size(options),
    )
    images = {"run": run, "variant": variant, "checkpoint": labels[0] if is_one else ALL}
    counts = dataset["n_channels"].to_series()
    of_run = "" if run == options.run else f"{run}/"
    named = replace(options, feature_images=f"{of_run}{images['checkpoint']}").default_name
    return _Plan(
        name=options.name or named,
        settings=ResponseSettings(
            kind="image_checkpoint",
            labels=tuple(labels),
            images=images,
            aggregation=measurement.aggregation,
        ),
        measurement=measurement,
        tasks=measurement.tasks(units),
        widths={layer: int(counts[layer]) for layer in units},
        given=StoredImages(dataset),
        images=fingerprints_of_images(dataset, units),
        n_unknown=n_unknown,
    )


def _run_and_checkpoint(options: RespondOptions, store: Path) -> tuple[str, str]:
    """Run of the feature images, and what is asked for of it: a label, last, or all."""
    asked = str(options.feature_images)
    runs = contents(store).runs
    run, _, label = asked.rpartition("/")
    if run in runs:
        return run, label
    if run:
        raise KeyError(did_you_mean("run", run, runs, str(store)))
    return options.run, asked


def _image_checkpoints(dataset: xr.Dataset, asked: str) -> list[str]:
    """Labels of the checkpoints whose feature images are asked for."""
    labels: list[str] = [str(label) for label in dataset[CHECKPOINT].values]
    is_there = (dataset["status"] == Status.COMPLETE).any([LAYER, "channel"]).values
    filled = [label for label, there in zip(labels, is_there, strict=True) if there]
    if asked in (ALL, LAST) and not filled:
        raise ValueError("There are no complete feature images. Make some with `dvis visualize`")
    if asked == ALL:
        return filled
    if asked == LAST:
        return filled[-1:]
    if asked not in labels:
        raise KeyError(did_you_mean("checkpoint", asked, labels, "the feature images"))
    return [asked]


def _batch_size(options: RespondOptions) -> int:
    default = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    return options.batch_size or default
