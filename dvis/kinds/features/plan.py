"""Feature images of every checkpoint of a run: options in, a plan out, and that carried out.

A model's name, its checkpoints and options in; `stores/{model}.zarr` grows. What is there is
skipped, so that a run that was stopped goes on, and more channels or checkpoints add to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from dvis.kinds.features.cross_check import CrossCheck
from dvis.kinds.features.directed import WithReadOut, check_fit, directed
from dvis.kinds.features.latents import asked_latents, said_of_dead
from dvis.kinds.features.measure import FeatureVisualisation
from dvis.kinds.features.measure.neighbours import NeighbourCheck
from dvis.kinds.features.measure.reference import ReferenceImages
from dvis.kinds.features.measure.seed_pairs import SeedPairs
from dvis.kinds.features.measure.spectra import spectrum_of_images
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.record import FeatureRecorder
from dvis.kinds.features.reference_images import find_reference
from dvis.kinds.features.seed_null import SeedNull
from dvis.kinds.features.starts import FromFolders, FromPrevious
from dvis.kinds.features.tasks import (
    FeatureTask,
    ReferenceTask,
    pair_tasks,
    reference_tasks,
)
from dvis.kinds.features.words import NEIGHBOUR_MAX, NEIGHBOURS, SEED_NULL, SEED_SIMILARITY, WORDS
from dvis.models.data import InputTransform
from dvis.models.devices import find_device
from dvis.models.directions import Directions
from dvis.models.hooks import LayerOutput, layer_columns
from dvis.models.model_input import find_input
from dvis.models.model_reference import model_name
from dvis.schema import counted
from dvis.sweep.executors import ExecutorFactory, kept_open
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan, Start
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

# Images that are made without being named or asked for: about an hour on one core of a CPU.
_MAX_UNASKED = 2_000
_CPU_BATCH, _ACCELERATOR_BATCH = 4, 64


def visualize(
    options: VisualizeOptions,
    *,
    directions: Directions | None = None,
    client: "Client | None" = None,
    progress: bool = False,
) -> Report:
    """Make the feature images that a store lacks.

    Parameters
    ----------
    options : VisualizeOptions
        Model, checkpoints, units, and how images are made.
    directions : Directions, optional
        What of layers' outputs is maximised in place of channels: read-outs that a probe has, or
        any other. Images of them are the variant `directions.variant`.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many units were made, and what is to be said of some: dead, failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints, or none of them can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, channel or neuron, the store no such latent, directions
        do not fit a layer, an option is out of its range, or no layers are named and all of them
        are many.
    DiskFullError
        When there is no space left; what was made before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    directions = directions or asked_latents(options, run.fingerprints)
    if directions is not None:
        options, run = directed(options, run, directions)
    model, first = run.first_model(options.model)
    facts, size = run.facts.get(first, {}), options.settings.feature_image_size
    taken = find_input(options, facts, options.model, model, size)
    reference, note = find_reference(
        str(options.reference), options.n_reference, facts, taken.transform
    )
    measurement = _measurement(options, taken.transform, reference, directions)
    outputs = _outputs(measurement, model, str(options.model))
    if directions is not None:
        check_fit(directions, outputs)
    tasks = measurement.tasks(outputs)
    _check_asked_for(options, run, tasks)
    start = _FromOptions(options, measurement)
    recorders = _Recorders(options, measurement, outputs, directions)

    def recorder(plan: Plan, store: Path, run: RunFacts, place: Place) -> FeatureRecorder:
        start.recorder = recorders(plan, store, run, place, measurement.compared)
        return start.recorder

    plan = Plan(
        model=options.model,
        words=WORDS,
        name=", ".join(measurement.objectives),
        measurement=measurement,
        tasks=[*tasks, *(reference_tasks(tasks) if len(reference) else ())],
        start=start if start.is_given else None,
        is_chained=options.init_from == "previous",
        travelling=None if directions is None else WithReadOut(directions),
        recorder=recorder,
        model_input=taken,
        notes=(note,) if note else (),
    )
    n_tasks = len(plan.tasks) * len(run.checkpoints)
    # Workers take seconds to begin: all sweeps share them.
    with kept_open(options.executor(n_tasks, client, options.model)) as executor:
        sweeps = _Sweeps(recorders, run, options, executor, progress)
        report = sweeps.carried_out(plan)
        labels = [checkpoint.label for checkpoint in run.checkpoints]
        report.notes[:0] = [*start.notes, *said_of_dead(options, directions, labels)]
        again = replace(plan, tasks=tasks, notes=())
        if options.cross_check:
            sweeps.cross_check(again, report)
        assert start.recorder is not None
        report.notes += start.recorder.said_of_deaths(tasks)
        if options.number_of_seeds > 1:
            sweeps.seed_null(again, report)
    return report


