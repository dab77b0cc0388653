"""Names of latents by programs, each beside how its name fits other latents' images.

What `dvis sae evaluate` found in; names with scores out, kept in the store apart from notes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.ranking import RANK
from dvis.analysis.requirements import require_whole_numbers
from dvis.analysis.selectivity import LEVEL, chance_bound
from dvis.kinds.activations.pictures.samples import Samples
from dvis.kinds.saes.dims import LATENT, SCORE, SHUFFLE, quantity
from dvis.kinds.saes.namers import (
    CLASS_NAMER,
    ByClass,
    ByFunction,
    Namer,
    Shown,
    name_of,
    score_of,
)
from dvis.kinds.saes.pictures.chosen import measured_at
from dvis.kinds.saes.pictures.made_of import samples_and_tokens
from dvis.kinds.saes.read import latents as opened_latents
from dvis.kinds.saes.read import name_in_layer
from dvis.schema import CHECKPOINT, LAYER, did_you_mean
from dvis.store.unit_names import AUTO_NAME, LatentName, keep_names

_MIXED = "images mixed of all latents"
_LEAST_IMAGES = 5  # of fewer, any name that is chosen by them fits
_CANNOT_TELL = (
    "what the latent computes: a name fits the images that drive it most, of which it has few; of "
    f"so many latents {LEVEL:.0%} exceed their null by chance".replace("%", " %")
)


def name_latents(
    store: str | Path,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    namer: Namer | Callable[..., tuple[str, float]] | str = CLASS_NAMER,
    latents: Sequence[int] = (),
    checkpoint: str | None = None,
    n_images: int = 9,
    n_random: int = 39,
    seed: int = 0,
    keep: bool = True,
) -> xr.Dataset:
    """Name latents by their top images, each beside what random latents' images give.

    Names are kept in the store as a kind of their own, which never touches what `dvis note` wrote:
    the coordinate `auto_name` of `dvis.saes` and `dvis.latents`.

    Parameters
    ----------
    store : str or Path
        A store's folder.
    layer, name, run
        As `dvis.latents` takes them.
    namer : callable, namer or "class", optional
        `function(images) -> text, score` of a list of images, (y, x, colour), uint8, where the
        text is "" for no name; by default the commonest class of the images with its purity.
        `dvis.kinds.saes.measure.clip_words` has zero-shot words of OpenCLIP.
    latents : sequence of int, optional
        Which; by default all that fire.
    checkpoint : str, optional
        By default the last that is evaluated.
    n_images : int, optional
        Top images of each at most.
    n_random : int, optional
        Random latents for the null of each, at least 19; fewer where fewer fire.
    seed : int, optional
        Of which.
    keep : bool, optional
        Keep the names in the store; else they are only returned.

    Returns
    -------
    Dataset, (latent,)
        - `auto_name`, text, "" where the namer gave none; `score`, and `n_images`;
        - `null_score` (shuffle, latent): the score of the same name on random other latents' top
          images, as many at most as the latent's own; of a namer that cannot score a name, its own
          score of images drawn at random from all latents' top images, the same for all.
          `attrs["exchangeable"]` says which;
        - `null_high`, what one of 20 exceeds, NaN where fewer than 19 are there, or the latent has
          fewer than 5 images, of which any name is pure; and `is_above`.

    Raises
    ------
    KeyError, FileNotFoundError, SchemaError
        As `dvis.latents` does, or when there is no such latent.
    ValueError
        When no latent fires, the store keeps no thumbnails and the namer needs them, images have no
        classes and the namer is of classes, a number is out of its range, or the score of a name is
        not finite.
    TypeError
        When the namer is none, or gave something else than a text and a number.
    RuntimeError
        When the namer failed.
    """
    require_whole_numbers(n_images=n_images, n_random=n_random, seed=seed)
    if n_images < 1 or n_random < 0:
        raise ValueError(
            f"n_images is {n_images} and n_random {n_random}; give 1 or more and 0 or more"
        )
    chosen = _namer(namer)
    dataset = opened_latents(Path(store).expanduser(), layer, name, run)
    at = measured_at(dataset, checkpoint)
    shown = _shown(dataset, at, n_images)
    asked = _asked(at, shown, latents)
    _require_known(shown, chosen)
    named = {each: name_of(chosen, shown[each], f"latent {each}") for each in asked}
    generator = np.random.default_rng(seed)
    null, exchanged = _null(chosen, named, shown, n_random, generator)
    found = _labelled(named, shown, null)
    told = {
        "run": str(dataset.attrs["run"]),
        LAYER: layer,
        "name": name_in_layer(dataset),
        CHECKPOINT: str(at[CHECKPOINT].item()),
        "by": chosen.by,
        "seed": seed,
        EXCHANGEABLE: exchanged,
        "cannot_tell": _CANNOT_TELL,
    }
    found = found.assign_attrs(told)
    if keep:
        keep_names(store, [*_records(found)])
    return found


def _namer(given: Any) -> Namer:
    """The namer that is meant."""
    if given == CLASS_NAMER:
        return ByClass()
    if isinstance(given, str):
        raise ValueError(did_you_mean("namer", given, [CLASS_NAMER], "name_latents"))
    if hasattr(given, "name") and hasattr(given, "score") and hasattr(given, "by"):
        chosen: Namer = given
        return chosen
    if not callable(given):
        raise TypeError(
            f"a namer of type {type(given).__name__} is none: give a function of images that gives "
            'a text and a score, or "class"'
        )
    return ByFunction(given)


def _shown(dataset: xr.Dataset, at: xr.Dataset, n_images: int) -> dict[int, Shown]:
    """Top images of each latent that fires, by its number."""
    top = at[["top_sample", "top_value"]].isel({SCORE: 0, RANK: slice(n_images)})
    ids = top["top_sample"].transpose(LATENT, RANK).values.astype(object)
    fires = top["top_value"].transpose(LATENT, RANK).values > 0
    samples, _ = samples_and_tokens(dataset, ids[fires].tolist())
    found = {}
    for number, row, is_there in zip(at[LATENT].values.tolist(), ids, fires, strict=True):
        if is_there.any():
            found[int(number)] = _of_ids(row[is_there].tolist(), samples)
    if not found:
        raise ValueError(f"no latent fires in any image at {at[CHECKPOINT].item()}; none is named")
    return found


def _of_ids(ids: Sequence[str], samples: Samples) -> Shown:
    there = samples.thumbnails
    return Shown(
        ids=tuple(ids),
        images=tuple(there[each] for each in ids) if there else (),
        classes=tuple(samples.classes.get(each, "") for each in ids),
    )


def _asked(at: xr.Dataset, shown: Mapping[int, Shown], latents: Sequence[int]) -> list[int]:
    """Numbers of the latents that are named."""
    there = at[LATENT].values.tolist()
    for each in latents:
        if each not in there:
            raise KeyError(f"No latent {each}: there are {there[0]} to {there[-1]}")
        if each not in shown:
            raise ValueError(f"latent {each} fires in no image, so that nothing names it")
    return sorted({*latents} or shown)


def _require_known(shown: Mapping[int, Shown], namer: Namer) -> None:
    """Raise where there is nothing for a namer to look at."""
    if isinstance(namer, ByClass):
        if not any(name for each in shown.values() for name in each.classes):
            raise ValueError("the images have no classes to name latents by; give another namer")
    elif not all(each.images for each in shown.values()):
        raise ValueError(
            "the store keeps no thumbnails for the namer to look at: `dvis activations` into a new "
            'store keeps them; the namer "class" needs none'
        )


def _null(
    namer: Namer,
    named: Mapping[int, tuple[str, float]],
    shown: Mapping[int, Shown],
    n_random: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, str]:
    """Scores of the null, (random, latent), and what it exchanges."""
    numbers, first = [*shown], next(iter(named))
    if score_of(namer, named[first][0], shown[first], f"latent {first}") is None:
        mixed = _mixed(shown, n_random, generator)
        scores = np.array([name_of(namer, each, _MIXED)[1] for each in mixed], float)
        return np.tile(scores[:, None], (1, len(named))), "images among latents"
    n_random = min(n_random, len(numbers) - 1)
    null = np.full((n_random, len(named)), np.nan)
    for column, (number, (text, _)) in enumerate(named.items()):
        others = generator.choice([n for n in numbers if n != number], n_random, replace=False)
        # As many images as the latent has: the fewer, the purer.
        n_own = len(shown[number].ids)
        for row, other in enumerate(others.tolist()) if text else ():
            score = score_of(namer, text, shown[other].first(n_own), f"latent {other}")
            null[row, column] = np.nan if score is None else score
    return null, "latents whose images are named"


def _mixed(
    shown: Mapping[int, Shown], n_random: int, generator: np.random.Generator
) -> Iterator[Shown]:
    """Images drawn from all latents' top images, as many as a latent has at most."""
    every = [(each, place) for each in shown.values() for place in range(len(each.ids))]
    size = min(max(len(each.ids) for each in shown.values()), len(every))
    for _ in range(n_random):
        drawn = [every[k] for k in generator.choice(len(every), size, replace=False).tolist()]
        yield Shown(
            ids=tuple(each.ids[place] for each, place in drawn),
            images=tuple(each.images[place] for each, place in drawn if each.images),
            classes=tuple(each.classes[place] for each, place in drawn),
        )


