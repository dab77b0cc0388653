"""What is asked of latents on the command line, and what is found as lines of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
import xarray as xr
from tyro.conf import Positional

from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.explain import CLASSIFIER, INPUT, RULE, explain_latents, share_interval
from dvis.kinds.saes.naming import name_latents
from dvis.kinds.saes.read import latents
from dvis.kinds.saes.search import By, search_latents
from dvis.models.option_numbers import bounded
from dvis.models.torch_guard import needing_torch
from dvis.schema import counted
from dvis.store.unit_names import AUTO_NAME


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """List latents that tell some images from others, the best first, or whose notes have words.

    Parameters
    ----------
    store
        A store's folder or URL, with activations of the layer.
    layer
        Whose activations they are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    checkpoint
        Label of their checkpoint.
    positive
        Ids of images that drive what is looked for, or their ends where only one ends so.
    negative
        Ids of images that do not (default: all others).
    of_class
        A class all of whose images are positive.
    of_note
        Only latents whose notes have all these words; without examples with what is known of each.
    by
        auroc: how often a positive image scores higher than a negative one; or rate_difference: in
        how many more of the positive ones it fires.
    n_shown
        Latents that are listed.
    """

    store: Positional[str]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoint: str = "last"
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    of_class: Annotated[str | None, tyro.conf.arg(name="class")] = None
    of_note: Annotated[str, tyro.conf.arg(name="note")] = ""
    by: By = "auroc"
    n_shown: int = 20

    def __post_init__(self) -> None:
        bounded(self)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Tell classes by a tree and by few weights of latents, in rules that people can read.

    Parameters
    ----------
    store
        A store's folder or URL, with activations of the layer of samples with classes.
    layer
        Whose activations the autoencoders are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    checkpoint
        Label of their checkpoint.
    logits
        Layer of the model's logits, whose activations the store has too: then the model's accuracy
        is of the same samples.
    n_shuffles
        Of classes over samples, for the null.
    seed
        Of the samples that choose depth and penalty, the fits and the shuffles.
    n_shown
        Rules that are listed.
    out
        File for a picture of the rules with top images of their latents, which `dvis sae evaluate`
        finds.
    """

    store: Positional[str]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoint: str = "last"
    logits: str | None = None
    n_shuffles: int = 5
    seed: int = 0
    n_shown: int = 20
    out: Path | None = None

    def __post_init__(self) -> None:
        bounded(self)


@dataclass(frozen=True, kw_only=True)
class NameOptions:
    """Name latents by their top images, each beside its score on random latents' images.

    Names are kept apart from notes, which they never touch: `dvis notes` lists both.

    Parameters
    ----------
    store
        A store's folder, with autoencoders that `dvis sae evaluate` evaluated.
    layer
        Whose activations they are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    checkpoint
        Label of their checkpoint.
    latent
        Latents that are named (default: all that fire).
    by
        class: the commonest class of the images, with its share; or open_clip: the word of a list
        that fits them best.
    words
        File with a word, or a few, in each line, for open_clip.
    model
        Name of the OpenCLIP model, such as ViT-B-32.
    weights
        File of its weights; none are downloaded.
    n_images
        Top images of each at most.
    n_random
        Random latents for the null of each.
    seed
        Of which.
    n_shown
        Names that are listed, those that are farthest above their null first.
    """

    store: Positional[Path]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoint: str | None = None
    latent: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = ()
    by: Literal["class", "open_clip"] = "class"
    words: Path | None = None
    model: str | None = None
    weights: Path | None = None
    n_images: int = 9
    n_random: int = 39
    seed: int = 0
    n_shown: int = 20

    def __post_init__(self) -> None:
        bounded(self)
        of_clip = {"words": self.words, "model": self.model, "weights": self.weights}
        lacking = [f"--{name}" for name, given in of_clip.items() if given is None]
        if self.by == "open_clip" and lacking:
            raise ValueError(f"--by open_clip lacks {', '.join(lacking)}; give all three")
        if self.by != "open_clip" and len(lacking) < len(of_clip):
            given = [f"--{name}" for name, value in of_clip.items() if value is not None]
            raise ValueError(f"{given[0]} goes with --by open_clip; leave it out")

    @property
    def namer(self) -> Any:
        """What gives the names."""
        if self.words is None or self.model is None or self.weights is None:
            return self.by
        with needing_torch("naming by open_clip"):
            from dvis.kinds.saes.measure.clip_words import ByClip

        try:
            words = self.words.expanduser().read_text("utf-8").splitlines()
        except UnicodeDecodeError as err:
            raise ValueError(f"{self.words} is no text in UTF-8: {err}") from err
        return ByClip(words, self.model, self.weights)


