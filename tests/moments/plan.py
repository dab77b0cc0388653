"""Options and checkpoints in, a plan out, which the runner of all kinds carries out."""

import numpy as np
from dvis.kinds.moments.kind import MomentsOptions
from dvis.kinds.moments.measure import Moments, MomentsTask
from dvis.kinds.moments.words import WORDS

from dvis.models.checkpoints import find_checkpoints
from dvis.models.hooks import layer_columns, trace_layers
from dvis.models.model_input import find_input
from dvis.schema import CHANNEL, LAYER
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import read_run
from dvis.sweep.runner import Report, carry_out


def measure_moments(options: MomentsOptions, *, progress: bool = False) -> Report:
    run = read_run(find_checkpoints(options.checkpoint_path, weights_key=options.weights_key))
    model, first = run.first_model(options.model)
    size = find_input(options, run.facts[first], options.model, model).transform.size
    noise = np.random.default_rng(0).normal(size=(options.noise, 3, size, size))
    outputs = trace_layers(model, next(model.parameters()).new_zeros(1, 3, size, size))
    widths = {layer: outputs[layer].n_channels for layer in options.layers}
    plan = Plan(
        model=options.model,
        words=WORDS,
        name="noise",
        measurement=Moments(noise.astype(np.float32)),
        tasks=[MomentsTask(layer, tuple(range(n))) for layer, n in widths.items()],
        settings={"n_images": options.noise, "size": size},
        labels={LAYER: list(widths), CHANNEL: range(max(widths.values()))},
        columns=layer_columns({layer: outputs[layer] for layer in widths}),
    )
    return carry_out(plan, run, options, progress=progress)
