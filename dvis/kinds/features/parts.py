"""The part of feature images on a run's page: whether seeds agree, over the band of their null."""

from collections.abc import Iterator

from dvis.analysis.control import controlled
from dvis.kinds.features.agreement import seed_agreement
from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.words import KIND, SEED_NULL, SEED_SIMILARITY
from dvis.kinds.parts import Asked, Curves, Line
from dvis.plots.canvas import evenly
from dvis.schema import CHECKPOINT, LAYER

_MAX_LAYERS = 8


def seed_curves(asked: Asked) -> Iterator[Curves]:
    """How alike two seeds are in the run's default variant, by layer, where they were compared."""
    if asked.unit is not None or not asked.contents.of(KIND, asked.run):
        return
    entry = FEATURE_READER.choose(asked.contents, asked.run, None)
    dataset = asked.group(FEATURE_READER, entry)
    if not {SEED_SIMILARITY, SEED_NULL} <= set(dataset):
        return
    names = [SEED_SIMILARITY, SEED_NULL, "status"]
    found = controlled(seed_agreement(dataset[names]), "similarity")
    is_known = found.value.notnull().any(CHECKPOINT).values
    layers = found.value[LAYER].values[is_known].tolist()
    if not layers:
        return
    shown = [layers[place] for place in evenly(len(layers), _MAX_LAYERS)]
    low = found.low.sel({LAYER: shown}).min(LAYER)
    high = found.high.sel({LAYER: shown}).max(LAYER)
    of_layers = "of a layer" if len(shown) == 1 else "of any of these layers"
    yield Curves(
        title="Agreement of two seeds",
        checkpoints=[str(label) for label in found.value[CHECKPOINT].values],
        lines=[
            Line(label=str(name), values=found.value.sel({LAYER: name}).values) for name in shown
        ],
        null_low=low.values,
        null_high=high.values,
        null_text=f"90 % of pairs of different units {of_layers}",
    )
