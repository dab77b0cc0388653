"""Chimeras of every checkpoint of a run with its last one, into a store.

A model's name, its checkpoints, cuts and images in; the group `{run}/chimera/{name}` grows. What is
there is skipped, so that a run that was stopped goes on.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dvis.kinds.chimera.measure import Chimeras, ChimeraTask
from dvis.kinds.chimera.options import ChimeraOptions
from dvis.kinds.chimera.words import CUT, PART, PARTS, WORDS
from dvis.models.checkpoints import CheckpointFile, find_checkpoints, fingerprint
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput, layer_columns
from dvis.models.splitting import Split, splits
from dvis.schema import CHANNEL, LAYER, did_you_mean
from dvis.sweep.plan import Plan
from dvis.sweep.probing import Probe, probe_of, told_of
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

Outputs = dict[str, LayerOutput]
_LEAST_IMAGES = 3  # of two, every correlation is 1 or -1


def make_chimeras(
    options: ChimeraOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the chimeras that a store lacks.

    Parameters
    ----------
    options : ChimeraOptions
        Model, checkpoints, cuts and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many chimeras were measured, one for each cut of a checkpoint, and what is to be said.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or none can be loaded, the final one among them.
    KeyError, ValueError
        When the model has no such layer, the run no such final checkpoint or none beside it, no
        target comes after a cut, or weights work on both sides of one; an option is out of its
        range; or the store has chimeras of other images, layers or final weights under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    probe = probe_of(options, run)
    if len(probe.images) < _LEAST_IMAGES:
        raise ValueError(
            f"{len(probe.images)} images were given; a correlation over images takes "
            f"{_LEAST_IMAGES} or more. Give --n-images 256"
        )
    final = _final(options, run)
    cuts, targets, notes = _in_order(
        probe.chosen(options.layers), _targets(options, probe), is_chosen=bool(options.to)
    )
    calls = {layer: each.n_calls for layer, each in (cuts | targets).items()}
    image = probe.images.batch(0, 1, next(probe.module.parameters()))
    of_cuts = splits(probe.module, tuple(cuts), calls, image)
    plan = _planned(
        options, run, replace(probe, notes=[*probe.notes, *notes]), final, targets, of_cuts
    )
    return carry_out(plan, run, options, client=client, progress=progress)


def _targets(options: ChimeraOptions, probe: Probe) -> Outputs:
    """Layers whose units are looked at."""
    if options.to:
        return probe.chosen(options.to)
    return probe.chosen((*options.layers, next(reversed(probe.outputs))))


def _in_order(
    cuts: Outputs, targets: Outputs, *, is_chosen: bool
) -> tuple[Outputs, Outputs, list[str]]:
    """Cuts that come before a target, targets that come after a cut, and what is said of others.

    Targets that nobody chose stay: of them it is told how the checkpoint answers as a whole.
    """
    first = min(cut.depth for cut in cuts.values())
    last = max(target.depth for target in targets.values())
    if first >= last:
        raise ValueError(
            f"none of {', '.join(targets)} comes after {', '.join(cuts)}; cut behind layers that "
            "run before one of --to"
        )
    useful = {name: cut for name, cut in cuts.items() if cut.depth < last}
    told = {n: each for n, each in targets.items() if each.depth > first or not is_chosen}
    notes = [
        f"no target comes after {cut}: it is not cut there" for cut in cuts if cut not in useful
    ]
    notes += [
        f"no cut comes before {target}: it is not looked at"
        for target in targets
        if target not in told
    ]
    return useful, told, notes


def _planned(
    options: ChimeraOptions,
    run: RunFacts,
    probe: Probe,
    final: CheckpointFile,
    targets: Outputs,
    of_cuts: dict[str, Split],
) -> Plan:
    cuts = tuple(of_cuts)
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name or options.images_name,
        measurement=Chimeras(
            model=options.model,
            final=final,
            images=probe.images,
            splits=of_cuts,
            outputs=targets,
            recalibrated=probe.recalibrated,
            batch_size=probe.batch_size,
            seed=options.seed,
        ),
        tasks=[ChimeraTask(cuts, tuple(range(len(cuts))))],
        settings={
            "images": told_of(probe.images),
            "batch_norm": options.batch_norm,
            "final": _told_of(final, run),
            "layers": list(targets),
            "seed": options.seed,
        },
        labels={
            CUT: cuts,
            PART: PARTS,
            LAYER: list(targets),
            CHANNEL: range(max(output.n_channels for output in targets.values())),
        },
        columns={
            **layer_columns(targets),
            "cut_depth": {cut: probe.outputs[cut].depth for cut in cuts},
            "is_cut": {cut: int(split.is_cut) for cut, split in of_cuts.items()},
        },
        unit="chimera",
        model_input=probe.model_input,
        notes=(
            *probe.notes,
            *(_said_of(cut) for cut, split in of_cuts.items() if not split.is_cut),
        ),
    )


def _said_of(cut: str) -> str:
    return (
        f"some of what comes later goes around {cut}, as over a skip connection: weights are split "
        "there by the order in which they work, and later ones see more than its output"
    )


def _final(options: ChimeraOptions, run: RunFacts) -> CheckpointFile:
    """The checkpoint that the other part of every chimera is of."""
    there = {checkpoint.label: checkpoint for checkpoint in run.checkpoints}
    if options.final is None:
        final = run.checkpoints[-1]
    else:
        asked = find_checkpoints(options.checkpoint_path, weights_key=options.weights_key)
        there = {checkpoint.label: checkpoint for checkpoint in asked} | there
        if options.final not in there:
            raise KeyError(did_you_mean("checkpoint", options.final, there, "the run"))
        final = there[options.final]
    if final.label in run.unreadable:
        raise run.unreadable[final.label]
    if all(checkpoint.label == final.label for checkpoint in run.checkpoints):
        raise ValueError(
            f"{final.label} is the only checkpoint asked for and the final one itself: there is "
            "nothing to put together with it; ask for others in --checkpoints, or for another "
            "--final"
        )
    return final


def _told_of(final: CheckpointFile, run: RunFacts) -> dict[str, Any]:
    """What tells the final weights from others; text, for JSON's numbers are not as long."""
    content = run.fingerprints.get(final.label, 0)
    if not content and final.path is not None:
        content = fingerprint(final.path, final.weights_key)
    return {"checkpoint": final.label, "fingerprint": f"{content:016x}"}
