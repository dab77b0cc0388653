"""What is asked for, held against the model at its first checkpoint, before anything is measured.

Options and checkpoints in, a survey out: layers in their order, targets, images, tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import xarray as xr
from torch import nn

from dvis.kinds.influence.measure.influence import InfluenceMeasurement
from dvis.kinds.influence.measure.layers import check_layers, nodes_of
from dvis.kinds.influence.measure.nodes import Node
from dvis.kinds.influence.measure.replaced import find_course
from dvis.kinds.influence.measure.task import InfluenceTask
from dvis.kinds.influence.options import FEW_IMAGES, OF_LATENTS, InfluenceOptions
from dvis.kinds.influence.words import BLOCK
from dvis.kinds.saes.directions import stored_autoencoders
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import LayerOutput
from dvis.models.model_input import ModelInput
from dvis.models.model_reference import model_name
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.sweep.probing import probe_of
from dvis.sweep.run_facts import RunFacts

_CPU_BATCH, _ACCELERATOR_BATCH = 256, 1024
_MOST_UNASKED = 64  # targets of attribution, of each of which it makes a backward pass
Targets = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is asked for, as the first checkpoint's model has it.

    Parameters
    ----------
    options : InfluenceOptions
        The options.
    model : nn.Module
        The model at that checkpoint.
    images : FixedImages
        The images.
    measurement : InfluenceMeasurement
        What measures.
    nodes : mapping of str to Node
        Layers, latents among them, in the order of execution.
    units : mapping of str to tuple of int
        Units of layers that are sources.
    targets : mapping of str to tuple of int
        Layers that are targets, and units of them, () for all.
    is_cut : mapping of str to int
        Of sources, as the store has it.
    model_input : ModelInput
        What the model takes.
    autoencoders : mapping of str to Dataset
        By the layer that is latents.
    notes : list of str
        What is to be said.
    """

    options: InfluenceOptions
    model: nn.Module
    images: FixedImages
    measurement: InfluenceMeasurement
    nodes: Mapping[str, Node]
    units: Mapping[str, tuple[int, ...]]
    targets: Targets
    is_cut: Mapping[str, int]
    model_input: ModelInput
    autoencoders: Mapping[str, xr.Dataset]
    notes: list[str]

    @property
    def later(self) -> dict[str, tuple[str, ...]]:
        """Targets of each layer that is a source: those that run after it."""
        depths = {name: node.output.depth for name, node in self.nodes.items()}
        return {
            source: tuple(target for target in self.targets if depths[target] > depths[source])
            for source in self.units
        }

    @property
    def tasks(self) -> list[InfluenceTask]:
        """How the work on one model divides."""
        later = self.later
        blocks = []
        if self.options.method == "attribution":
            for target in self.targets:
                of_target = [s for s, targets in later.items() if target in targets]
                blocks.append([(s, unit, target) for s in of_target for unit in self.units[s]])
        else:
            for source, units in self.units.items():
                for first in range(0, len(units), BLOCK):
                    some = units[first : first + BLOCK]
                    blocks.append([(source, u, target) for u in some for target in later[source]])
        by_target = self.options.method == "attribution"
        return [
            InfluenceTask(tuple(pairs), tuple(range(len(pairs))), by_target)
            for pairs in blocks
            if pairs
        ]


def surveyed(options: InfluenceOptions, run: RunFacts) -> Survey:
    """What is asked for, held against the model at its first checkpoint.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `dvis.kinds.influence.plan.measure_influence` does.
    """
    probe = probe_of(options, run)
    model, outputs = probe.module, probe.outputs
    autoencoders = _autoencoders(options, run)
    targets = dict(options.targets)
    layers = [*options.layers, *autoencoders, *targets]
    check_layers(model, outputs, [name.partition(OF_LATENTS)[0] for name in layers])
    nodes = nodes_of(outputs, layers, _at_any(autoencoders))
    _check_targets(nodes, targets)
    targets = {n: targets.get(n, ()) for n in nodes if n in targets or not targets}
    sources = [name for name in nodes if name in {*options.layers, *autoencoders}]
    measurement = InfluenceMeasurement(
        images=probe.images,
        recalibrated=probe.recalibrated,
        method=options.method,
        value=options.value,
        chosen={name: units for name, units in targets.items() if units},
        seed=options.seed,
        batch_size=options.batch_size
        or (_CPU_BATCH if options.device == "cpu" else _ACCELERATOR_BATCH),
    )
    survey = Survey(
        options=options,
        model=model,
        images=probe.images,
        measurement=measurement,
        nodes=nodes,
        units=_units(nodes, sources, options.channels),
        targets=targets,
        is_cut={},
        model_input=probe.model_input,
        autoencoders=autoencoders,
        notes=[*_said_of_few(probe.images), *probe.notes],
    )
    _check_order(survey)
    return replace(survey, is_cut=_cuts(survey, outputs))


