"""A sweep whose units are directions of layers' outputs: at which checkpoints, and what travels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.tasks import FeatureTask
from dvis.models.directions import Directions
from dvis.models.hooks import LayerOutput
from dvis.schema import counted, did_you_mean
from dvis.sweep.run_facts import RunFacts

_SHOWN = 5


def directed(
    options: VisualizeOptions, run: RunFacts, directions: Directions
) -> tuple[VisualizeOptions, RunFacts]:
    """Options with the layers that have directions, and the run's checkpoints with any.

    Raises
    ------
    KeyError
        When a layer that is asked for has none.
    ValueError
        When no checkpoint has any, or options ask for what is for channels.
    """
    options.check_directed()
    for layer in options.layers:
        if layer not in directions.layers:
            raise KeyError(did_you_mean("layer", layer, directions.layers, directions.variant))
    layers = options.layers or directions.layers
    notes = [*run.notes, *directions.notes]
    for layer in layers:
        lacking = [each.label for each in run.checkpoints if not directions.at(layer, each.label)]
        if lacking:
            notes.append(
                f"{counted(len(lacking), 'checkpoint')} left out, without {directions.variant} of "
                f"{layer}: {', '.join(lacking[:_SHOWN])}{', ...' if len(lacking) > _SHOWN else ''}"
            )
    kept = tuple(each for each in run.checkpoints if directions.has(each.label))
    if not kept:
        raise ValueError(
            f"no checkpoint that is asked for has {directions.variant}: {notes[-1]}. Give "
            "--checkpoint-path the run that they are of"
        )
    return replace(options, layers=layers), replace(run, checkpoints=kept, notes=notes)


def check_fit(directions: Directions, outputs: Mapping[str, LayerOutput]) -> None:
    """Raise where directions have another number of channels than their layer gives.

    Raises
    ------
    ValueError
        With both numbers.
    """
    for (layer, _), read_out in directions.read_outs.items():
        if layer in outputs and read_out.n_channels != outputs[layer].n_channels:
            raise ValueError(
                f"{directions.variant} of {layer} take {read_out.n_channels} channels, but the "
                f"model's layer gives {outputs[layer].n_channels}; give the model that they are of"
            )


@dataclass(frozen=True)
class WithReadOut:
    """Tasks as they travel to a checkpoint's model: with the rows of their own units there."""

    directions: Directions

    def __call__(self, label: str, task: FeatureTask) -> FeatureTask:
        """A task at a checkpoint."""
        read_out = self.directions.at(task.layer, label)
        assert read_out is not None, "what a checkpoint has no directions of is in no task"
        return replace(task, read_out=read_out.of(task.needed))
