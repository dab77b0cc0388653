"""The command `sae` and its subcommands: train, evaluate, track, chain, search, ..."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import xarray as xr
from tyro.conf import OmitSubcommandPrefixes, Positional

from dvis.kinds.saes.chains.options import ChainOptions
from dvis.kinds.saes.search import By, search_latents
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.models.torch_guard import needing_torch
from dvis.schema import counted


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write an autoencoder as a folder that SAELens reads: safetensors and a configuration.

    Parameters
    ----------
    store
        A store's folder or URL.
    folder
        Where to write it.
    layer
        Whose activations it is of.
    name
        Its name, where the layer has several.
    run
        Its run (default: the store's).
    checkpoint
        Label of its checkpoint.
    """

    store: Positional[str]
    folder: Positional[Path]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoint: str = "last"


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Take an autoencoder of a folder that SAELens wrote.

    Parameters
    ----------
    store
        A store's folder, with measurements of the run.
    folder
        With sae_weights.safetensors and cfg.json.
    layer
        Whose activations it is of.
    name
        What it is called from now on.
    checkpoint
        Label of the checkpoint that it was trained at.
    run
        Its run (default: the only one).
    overwrite
        Replace what has the name and is of another kind, k or size.
    """

    store: Positional[Path]
    folder: Positional[Path]
    layer: str
    name: str
    checkpoint: str
    run: str | None = None
    overwrite: bool = False


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


Command = (
    Annotated[TrainOptions, tyro.conf.subcommand("train")]
    | Annotated[EvaluateOptions, tyro.conf.subcommand("evaluate")]
    | Annotated[TrackOptions, tyro.conf.subcommand("track")]
    | Annotated[ChainOptions, tyro.conf.subcommand("chain")]
    | Annotated[SearchOptions, tyro.conf.subcommand("search")]
    | Annotated[ExportOptions, tyro.conf.subcommand("export")]
    | Annotated[ImportOptions, tyro.conf.subcommand("import")]
)


def sae(command: Annotated[OmitSubcommandPrefixes[Command], tyro.conf.arg(name="")]) -> int:
    """Sparse autoencoders of activations: train, evaluate, track, chain, search, exchange.

    Parameters
    ----------
    command
        What to do.
    """
    if isinstance(command, SearchOptions):
        for line in _searched(command):
            print(line)
        return 0
    with needing_torch("sae"):
        from dvis.kinds.saes.chains.plan import chain_saes
        from dvis.kinds.saes.measure.stored import export_sae, import_sae
        from dvis.kinds.saes.plan import train_saes
        from dvis.kinds.saes.plan_evaluation import evaluate_saes
        from dvis.kinds.saes.tracks.plan import track_saes

    if isinstance(command, ExportOptions):
        print(export_sae(**vars(command)))
        return 0
    if isinstance(command, ImportOptions):
        import_sae(**vars(command))
        print(f"{command.store}, {command.layer}/{command.name}: {command.checkpoint} taken")
        return 0
    if isinstance(command, EvaluateOptions):
        report = evaluate_saes(command, progress=True)
    elif isinstance(command, TrackOptions):
        report = track_saes(command, progress=True)
    elif isinstance(command, ChainOptions):
        report = chain_saes(command, progress=True)
    else:
        report = train_saes(command, progress=True)
    for line in report.lines():
        print(line)
    return 0


def _searched(options: SearchOptions) -> Iterator[str]:
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
