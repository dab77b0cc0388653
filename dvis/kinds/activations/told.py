"""What a report tells of activations: the images of a set that drive channels most."""

from collections.abc import Iterator
from functools import partial

from dvis.kinds.activations.read import READER, name_of
from dvis.kinds.parts import Asked
from dvis.kinds.told import Code, Section, ToldFigure
from dvis.kinds.told_births import values_numbers
from dvis.schema import CHECKPOINT, Status


def activation_sections(asked: Asked) -> Iterator[Section]:
    """The top images of each layer that keeps some."""
    shown = []
    for entry, dataset in asked.groups(READER):
        if "top_sample" not in dataset or not bool((dataset["status"] == Status.COMPLETE).any()):
            continue
        layer, name = str(entry.attrs["layer"]), name_of(entry)
        opened = Code().then(
            "activations", str(asked.store), layer, name, asked.run, allow_partial=True
        )
        last = dataset.isel({CHECKPOINT: [-1]})
        shown.append(
            ToldFigure(
                title=f"{layer} · {name}",
                caption="A row is a channel, evenly chosen; its best images first, at the last "
                "checkpoint, with what it answers. Within the orange line the channel is above "
                "half of its largest value in that image.",
                code=opened.then("dvis.top_images"),
                numbers=partial(values_numbers, last, ["mean", "variance"]),
            )
        )
    if shown:
        yield Section(
            title="Images that drive channels most",
            texts=[
                "Of a set of images, those that drive each channel most. The best of many look "
                "alike for many reasons: what they share is a guess at what the channel means, "
                "not a test of it."
            ],
            shown=shown,
        )