@dataclass(frozen=True)
class _Recorders:
    """Makes the recorders of a plan and of those that look again at what it made."""

    options: VisualizeOptions
    measurement: FeatureVisualisation
    outputs: dict[str, LayerOutput]
    directions: Directions | None

    def __call__(
        self, plan: Plan, store: Path, run: RunFacts, place: Place, compared: Sequence[str]
    ) -> FeatureRecorder:
        """A recorder whose groups have certain arrays beside the usual."""
        reference, directions = self.measurement.reference, self.directions
        made = FeatureRecorder(
            store,
            place.run,
            image_size=self.measurement.image_size,
            number_of_images=self.measurement.number_of_images,
            parameters={**self.measurement.parameters, **_origin(self.options)},
            reference=None if reference is None else reference.description,
            overwrite=place.overwrite,
            noted={**plan.made_with, **({} if directions is None else directions.attrs)},
            compared=compared,
            directions=directions,
        )
        names = [checkpoint.name for checkpoint in run.checkpoints]
        columns = layer_columns(self.outputs)
        if directions is not None:
            columns["n_channels"] = {layer: directions.n_units(layer) for layer in self.outputs}
        tasks = self.measurement.tasks(self.outputs)
        return made.prepare(names, run.steps, columns, tasks, run.fingerprints)


Looking = TypeVar("Looking", CrossCheck, SeedNull)


@dataclass(frozen=True)
class _Sweeps:
    """The sweep that makes images, and those that look again at what it made."""

    recorders: _Recorders
    run: RunFacts
    options: VisualizeOptions
    executor: ExecutorFactory
    progress: bool

    def carried_out(self, plan: Plan) -> Report:
        """What came of a plan, on the workers that all share."""
        return carry_out(
            plan, self.run, self.options, executor=self.executor, progress=self.progress
        )

    def cross_check(self, plan: Plan, report: Report) -> None:
        """Try each unit's images of the checkpoints beside, and say what comes of it."""
        is_refined = self.options.refine
        features = self.recorders.measurement
        again = replace(
            plan,
            measurement=NeighbourCheck(features=features, is_refined=is_refined),
            # In the order of training: what is made better is what the next one is tried with.
            is_chained=True,
            unit="neighbour check",
        )
        check = self._look_again(
            again,
            report,
            (NEIGHBOUR_MAX, NEIGHBOURS),
            lambda recorder: CrossCheck(recorder, plan.tasks, is_refined),
        )
        report.notes += check.said()

    def seed_null(self, plan: Plan, report: Report) -> None:
        """Measure what the agreement of seeds is held against."""
        again = replace(
            plan,
            measurement=SeedPairs(features=self.recorders.measurement),
            tasks=pair_tasks(plan.tasks),
            is_chained=False,
            unit="pair",
        )
        self._look_again(again, report, (SEED_SIMILARITY, SEED_NULL), SeedNull)

    def _look_again(
        self,
        plan: Plan,
        report: Report,
        compared: Sequence[str],
        looking: Callable[[FeatureRecorder], Looking],
    ) -> Looking:
        """Carry out a plan whose recorder says at which images it looks; units stay what they were.

        What went wrong is added to the report.
        """
        made: list[Looking] = []

        def recorder(plan: Plan, store: Path, run: RunFacts, place: Place) -> Looking:
            made.append(looking(self.recorders(plan, store, run, place, compared)))
            return made[0]

        def start(before: str | None, label: str, task: Any, /) -> Any:
            return made[0](before, label, task)

        done = self.carried_out(replace(plan, recorder=recorder, start=start))
        known = set(report.notes)
        report.notes += [note for note in done.notes if note not in known]
        return made[0]