def searched_lines(options: SearchOptions) -> Iterator[str]:
    """What is found, as a table, and what a search for nothing finds."""
    asked = {name: value for name, value in vars(options).items() if name != "n_shown"}
    found = search_latents(**asked)
    attrs = found.attrs
    if "score" not in found:
        yield from _noted(found, options)
        return
    yield (
        f"{attrs['name']}, {attrs['checkpoint']}: {attrs['n_positive']} positive and "
        f"{attrs['n_negative']} negative samples, by {attrs['by']}"
    )
    yield "latent   score  null 95 %  fires in positive  in negative"
    high = found["null_score"].quantile(0.95, "shuffle", skipna=False).values
    for place in range(min(options.n_shown, found.sizes["latent"])):
        each = found.isel(latent=place)
        score, positive, negative = (
            each[name].item() for name in ("score", "rate_positive", "rate_negative")
        )
        yield (
            f"{each['latent'].item():6d}  {score:6.3f}  {high[place]:9.3f}  {positive:17.3f}  "
            f"{negative:11.3f}" + (f"  {each['note'].item()}" if "note" in found else "")
        )
    best = found["null_best"].median().item()
    yield f"With ids shuffled the best of all latents has {best:.3f} (median of shuffles)"
    if found.sizes["latent"] and not found["score"].max().item() > best:
        yield (
            "No latent is above that: with so few examples, or so many latents, the best may be "
            "chance. Give more positive and negative samples"
        )


def _noted(found: xr.Dataset, options: SearchOptions) -> Iterator[str]:
    """Latents that were found by their notes alone, as a table."""
    n_found = counted(found.sizes["latent"], "latent")
    yield f"{found.attrs['name']}, {found.attrs['checkpoint']}: {n_found} of {options.of_note!r}"
    yield "latent  frequency  selectivity  note"
    for place in range(min(options.n_shown, found.sizes["latent"])):
        each = found.isel(latent=place)
        frequency, selectivity = each["frequency"].item(), each["selectivity"].item()
        number, text = each["latent"].item(), each["note"].item()
        yield f"{number:6d}  {frequency:9.4f}  {selectivity:11.3f}  {text}"


def explained_lines(options: ExplainOptions) -> Iterator[str]:
    """How well classes are told, beside what that is held against, and the rules."""
    asked = {name: value for name, value in vars(options).items() if name not in ("n_shown", "out")}
    found = explain_latents(**asked)
    attrs = found.attrs
    yield (
        f"{attrs['name']}, {attrs['checkpoint']}: {attrs['n_train']} samples for learning, "
        f"{attrs['n_held_out']} held out"
    )
    yield "                      accuracy     se  classes shuffled  inputs used"
    for classifier in found[CLASSIFIER].values:
        for of in found[INPUT].values:
            at = found.sel({CLASSIFIER: classifier, INPUT: of})
            null = at["null_accuracy"].values
            shuffled = f"{null.min():.3f} to {null.max():.3f}" if len(null) else ""
            yield (
                f"{f'{classifier} of {of}':20s}  {at['accuracy'].item():8.3f}  "
                f"{at['accuracy_se'].item():5.3f}  {shuffled:>16s}  {int(at['n_used']):11d}"
            )
    model = found["model_accuracy"].item()
    yield f"{'the model':20s}  {model:8.3f}  ({attrs['model_accuracy_of']})"
    yield f"{'one class':20s}  {found['majority'].item():8.3f}"
    if not attrs["is_converged"]:
        yield "A sparse classifier has not converged: its weights may be off, its accuracy is not"
    for place in range(min(options.n_shown, found.sizes[RULE])):
        at = found.isel({RULE: place})
        right, n_held = int(at["rule_right"]), int(at["rule_n"])
        low, high = share_interval(right, n_held)
        bounds = f", {low:.0%} to {high:.0%}" if n_held else ""
        yield f"{at[RULE].item()}  (held out: {right} of {n_held} right{bounds})"
    yield f"It cannot tell {attrs['cannot_tell']}"
    if options.out is not None:
        from dvis.kinds.saes.pictures.rules import latent_rules

        evaluated = latents(options.store, options.layer, str(attrs["name"]), str(attrs["run"]))
        latent_rules(evaluated, found, path=options.out)
        yield str(options.out)


def named_lines(options: NameOptions) -> Iterator[str]:
    """Names, beside what random latents give, and how many are above it."""
    found = name_latents(
        options.store,
        options.layer,
        options.name,
        options.run,
        namer=options.namer,
        latents=options.latent,
        checkpoint=options.checkpoint,
        n_images=options.n_images,
        n_random=options.n_random,
        seed=options.seed,
    )
    attrs, n_named = found.attrs, int((found[AUTO_NAME] != "").sum())
    yield (
        f"{attrs['name']}, {attrs['checkpoint']}: {counted(n_named, 'latent')} named by "
        f"{attrs['by']}, {int(found['is_above'].sum())} above the null of {attrs['exchangeable']}"
    )
    yield "latent   score  null 95 %  images  name"
    ahead = np.nan_to_num((found["score"] - found["null_high"]).values, nan=-np.inf)
    for place in np.argsort(-ahead, kind="stable")[: options.n_shown]:
        at = found.isel({LATENT: place})
        yield (
            f"{at[LATENT].item():6d}  {at['score'].item():6.3f}  {at['null_high'].item():9.3f}  "
            f"{int(at['n_images']):6d}  {at[AUTO_NAME].item()}"
        )
    yield f"It cannot tell {attrs['cannot_tell']}"
