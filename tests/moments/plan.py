"""Options and checkpoints in, a plan out, which the runner of all kinds carries out."""

import numpy as np
from dvis.kinds.moments.kind import MomentsOptions
from dvis.kinds.moments.measure import Moments, MomentsTask
from dvis.kinds.moments.words import WORDS

from dvis.models.hooks import layer_columns, trace_layers
from dvis.models.model_input import find_input
from dvis.schema import CHANNEL, LAYER, did_you_mean
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import run_of
from dvis.sweep.runner import Report, carry_out


def measure_moments(options: MomentsOptions, *, progress: bool = False) -> Report:
    run = run_of(options)
    model, first = run.first_model(options.model)
    taken = find_input(options, run.facts.get(first, {}), options.model, model)
    shape = (taken.transform.channels, taken.transform.size, taken.transform.size)
    noise = np.random.default_rng(0).normal(size=(options.noise, *shape)).astype(np.float32)
    outputs = trace_layers(model, next(model.parameters()).new_zeros(1, *shape))
    if unknown := [layer for layer in options.layers if layer not in outputs]:
        raise KeyError(did_you_mean("layer", unknown[0], filter(None, outputs), str(options.model)))
    widths = {layer: outputs[layer].n_channels for layer in options.layers}
    plan = Plan(
        model=options.model,
        words=WORDS,
        name="noise",
        measurement=Moments(noise),
        tasks=[MomentsTask(layer, tuple(range(n))) for layer, n in widths.items()],
        settings={"n_images": options.noise, "size": taken.transform.size},
        labels={LAYER: list(widths), CHANNEL: range(max(widths.values()))},
        columns=layer_columns({layer: outputs[layer] for layer in widths}),
        model_input=taken,
    )
    return carry_out(plan, run, options, progress=progress)