def _labelled(
    named: Mapping[int, tuple[str, float]], shown: Mapping[int, Shown], null: np.ndarray
) -> xr.Dataset:
    texts, scores = zip(*named.values(), strict=True)
    counts = [len(shown[number].ids) for number in named]
    null_score = xr.DataArray(quantity((SHUFFLE, LATENT), null, "score on random latents' images"))
    high = chance_bound(null_score)
    high = high.where(np.array(counts) >= _LEAST_IMAGES)
    score = quantity(LATENT, np.array(scores, float), "score of the name")
    is_above = np.nan_to_num(score.values, nan=-np.inf) > high.values
    return xr.Dataset(
        {
            AUTO_NAME: quantity(LATENT, np.array(texts, str), "name by a program"),
            "score": score,
            "n_images": quantity(LATENT, counts, "images that were looked at"),
            "null_score": null_score,
            "null_high": high.assign_attrs(long_name="score that one of 20 exceeds", units="1"),
            "is_above": quantity(LATENT, is_above, "whether the score exceeds its null"),
        },
        {LATENT: [*named]},
    )


def _records(found: xr.Dataset) -> Iterator[LatentName]:
    """Names as they are kept; an empty one takes an earlier one away."""
    attrs = found.attrs
    for place, number in enumerate(found[LATENT].values.tolist()):
        at = found.isel({LATENT: place})
        yield LatentName(
            run=str(attrs["run"]),
            layer=str(attrs[LAYER]),
            autoencoder=str(attrs["name"]),
            latent=int(number),
            checkpoint=str(attrs[CHECKPOINT]),
            text=str(at[AUTO_NAME].item()),
            score=float(at["score"]),
            null_high=float(at["null_high"]),
            by=str(attrs["by"]),
        )
