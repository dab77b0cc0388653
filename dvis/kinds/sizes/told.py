"""What a report tells of receptive fields: how large they are over training."""

from collections.abc import Iterator
from functools import partial

from dvis.kinds.parts import Asked
from dvis.kinds.sizes.read import SIZE_READER
from dvis.kinds.sizes.words import LOG_AREA
from dvis.kinds.told import Code, Section, ToldFigure
from dvis.kinds.told_births import axis_of, is_over_training, values_numbers
from dvis.schema import Status


def size_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of sizes over more than one checkpoint."""
    for entry, dataset in asked.groups(SIZE_READER):
        if not is_over_training(dataset) or not bool((dataset["status"] == Status.COMPLETE).any()):
            continue
        opened = Code().then("sizes", str(asked.store), asked.run, entry.name)
        yield Section(
            title=f"Sizes of receptive fields · {entry.name}",
            texts=[
                "The area in which pixels move a unit, by gradients over fixed images. Fields that "
                "reach beyond the image are cut off there. No null is measured beside it: it is a "
                "description."
            ],
            shown=[
                ToldFigure(
                    title="Areas of receptive fields over training",
                    caption="Natural logarithm of square pixels; the median of each layer's units.",
                    code=opened.then(
                        "dvis.trajectories_by_layer", variable=LOG_AREA, x=axis_of(dataset)
                    ),
                    numbers=partial(values_numbers, dataset, [LOG_AREA]),
                )
            ],
        )
