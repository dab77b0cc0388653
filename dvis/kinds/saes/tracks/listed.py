"""Tracks on the page of a latent: how alike it stays, how far it turns, and its film.

Groups of a store in, parts of a latent out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dvis.kinds.parts import Asked, Curves, Line, Part, PictureRows
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.found import Found
from dvis.kinds.saes.read import SAE_READER, name_of
from dvis.kinds.saes.tracks.words import METHOD, shared_name
from dvis.kinds.saes.words import KIND, is_tracks
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHECKPOINT, SchemaError, Status
from dvis.store.contents import Entry

_CROSS, _SHARED = "cross", "shared"  # a crosscoder's codes are latents of no autoencoder
_NONE = -1
# Of each curve what it is, and which end of it a second seed bounds.
_CURVES = {
    "similarity": ("similarity of codes to the checkpoint before", 1.0),
    "drift": ("drift since it begins, 1 - cosine", 0.0),
}


@dataclass(frozen=True)
class Tracked:
    """A group of tracks as the page reads it, once for all latents."""

    asked: Asked
    entry: Entry

    @property
    def of_list(self) -> str:
        """What the autoencoders are called whose latents the tracks are."""
        name = name_of(self.entry)
        return shared_name(name) if self.entry.attrs[METHOD] == _SHARED else name

    @cached_property
    def tracks(self) -> xr.Dataset | None:
        """Numbers of all tracks, None where they are half grown."""
        try:
            dataset = self.asked.group(SAE_READER, self.entry)
        except SchemaError:  # the next `dvis sae track` repairs it
            return None
        if not (dataset["status"].values == Status.COMPLETE).all():
            return None
        names = [LATENT, "birth", "death", *_CURVES, *(f"null_{name}" for name in _CURVES)]
        return dataset[[name for name in names if name in dataset]].load()

    def parts(self, latent: int, found: Found | None) -> Iterator[Part]:
        """Curves of the track that a latent is last, and its images where its number changes."""
        if self.tracks is None:
            return
        is_here = self.tracks[LATENT].values == latent
        if not is_here.any():
            return
        last = int(np.flatnonzero(is_here.any(1))[-1])
        one = self.tracks.isel(track=int(np.flatnonzero(is_here[last])[0]))
        numbers = one[LATENT].values
        if (numbers != _NONE).sum() < 2:  # which has nothing to be held against
            return
        title = f"Track {int(one['track'])} by {self.entry.attrs[METHOD]}{_ends(one)}"
        for name, (what, bound) in _CURVES.items():
            yield _curve(one, name, f"{title}: {what}", bound)
        if found is not None and found.image_set and len({*numbers[numbers != _NONE]}) > 1:
            yield _film(one, found, title)


def listed_tracks(asked: Asked) -> list[Tracked]:
    """The tracks of a run whose latents have a list."""
    return [
        Tracked(asked, entry)
        for entry in asked.contents.of(KIND, asked.run)
        if is_tracks(entry.attrs) and entry.attrs[METHOD] != _CROSS
    ]


def _ends(one: xr.Dataset) -> str:
    """Where a track is born and dies, as the end of a title."""
    words = {"birth": "born", "death": "gone"}
    said = [
        f", {word} at {moment_name(one, str(one[name].item()))}"
        for name, word in words.items()
        if str(one[name].item())
    ]
    return "".join(said)


def _curve(one: xr.Dataset, name: str, title: str, bound: float) -> Curves:
    """A number of a track, with what a second seed of each checkpoint has as its band."""
    null = one[f"null_{name}"].values if f"null_{name}" in one else None
    return Curves(
        title=title,
        checkpoints=[str(label) for label in one[CHECKPOINT].values],
        lines=[Line(label=name, values=one[name].values, beside_slider=name)],
        with_zero=True,
        null_low=None if null is None else np.minimum(null, bound),
        null_high=None if null is None else np.maximum(null, bound),
        null_text="a second seed of the same checkpoint, and all that is nearer",
    )


def _film(one: xr.Dataset, found: Found, title: str) -> PictureRows:
    """Top images of whichever latent the track is at each checkpoint."""
    labels = [str(label) for label in one[CHECKPOINT].values]
    samples = np.full((len(labels), found.n_top), "", object)
    values = np.full(samples.shape, np.nan)
    said = []
    for row, (label, latent) in enumerate(zip(labels, one[LATENT].values.tolist(), strict=True)):
        is_known = latent != _NONE and label in found.labels
        said.append("" if is_known else "not there" if latent == _NONE else "not evaluated")
        if is_known:
            at, places = found.labels.index(label), found.places_of([latent])
            samples[row] = found.top(at, places)[0]
            values[row] = found.top_values(at, places)[0]
    there = [
        f"{name}: latent {latent}"
        for name, latent in zip(moment_names(one), one[LATENT].values.tolist(), strict=True)
        if latent != _NONE
    ]
    return PictureRows(
        title=f"{title}: images that drive it most",
        note=f"Of the latent that it is at each checkpoint. {'; '.join(there)}.",
        image_set=found.image_set,
        checkpoints=labels,
        samples=samples.astype(str),
        values=values,
        empty=said,
    )
