"""Checkpoints' latents and their links, one after the other, as far as they were not found before.

Autoencoders of a store in; what tracks are made of out.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from dvis.kinds.saes.measure.likeness import Coder
from dvis.kinds.saes.measure.links import Links, first_links, links
from dvis.kinds.saes.measure.tracking import Floats, Step, null_of, tracks_of
from dvis.kinds.saes.options import TrackMethod
from dvis.kinds.saes.tracks.source import Source
from dvis.kinds.saes.tracks.state import Arrays, remembered
from dvis.progress import progress_bar

_Found = TypeVar("_Found", bound=Coder | None)


class _Read(Sequence[_Found]):
    """Autoencoders of checkpoints, each read when it is looked at: there may be many large ones."""

    def __init__(self, labels: Sequence[str], read: Callable[[str], _Found]) -> None:
        self._labels, self._read = labels, read

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: Any) -> Any:
        return self._read(self._labels[place])


def tracks_of_source(
    source: Source,
    second: Source | None,
    method: TrackMethod,
    level: float,
    folder: Path,
    *,
    progress: bool = False,
) -> xr.Dataset:
    """Tracks of autoencoders of which each checkpoint has its own.

    Parameters
    ----------
    source, second : Source
        What is tracked, and a second seed of it.
    method : {"warm", "match"}
        Whether latents keep their numbers, or are matched.
    level : float
        As of `links`.
    folder : Path
        Where what is found is kept until all is there.
    progress : bool
        Show a bar.
    """
    coders = _Read(source.labels, source.coder)
    seconds = _Read(source.labels, second.coder_if_there if second else lambda _label: None)
    found = list(linked(coders, method, level, folder, progress=progress))
    nulls = nulls_of(coders, seconds, folder)
    steps = [Step.of(*each) for each in zip(found, nulls, strict=True)]
    return tracks_of(steps, lambda place: coders[place].autoencoder.decoder, method)


def linked(
    coders: Sequence[Coder],
    method: TrackMethod,
    level: float,
    folder: Path,
    *,
    progress: bool = False,
) -> Iterator[Links]:
    """Links of each checkpoint, in training order."""
    before: Links | None = None
    with progress_bar(len(coders), "checkpoints", "track", shown=progress) as bar:
        for place in range(len(coders)):

            def find(before: Links | None = before, place: int = place) -> Arrays:
                here = coders[place]
                if before is None:
                    return first_links(here).arrays()
                return links(here, coders[place - 1], before, method, level).arrays()

            before = Links.of(remembered(folder, f"links-{place}", find))
            yield before
            bar.update()


def nulls_of(
    coders: Sequence[Coder], seconds: Sequence[Coder | None], folder: Path
) -> list[tuple[Floats, Floats] | None]:
    """Similarity and cosine of each checkpoint's latents with those of a second seed."""
    nulls: list[tuple[Floats, Floats] | None] = []
    for place, second in enumerate(seconds):
        if second is None:
            nulls.append(None)
            continue

        def find(place: int = place, second: Coder = second) -> Arrays:
            found = null_of(coders[place], second)
            assert found is not None
            return dict(zip(("similarity", "cosine"), map(np.asarray, found), strict=True))

        kept = remembered(folder, f"null-{place}", find)
        nulls.append((kept["similarity"], kept["cosine"]))
    return nulls
