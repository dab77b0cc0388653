"""The command `sae` and its subcommands, from train to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional

from dvis.kinds.saes.chains.options import ChainOptions
from dvis.kinds.saes.questions import (
    ExplainOptions,
    NameOptions,
    SearchOptions,
    explained_lines,
    named_lines,
    searched_lines,
)
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.models.torch_guard import needing_torch


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
    activations
        Name of the activations on which it is to be looked at, where the layer has several.
    overwrite
        Replace what has the name and is of another kind, k or size.
    """

    store: Positional[Path]
    folder: Positional[Path]
    layer: str
    name: str
    checkpoint: str
    run: str | None = None
    activations: str | None = None
    overwrite: bool = False


Command = (
    Annotated[TrainOptions, tyro.conf.subcommand("train")]
    | Annotated[EvaluateOptions, tyro.conf.subcommand("evaluate")]
    | Annotated[TrackOptions, tyro.conf.subcommand("track")]
    | Annotated[ChainOptions, tyro.conf.subcommand("chain")]
    | Annotated[SearchOptions, tyro.conf.subcommand("search")]
    | Annotated[ExplainOptions, tyro.conf.subcommand("explain")]
    | Annotated[NameOptions, tyro.conf.subcommand("name")]
    | Annotated[ExportOptions, tyro.conf.subcommand("export")]
    | Annotated[ImportOptions, tyro.conf.subcommand("import")]
)


def sae(command: Annotated[OmitSubcommandPrefixes[Command], tyro.conf.arg(name="")]) -> int:
    """Sparse autoencoders of activations: train, evaluate, track, chain, explain, name, exchange.

    Parameters
    ----------
    command
        What to do.
    """
    if isinstance(command, SearchOptions):
        for line in searched_lines(command):
            print(line)
        return 0
    if isinstance(command, NameOptions):
        for line in named_lines(command):
            print(line)
        return 0
    if isinstance(command, ExplainOptions):
        for line in explained_lines(command):
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
