"""What is asked of latents on the command line, and what is found as lines of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import xarray as xr
from tyro.conf import Positional

from dvis.kinds.saes.explain import CLASSIFIER, INPUT, RULE, explain_latents, share_interval
from dvis.kinds.saes.read import latents
from dvis.kinds.saes.search import By, search_latents
from dvis.schema import counted


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
