"""Parts of the page of a latent: its top images, its numbers over training, its classes."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.parts import on_map
from dvis.kinds.parts import Bars, Curves, Line, Part, PictureRows
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE
from dvis.kinds.saes.found import SHARE, Found
from dvis.schema import CHECKPOINT, LEVELS

_MAX_CLASSES = 10  # of a checkpoint
_CURVES = {"frequency": "Share of rows in which it fires", "max": "Largest code"}


def parts_of(found: Found, latents: Sequence[int]) -> list[list[Part]]:
    """Parts of each of some latents, read together."""
    places = found.places_of(latents)
    some = found.dataset[["class_mean", "top_value", "top_map", "map_scale"]].isel({LATENT: places})
    some = some.isel({SCORE: 0, RANK: slice(found.n_top)}).load()
    return [list(_parts(found, some.isel({LATENT: k}), place)) for k, place in enumerate(places)]


def _parts(found: Found, of_latent: xr.Dataset, place: int) -> Iterator[Part]:
    if found.image_set:
        yield _top_images(found, of_latent, place)
    numbers = [found.numbers(row) for row in range(len(found.labels))]

    def line(name: str) -> np.ndarray:
        return np.array([of_checkpoint[name][place] for of_checkpoint in numbers])

    for name, title in _CURVES.items():
        lines = [Line(label=name, values=line(name), beside_slider=name)]
        yield Curves(title=title, checkpoints=found.labels, lines=lines, with_zero=True)
    if not found.classes:
        return
    yield Curves(
        title="Class selectivity",
        checkpoints=found.labels,
        lines=[Line(label="selectivity", values=line("selectivity"), beside_slider="selectivity")],
        with_zero=True,
        null_low=line("null_low"),
        null_high=line("null"),
        null_text=f"{2 * SHARE - 1:.0%} of shuffled labels".replace("%", " %"),
    )
    yield _classes(found, of_latent)


def _top_images(found: Found, of_latent: xr.Dataset, place: int) -> PictureRows:
    values, scores = of_latent["top_value"].values, of_latent["map_scale"].values
    maps = None if found.places is None else on_map(of_latent["top_map"], found.places)
    if maps is not None:
        # As shares of the highest code of these images, so that weak ones are pale.
        best = np.where(values[:, :1] > 0, values[:, :1], np.inf)
        share = (scores[:, None] / best)[..., None, None] * maps / LEVELS
        maps = np.rint(LEVELS * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)
    return PictureRows(
        title="Images that drive it most",
        note=f"By the {found.score} of its codes over places, each image once.",
        image_set=found.image_set,
        checkpoints=found.labels,
        samples=np.concatenate([found.top(r, np.array([place])) for r in range(len(found.labels))]),
        values=values,
        maps=maps,
    )


def _classes(found: Found, of_latent: xr.Dataset) -> Bars:
    means = of_latent["class_mean"].transpose(CLASS, CHECKPOINT).values
    known = np.nan_to_num(means, nan=-np.inf)
    best = np.argsort(-known, axis=0, kind="stable")[:_MAX_CLASSES]
    rows = np.unique(best)
    n, n_all = min(_MAX_CLASSES, len(means)), len(means)
    which = f", the highest {n} of {n_all}" if n < n_all else ""
    return Bars(
        title="Classes",
        note=f"Mean score of each class's images{which}.",
        rows=[found.classes[row] for row in rows],
        checkpoints=found.labels,
        values=means[rows],
    )
