"""Sizes of units' receptive fields at every checkpoint of a run, into a store.

A model's name, its checkpoints and images in; the group `{run}/sizes/{name}` grows. What is there
is skipped, so that a run that was stopped goes on.
"""

from typing import TYPE_CHECKING

from dvis.kinds.sizes.measure import ReceptiveFields, SizeTask, middle
from dvis.kinds.sizes.options import SizeOptions
from dvis.kinds.sizes.read import SIZE_READER
from dvis.kinds.sizes.words import WORDS
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput, layer_columns
from dvis.schema import CHANNEL, LAYER, Status, counted
from dvis.sweep.plan import Plan
from dvis.sweep.probing import probe_of, told_of
from dvis.sweep.run_facts import run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_BLOCK = 64  # channels of a task


def measure_sizes(
    options: SizeOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the sizes that a store lacks.

    Parameters
    ----------
    options : SizeOptions
        Model, checkpoints, layers and images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many units were measured, and what is to be said of some.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When the model has no such layer or channel, a layer's tokens are no patches, an option is
        out of its range, or the store has sizes of other images under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    run = run_of(options)
    probe = probe_of(options, run)
    outputs = probe.chosen(options.layers)
    for layer, output in outputs.items():
        middle(probe.module, layer, output)  # which refuses some
    plan = Plan(
        model=options.model,
        words=WORDS,
        name=options.name or options.images_name,
        measurement=ReceptiveFields(
            images=probe.images,
            recalibrated=probe.recalibrated,
            batch_size=probe.batch_size,
        ),
        tasks=_tasks(options, outputs),
        settings={
            "images": told_of(probe.images),
            "batch_norm": options.batch_norm,
            "n_statistics": len(probe.recalibrated.images),
        },
        labels={
            LAYER: list(outputs),
            CHANNEL: range(max(output.n_channels for output in outputs.values())),
        },
        columns=layer_columns(outputs),
        model_input=probe.model_input,
        notes=tuple(probe.notes),
    )
    report = carry_out(plan, run, options, client=client, progress=progress)
    report.notes += _said_of_dead(report)
    return report


def _said_of_dead(report: Report) -> list[str]:
    """How many units of the group no image moves, where there are some."""
    status = SIZE_READER.open(report.store, report.run, report.name)["status"]
    n_dead = int((status == Status.DEAD).sum())
    if not n_dead:
        return []
    n_all = n_dead + int((status == Status.COMPLETE).sum())
    return [
        f"{n_dead} of {counted(n_all, 'unit')} over all checkpoints are dead: none of the images "
        "moves them in the middle, and they have no size"
    ]


def _tasks(options: SizeOptions, outputs: dict[str, LayerOutput]) -> list[SizeTask]:
    """Blocks of channels."""
    tasks = []
    for layer, output in outputs.items():
        wanted = options.channels or tuple(range(output.n_channels))
        if not 0 <= min(wanted) <= max(wanted) < output.n_channels:
            raise ValueError(
                f"channels are {', '.join(map(str, wanted[:10]))}; {layer} has "
                f"{output.n_channels} channels: 0 to {output.n_channels - 1}"
            )
        blocks = range(0, len(wanted), _BLOCK)
        tasks += [SizeTask(layer, wanted[first : first + _BLOCK]) for first in blocks]
    return tasks
