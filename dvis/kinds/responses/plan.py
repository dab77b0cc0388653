"""Units' responses to fixed images at every checkpoint of a run, into a store.

A model's name, its checkpoints and images in; the group `{run}/responses/{name}` of
`stores/{model}.zarr` grows. What is there is skipped, so that a run that was stopped goes on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.words import Variant
from dvis.kinds.responses.measure import FeatureImageResponses, ImageResponses
from dvis.kinds.responses.options import ALL, LAST, RespondOptions
from dvis.kinds.responses.stored_images import StoredImages, choose_units, fingerprints_of_images
from dvis.kinds.responses.words import (
    CLASS,
    IMAGE,
    IMAGE_CHECKPOINT,
    IMAGES,
    ResponseSettings,
    response_words,
)
from dvis.models.data.fixed_images import FixedImages
from dvis.models.devices import find_device
from dvis.models.hooks import layer_columns
from dvis.models.model_input import ModelInput, find_input
from dvis.models.model_reference import model_name
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER, Status, did_you_mean
from dvis.store.contents import contents
from dvis.store.group import Group
from dvis.sweep.plan import Measurement, Plan, Start
from dvis.sweep.probing import image_set, telling_misfits, told_of
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_CPU_BATCH, _ACCELERATOR_BATCH = 32, 256


def respond(
    options: RespondOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
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
    Report
        How many units were measured, and what is to be said of some: failed and why; of feature
        images, how many were left out.

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
    run = run_of(options)
    plan = _of_features(options) if options.feature_images else _of_images(options, run)
    return carry_out(plan, run, options, client=client, progress=progress)


def planned(
    options: RespondOptions,
    name: str,
    settings: ResponseSettings,
    measurement: Measurement,
    tasks: list[Any],
    columns: Mapping[str, Mapping[Any, Any]],
    *,
    start: Start | None = None,
    images: Mapping[tuple[str, str], np.ndarray] | None = None,
    model_input: ModelInput | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """The plan of responses to the images that the settings tell of.

    `columns` are what the store keeps of each layer, `n_channels` among it.
    """
    widths = columns["n_channels"]
    width = max(widths.values())
    if settings.image_classes:
        classes = dict(zip(settings.labels, settings.image_classes, strict=True))
        columns = {**columns, "image_class": classes}
    take_back = partial(_take_other_images_back, images or {}, overwrite=options.overwrite)
    return Plan(
        model=options.model,
        words=response_words(settings.of, n_channels=width, n_images=len(settings.labels)),
        name=name,
        measurement=measurement,
        tasks=tasks,
        settings=settings.attrs,
        labels={LAYER: list(widths), CHANNEL: range(width), settings.of: settings.labels},
        columns=columns,
        start=start,
        before=take_back,
        model_input=model_input,
        notes=notes,
    )


def _take_other_images_back(
    images: Mapping[tuple[str, str], np.ndarray], group: Group, *, overwrite: bool
) -> None:
    """Compare feature images with those of earlier responses, and note the new ones.

    `images` are what tells them apart, (channel,) uint64 by their checkpoint and layer, 0 where
    there is none.
    """
    for (label, layer), hashes in images.items():
        image_row, of_layer = group.rows[IMAGE_CHECKPOINT][label], group.rows[LAYER][layer]
        stored = np.asarray(group.array(IMAGES)[image_row, of_layer])
        hashes = np.concatenate([hashes, np.zeros(len(stored) - len(hashes), np.uint64)])
        is_other = (stored != 0) & (hashes != 0) & (stored != hashes)
        if is_other.any():
            if not overwrite:
                channel = int(np.flatnonzero(is_other)[0])
                raise ValueError(
                    f"{is_other.sum()} feature images of {label}, {layer} (channel {channel}, "
                    f"...) were made again since these responses were measured. Give another "
                    "--name, or --overwrite to measure them again"
                )
            for row in group.rows[CHECKPOINT].values():
                group.empty(
                    {
                        CHECKPOINT: row,
                        IMAGE_CHECKPOINT: image_row,
                        LAYER: of_layer,
                        CHANNEL: np.flatnonzero(is_other),
                    }
                )
        updated = np.where(hashes != 0, hashes, stored)
        if not np.array_equal(updated, stored):
            group.array(IMAGES)[image_row, of_layer] = updated


def _of_images(options: RespondOptions, run: RunFacts) -> Plan:
    """Responses to a set, to files or to noise."""
    model, first = run.first_model(options.model)
    facts = run.facts.get(first, {})
    taken = find_input(options, facts, options.model, model, options.image_size)
    transform = taken.transform
    images = FixedImages.of(image_set(options, transform, options.n_images), transform)
    measurement = ImageResponses(
        images=images,
        aggregation=options.aggregation or "mean",
        by_class=options.by_class,
        batch_size=_batch_size(options),
    )
    with telling_misfits(options.model, transform):
        outputs = measurement.outputs(model, options.layers)
    samples = images.images
    settings = ResponseSettings(
        of=CLASS if options.by_class else IMAGE,
        labels=samples.classes if options.by_class else samples.sample_ids,
        images=told_of(images),
        aggregation=measurement.aggregation,
        image_classes=(
            tuple(samples.classes[label] for label in samples.labels)
            if samples.classes and not options.by_class
            else ()
        ),
    )
    name = options.name or options.default_name
    tasks, columns = [measurement.task(outputs)], layer_columns(outputs)
    return planned(options, name, settings, measurement, tasks, columns, model_input=taken)


def _of_features(options: RespondOptions) -> Plan:
    """Responses to stored feature images, of one checkpoint or of all."""
    store = options.store_of(model_name(options.model))
    run, asked = _run_and_checkpoint(options, store)
    dataset = FEATURE_READER.open(store, run, options.variant)
    variant = str(dataset.attrs["variant"])
    if Variant.parse(variant).is_directed:
        raise ValueError(
            f"{variant} are images of {dataset.attrs.get('unit', 'direction')}s, which are no "
            "channels with responses; give --variant average-0, or another of channels"
        )
    labels = _image_checkpoints(dataset, asked)
    is_one = asked != ALL
    units, n_unknown = choose_units(dataset, labels, options.layers, options.channels)
    measurement = FeatureImageResponses(
        aggregation=options.aggregation or Variant.parse(variant).objective,
        batch_size=_batch_size(options),
    )
    images = {"run": run, "variant": variant, "checkpoint": labels[0] if is_one else ALL}
    of_run = "" if run == options.run else f"{run}/"
    named = replace(options, feature_images=f"{of_run}{images['checkpoint']}").default_name
    notes: tuple[str, ...] = ()
    if n_unknown:
        notes = (f"{n_unknown} jpgs were left out, for the values of their levels are unknown",)
    return planned(
        options,
        options.name or named,
        ResponseSettings(
            of="image_checkpoint",
            labels=tuple(labels),
            images=images,
            aggregation=measurement.aggregation,
        ),
        measurement,
        measurement.tasks(units),
        {n: _of_layers(dataset[n], units) for n in ("n_channels", DEPTH) if n in dataset},
        start=StoredImages(dataset),
        images=fingerprints_of_images(dataset, units),
        notes=notes,
    )


def _of_layers(column: xr.DataArray, layers: Iterable[str]) -> dict[str, int]:
    """A coordinate of layers by some of them."""
    return {layer: int(column.sel({LAYER: layer})) for layer in layers}


def _run_and_checkpoint(options: RespondOptions, store: Path) -> tuple[str, str]:
    """Run of the feature images, and what is asked for of it: a label, last, or all."""
    asked = str(options.feature_images)
    runs = contents(store).runs(FEATURE_READER.kind)
    run, _, label = asked.rpartition("/")
    if run in runs:
        return run, label
    if run:
        raise KeyError(did_you_mean("run", run, runs, str(store)))
    return options.run, asked


def _image_checkpoints(dataset: xr.Dataset, asked: str) -> list[str]:
    """Labels of the checkpoints whose feature images are asked for."""
    labels: list[str] = [str(label) for label in dataset[CHECKPOINT].values]
    is_there = (dataset["status"] == Status.COMPLETE).any([LAYER, CHANNEL]).values
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
