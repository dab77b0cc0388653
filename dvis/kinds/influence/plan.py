"""Influence between channels at every checkpoint of a run, into a store.

A model's name, its checkpoints, layers and images in; the group `{run}/influence/{name}` of
`stores/{model}.zarr` grows. What is there is skipped, so that a run that was stopped goes on.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dvis.kinds.influence.cost import cost_lines
from dvis.kinds.influence.dead import said_of_dead
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.influence.read import INFLUENCE_READER
from dvis.kinds.influence.survey import Survey, surveyed
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO, WORDS
from dvis.kinds.saes.travelling import WithAutoencoders
from dvis.models.devices import find_device
from dvis.models.model_reference import model_name
from dvis.sweep.plan import Plan
from dvis.sweep.probing import told_of
from dvis.sweep.run_facts import run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client


def measure_influence(
    options: InfluenceOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the influence that a store lacks.

    Parameters
    ----------
    options : InfluenceOptions
        Model, checkpoints, layers and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many sources were measured, each counted for every later layer, and what is to be said
        of some: failed and why; where `options.plan` asks so, only what it would be, in `notes`.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, channel or autoencoder, a layer runs several times, there
        are fewer than eight images, or the store has influence of other images or another method
        under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    if options.method == "edges":
        from dvis.kinds.edges.plan import edges_plan

        plan = edges_plan(options, run)
        return carry_out(plan, run, options, client=client, progress=progress)
    survey = surveyed(options, run)
    plan = influence_plan(survey)
    if options.plan:
        store = options.store_of(model_name(options.model))
        notes = cost_lines(survey, len(run.checkpoints))
        return Report(store=store, run=options.run, name=plan.name, unit=plan.unit, notes=notes)
    report = carry_out(plan, run, options, client=client, progress=progress)
    report.notes += said_of_dead(INFLUENCE_READER.open(report.store, report.run, report.name))
    return report


def influence_plan(survey: Survey) -> Plan:
    """What is to be measured, and into which group."""
    options, images, nodes = survey.options, survey.images, survey.nodes
    statistics = survey.measurement.recalibrated.images
    widths = {name: node.n_units for name, node in nodes.items()}
    depths = {name: node.output.depth for name, node in nodes.items()}
    sources = {source: widths[source] for source in survey.units}
    targets = {target: widths[target] for target in survey.targets}
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name or options.default_name,
        measurement=survey.measurement,
        tasks=survey.tasks,
        settings={
            "method": options.method,
            "value": options.value,
            "batch_norm": options.batch_norm,
            "batch_norm_images": statistics.fingerprint,
            "images": told_of(images),
            "to": {layer: list(units) for layer, units in options.targets.items()},
            **({"seed": options.seed} if options.value == "resample" else {}),
        },
        labels={
            LAYER_FROM: list(sources),
            CHANNEL_FROM: range(max(sources.values())),
            LAYER_TO: list(targets),
            CHANNEL_TO: range(max(targets.values())),
        },
        columns={
            "n_channels_from": sources,
            "n_channels_to": targets,
            "depth_from": {source: depths[source] for source in sources},
            "depth_to": {target: depths[target] for target in targets},
            "is_cut": survey.is_cut,
        },
        travelling=WithAutoencoders(survey.autoencoders) if survey.autoencoders else None,
        unit="source",
        model_input=survey.model_input,
        notes=(*survey.notes, *_said_of_cuts(survey.is_cut)),
    )


def _said_of_cuts(is_cut: Mapping[str, int]) -> list[str]:
    return [
        f"some of what comes after {layer} goes around it, and that is not seen: outputs of whole "
        "stages or blocks let nothing around"
        for layer, cut in is_cut.items()
        if cut == 0
    ]