def _autoencoders(options: InfluenceOptions, run: RunFacts) -> dict[str, xr.Dataset]:
    """Autoencoders that are asked for, by the layer that is their latents."""
    if options.latents is None:
        return {}
    store = options.store_of(model_name(options.model))
    found = stored_autoencoders(store, options.latents, run=options.run, weights=run.fingerprints)
    labels = {checkpoint.label for checkpoint in run.checkpoints}
    if not any(labels & set(each[CHECKPOINT].values.tolist()) for each in found.values()):
        raise ValueError(
            f"no autoencoder {options.latents!r} of {', '.join(found)} is of these checkpoints; "
            "run `dvis sae train` with --checkpoints all first"
        )
    return {
        f"{layer}{OF_LATENTS}{options.latents}": dataset
        for layer, dataset in found.items()
        if dataset.sizes[CHECKPOINT]
    }


def _at_any(autoencoders: Mapping[str, xr.Dataset]) -> dict[str, Autoencoder]:
    """One autoencoder of each layer: all of a layer have the same latents in number."""
    return {name: autoencoder_at(dataset) for name, dataset in autoencoders.items()}


def _said_of_few(images: FixedImages) -> list[str]:
    if len(images) >= FEW_IMAGES:
        return []
    return [
        f"with {len(images)} images it cannot be told well how reliable influence is; give "
        f"{FEW_IMAGES} or more"
    ]


def _units(
    nodes: Mapping[str, Node], sources: list[str], channels: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Units of each layer that is a source."""
    for name in sources:
        n_units = nodes[name].n_units
        if max(channels, default=0) >= n_units:
            raise ValueError(
                f"channel is {max(channels)}; {name} has {n_units:,} channels: 0 to {n_units - 1}"
            )
    wanted = tuple(sorted(set(channels)))
    return {name: wanted or tuple(range(nodes[name].n_units)) for name in sources}


def _check_targets(nodes: Mapping[str, Node], targets: Targets) -> None:
    for name, units in targets.items():
        if name not in nodes:
            raise KeyError(did_you_mean("layer", name, nodes, "to"))
        n_units = nodes[name].n_units
        if max(units, default=0) >= n_units:
            raise ValueError(
                f"to is {name}:{max(units)}; {name} has {n_units:,} channels: 0 to {n_units - 1}"
            )


def _check_order(survey: Survey) -> None:
    """Raise where no layer comes before another, or attribution would take too many passes."""
    later = survey.later
    if not any(later.values()):
        raise ValueError(
            f"none of {', '.join(survey.targets)} comes after {', '.join(survey.units)}; give two "
            "layers or more, of which one runs before another"
        )
    options = survey.options
    n_targets = sum(
        survey.nodes[name].n_units
        for name in survey.targets
        if any(name in targets for targets in later.values())
    )
    if options.method == "attribution" and not options.to and n_targets > _MOST_UNASKED:
        n_sources = sum(len(units) for source, units in survey.units.items() if later[source])
        raise ValueError(
            f"attribution onto {n_targets:,} targets makes {n_targets:,} backward passes an image, "
            f"and ablation of {n_sources:,} channels as many forward passes as those. Name the "
            "targets, such as --to layer4:3,7, or their layers if all are meant; --plan tells what "
            "they cost"
        )


def _cuts(survey: Survey, outputs: Mapping[str, LayerOutput]) -> dict[str, int]:
    """Whether all that comes later passes through each layer that is a source; -1 unknown."""
    image = survey.images.batch(0, 1, next(survey.model.parameters()))
    found = {}
    for source, targets in survey.later.items():
        own = survey.nodes[source].layer
        layers = dict.fromkeys([own, *(survey.nodes[target].layer for target in targets)])
        found[source] = -1
        if targets:
            course = find_course(survey.model, own, {name: outputs[name] for name in layers}, image)
            found[source] = course.is_cut
    return found
