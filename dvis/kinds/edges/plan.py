"""Shares of inputs at every checkpoint of a run, into a store.

Options and the run's files in, a plan out; the group `{run}/edges/{name}` of `stores/{model}.zarr`
grows. What is there is skipped, so that a run that was stopped goes on.
"""

from typing import TYPE_CHECKING

from dvis.kinds.edges.input_layers import input_layers
from dvis.kinds.edges.measure import EdgeShares, EdgesTask
from dvis.kinds.edges.options import EdgesOptions
from dvis.kinds.edges.record import EdgesRecorder
from dvis.kinds.edges.sums import n_inputs, weighted_layers
from dvis.kinds.edges.words import INPUT_CHANNEL, WORDS
from dvis.models.devices import find_device
from dvis.models.hooks import layer_columns
from dvis.schema import CHANNEL, LAYER
from dvis.sweep.plan import Plan
from dvis.sweep.probing import Probe, probe_of, told_of
from dvis.sweep.probing_options import ProbeRunOptions
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client


def measure_edges(
    options: EdgesOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the shares of inputs that a store lacks.

    Parameters
    ----------
    options : EdgesOptions
        Model, checkpoints, layers and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many layers were measured, and what is to be said of some: failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer, an option is out of its range, or the store has shares on
        other images under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    return carry_out(edges_plan(options, run), run, options, client=client, progress=progress)


def edges_plan(options: ProbeRunOptions, run: RunFacts) -> Plan:
    """The plan of shares of inputs.

    Parameters
    ----------
    options : ProbeRunOptions
        Layers and images; of influence too, whose `method` it is.
    run : RunFacts
        The checkpoints.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `measure_edges` does.
    """
    probe = probe_of(options, run)
    model, images, measurement = probe.module, probe.images, shares_of(probe)
    outputs = measurement.outputs(model, options.layers)
    there = weighted_layers(model, outputs)
    widths = {layer: n_inputs(there[layer]) for layer in outputs}
    image = images.batch(0, 1, next(model.parameters()))
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name or options.images_name,
        measurement=measurement,
        tasks=[EdgesTask(tuple(outputs), tuple(range(len(outputs))))],
        settings={
            "batch_norm": options.batch_norm,
            "images": told_of(images),
        },
        labels={
            LAYER: list(outputs),
            CHANNEL: range(max(output.n_channels for output in outputs.values())),
            INPUT_CHANNEL: range(max(widths.values())),
        },
        columns={
            **layer_columns(outputs),
            "n_inputs": widths,
            "input_layer": input_layers(model, list(outputs), image),
        },
        recorder=EdgesRecorder.open,
        unit="layer",
        model_input=probe.model_input,
        notes=tuple(probe.notes),
    )


def shares_of(probe: Probe) -> EdgeShares:
    """What measures shares with the images of a probe."""
    return EdgeShares(
        images=probe.images, recalibrated=probe.recalibrated, batch_size=probe.batch_size
    )
