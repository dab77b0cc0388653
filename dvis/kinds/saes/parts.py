"""Parts of the page of a latent: its top images, its numbers over training, its classes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, VALUE
from dvis.analysis.ranking import RANK
from dvis.kinds.activations.parts import on_map
from dvis.kinds.parts import Bars, Curves, Line, Part, PictureRows, Table
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE
from dvis.kinds.saes.found import SHARE, Found
from dvis.kinds.saes.words import EFFECT, MONO_SCORE, why_no_images
from dvis.schema import CHECKPOINT, LEVELS
from dvis.store.unit_names import LatentName

_MAX_CLASSES = 10  # of a checkpoint
# What a number is called in a column and above a curve.
TITLES = {
    "frequency": ("Frequency", "Share of rows in which it fires"),
    "max": ("Max", "Largest code"),
    "selectivity": ("Selectivity", "Class selectivity"),
    MONO_SCORE: ("MonoScore", "MonoScore"),
}
_OF_PARTS = ("class_mean", "top_value", "top_map", "map_scale", EFFECT)


def parts_of(found: Found, latents: Sequence[int]) -> list[list[Part]]:
    """Parts of each of some latents, read together."""
    places = found.places_of(latents)
    there = [name for name in _OF_PARTS if name in found.dataset]
    some = found.dataset[there].isel({LATENT: places})
    some = some.isel({SCORE: 0, RANK: slice(found.n_top)}).load()
    return [list(_parts(found, some.isel({LATENT: k}), place)) for k, place in enumerate(places)]


def names_table(names: Sequence[LatentName]) -> Table:
    """What programs called a latent, with what that is held against."""
    return Table(
        title="Names by programs",
        columns=("name", "by", "score", "of random latents", "checkpoint"),
        rows=[
            (each.text, each.by, _number(each.score), _number(each.null_high), each.checkpoint)
            for each in names
        ],
        note="No person wrote them. The score is how well the name fits the images that drive it "
        "most; one of 20 random latents exceeds the number beside it.",
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not known"


def _parts(found: Found, of_latent: xr.Dataset, place: int) -> Iterator[Part]:
    numbers = [found.numbers(row) for row in range(len(found.labels))]

    def line(name: str) -> np.ndarray:
        return np.array([of_checkpoint[name][place] for of_checkpoint in numbers])

    frequency = line("frequency")
    if found.image_set:
        yield _top_images(found, of_latent, place, frequency)
    for name, (_, title) in TITLES.items():
        if name in numbers[0]:
            yield _curves(found, name, title, line)
    if found.classes:
        yield _classes(found, of_latent)
    if EFFECT in of_latent and of_latent[EFFECT].notnull().any():
        why = [_sentence(each, found.score) if each == 0 else "" for each in frequency]
        yield replace(_effects(found, of_latent), empty=why)


def _sentence(frequency: float, score: str) -> str:
    """Why there are no images, as a sentence begins."""
    text = why_no_images(frequency, score)
    return f"{text[:1].upper()}{text[1:]}"


def _curves(found: Found, name: str, title: str, line: Callable[[str], np.ndarray]) -> Curves:
    """A number over checkpoints, beside its null where it has one."""
    words = name.replace("_", " ")
    lines = [Line(label=words, values=line(name), beside_slider=words)]
    curves = Curves(title=title, checkpoints=found.labels, lines=lines, with_zero=True)
    if name not in found.scored:
        return curves
    return replace(
        curves,
        null_low=line(f"{name}_low"),
        null_high=line(f"{name}_high"),
        null_text=f"{2 * SHARE - 1:.0%} of shuffled {found.scored[name]}".replace("%", " %"),
    )


def _top_images(
    found: Found, of_latent: xr.Dataset, place: int, frequency: np.ndarray
) -> PictureRows:
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
        empty=[_sentence(each, found.score) for each in frequency],
    )


def _classes(found: Found, of_latent: xr.Dataset) -> Bars:
    means = of_latent["class_mean"].transpose(CLASS, CHECKPOINT).values
    n, n_all = min(_MAX_CLASSES, len(means)), len(means)
    which = f", the highest {n} of {n_all}" if n < n_all else ""
    return _bars(found, "Classes", f"Mean score of each class's images{which}.", means)


def _effects(found: Found, of_latent: xr.Dataset) -> Bars:
    """What the latent adds to each logit, beside what a random direction of its length does."""
    added = -of_latent[EFFECT].transpose(CONTROL, CLASS, CHECKPOINT)
    random = np.abs(added.sel({CONTROL: added[CONTROL].values != VALUE}).values)
    bars = _bars(
        found,
        "Effect on logits",
        "What it adds to the logit of a class in images in which it fires; the mark is the most "
        "that a random direction of the same length moves one.",
        added.sel({CONTROL: VALUE}).values,
    )
    return replace(bars, bound=np.nan_to_num(random, nan=-np.inf).max((0, 1)))


def _bars(found: Found, title: str, note: str, values: np.ndarray) -> Bars:
    """Bars of the classes that are among the highest at some checkpoint."""
    known = np.nan_to_num(values, nan=-np.inf)
    rows = np.unique(np.argsort(-known, axis=0, kind="stable")[:_MAX_CLASSES])
    names = [found.classes[row] for row in rows]
    return Bars(title=title, note=note, rows=names, checkpoints=found.labels, values=values[rows])