def _check_asked_for(options: VisualizeOptions, run: RunFacts, tasks: list[FeatureTask]) -> None:
    """Raise where no layers were named and that means more than anybody starts by mistake."""
    n_units = sum(len(task.channels) for task in tasks)
    n_in_all = n_units * len(run.checkpoints) * options.number_of_images
    is_asked = bool(options.latents_asked[1]) if options.latents else bool(options.layers)
    if is_asked or options.all or n_in_all <= _MAX_UNASKED:
        return
    n_layers = len({task.layer for task in tasks})
    at = f" at {len(run.checkpoints)} checkpoints" if len(run.checkpoints) > 1 else ""
    if options.latents:
        raise ValueError(
            f"no latents of {options.latents[0]} are named, and all are {n_units:,} in "
            f"{counted(n_layers, 'layer')}: {n_in_all:,} images{at}. Name some after "
            f"--latents {options.latents[0]}, or give --all"
        )
    raise ValueError(
        f"no layers are named, and all convolutions of {options.model} are {n_units:,} units in "
        f"{counted(n_layers, 'layer')}: {n_in_all:,} images{at}. Name some with --layers, of "
        "those that `dvis layers` lists, or give --all"
    )


class _FromOptions:
    """Where images begin, as the options say."""

    def __init__(self, options: VisualizeOptions, measurement: FeatureVisualisation) -> None:
        self.recorder: FeatureRecorder | None = None
        self.is_given = bool(options.init_images_dir) or options.init_from == "previous"
        self._folders: FromFolders | None = None
        if options.init_images_dir:
            self._folders = FromFolders(
                options.init_images_dir,
                model_name(options.model),
                options.run,
                measurement.image_size,
                measurement.number_of_images,
                measurement.mean,
                measurement.std,
            )

    def __call__(self, before: str | None, label: str, task: FeatureTask, /) -> Any:
        """Model inputs to start from, or None."""
        assert self.recorder is not None
        if isinstance(task, ReferenceTask):
            return None
        start: Start = FromPrevious(self.recorder) if self._folders is None else self._folders
        return start(before, label, task)

    @property
    def notes(self) -> list[str]:
        """What is to be said of images that began otherwise than was asked for."""
        if self._folders is None or not self._folders.without:
            return []
        without = self._folders.without
        return [
            f"{counted(len(without), 'image')} began at random, for no folder of "
            f"--init-images-dir has one to start from; the first is {without[0]}"
        ]


def _outputs(
    measurement: FeatureVisualisation, model: nn.Module, name: str
) -> dict[str, LayerOutput]:
    try:
        return measurement.outputs(model)
    except RuntimeError as err:  # torch's, of a layer that the images do not fit
        size, n_channels = measurement.image_size, len(measurement.mean)
        raise ValueError(
            f"{name} takes no images of {n_channels} channels and {size} x {size} px: "
            f"{str(err).splitlines()[0]}. Give another --input-size or --input-channels"
        ) from err


def _origin(options: VisualizeOptions) -> dict[str, Any]:
    """Where images begin, as a store keeps it."""
    folders = [str(folder) for folder in options.init_images_dir]
    return {"init_from": "images" if folders else options.init_from, "init_images_dir": folders}


def _measurement(
    options: VisualizeOptions,
    taken: InputTransform,
    reference: ReferenceImages,
    directions: Directions | None,
) -> FeatureVisualisation:
    """The measurement, for a model that takes images so."""
    magnitude = None
    if options.maco_images is not None:
        side = round(taken.size * options.settings.crop_factor)
        magnitude = spectrum_of_images(options.maco_images, taken.channels, side)
    batch_size = _CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH
    return FeatureVisualisation(
        settings=options.settings,
        mean=taken.mean,
        std=taken.std,
        image_size=taken.size,
        layers=options.layers,
        channels=options.channels,
        neurons=options.neuron_positions,
        aggregation=options.aggregation,
        number_of_images=options.number_of_images,
        restarts=options.restarts,
        number_of_seeds=options.number_of_seeds,
        batch_size=options.batch_size or batch_size,
        magnitude=magnitude,
        precision=options.precision,
        reference=reference,
        directed={} if directions is None else directions.numbers,
        variant="" if directions is None else directions.variant,
    )
