"""What moments are to the rest of dvis: how they are read, measured and shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import tyro
from dvis.kinds.moments.words import KIND, WORDS

from dvis.kinds.kind import Kind, plainly
from dvis.kinds.parts import Asked, Curves, Line, Part
from dvis.store.reader import Reader
from dvis.sweep.place import RunOptions


@dataclass(frozen=True, kw_only=True)
class MomentsOptions(RunOptions):
    """Layers by their dotted names, and the number of images of noise."""

    layers: tuple[str, ...]
    noise: int = 8


def moments(options: Annotated[MomentsOptions, tyro.conf.arg(name="")]) -> int:
    """Measure mean and variance of units' responses to noise, into the model's store."""
    from dvis.kinds.moments.plan import measure_moments  # loads torch

    report = measure_moments(options, progress=True)
    print(*report.lines(), sep="\n")
    return 1 if report.n_failed else 0


def unit_curve(asked: Asked) -> Iterator[Part]:
    """A unit's mean over training, in a band of one standard deviation."""
    for entry in asked.contents.of(KIND, asked.run) if asked.unit else ():
        dataset = READER.open_entry(asked.store, asked.contents, entry)
        unit = dataset.sel(layer=asked.unit.layer, channel=asked.unit.channel).load()
        mean, deviation = unit["mean"].values, unit["variance"].values ** 0.5
        line = Line(label="mean", values=mean, low=mean - deviation, high=mean + deviation)
        labels = unit["checkpoint"].values.tolist()
        yield Curves(title=f"Moments, {entry.name}", checkpoints=labels, lines=[line])


READER = Reader(kind=KIND, noun="moments", made_by="dvis moments")
MOMENTS = Kind(
    reader=READER, words=lambda _: WORDS, parts=unit_curve, commands={"moments": plainly(moments)}
)
