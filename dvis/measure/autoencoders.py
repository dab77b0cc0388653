"""Autoencoders from Python: trained and evaluated on activations that a store keeps."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvis.kinds.saes.chains.options import ChainOptions
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.measure.given import AnyModel, Checkpoints, as_fields, asked_options, check_names
from dvis.models.torch_guard import needing_torch

if TYPE_CHECKING:
    from dvis.sweep.runner import Report


def saes(store: str | Path, layer: str, *, progress: bool = False, **options: Any) -> "Report":
    """Train the sparse autoencoders that a store lacks, for `dvis.saes`.

    Parameters
    ----------
    store : str or Path
        A store's folder, with activations of the layer.
    layer : str
        Whose activations.
    progress : bool
        Show a progress bar.
    **options
        Those of `dvis sae train`: `checkpoints`, `kind`, `k`, `expansion`, `tokens`, `name`, ...

    Returns
    -------
    Report
        How many autoencoders were trained.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.saes.plan.train_saes` raises them.
    """
    with needing_torch("measure.saes"):
        from dvis.kinds.saes.plan import train_saes
    check_names(options, TrainOptions)
    given = as_fields(TrainOptions, options)
    return train_saes(TrainOptions(store=Path(store), layer=layer, **given), progress=progress)


def track_saes(
    store: str | Path, layer: str, *, progress: bool = False, **options: Any
) -> "Report":
    """Track the latents of a store's sparse autoencoders over checkpoints, for `dvis.tracks`.

    Parameters
    ----------
    store, layer, progress
        As `saes` takes them.
    **options
        Those of `dvis sae track`: `name`, `method`, `checkpoints`, `split`, `controls`, ...

    Returns
    -------
    Report
        At how many checkpoints they were tracked, and how many tracks there are.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.saes.tracks.plan.track_saes` raises them.
    """
    with needing_torch("measure.track_saes"):
        from dvis.kinds.saes.tracks.plan import track_saes as track
    check_names(options, TrackOptions)
    given = as_fields(TrackOptions, options)
    return track(TrackOptions(store=Path(store), layer=layer, **given), progress=progress)


def chain_saes(
    store: str | Path, layer: str, *, progress: bool = False, **options: Any
) -> "Report":
    """Train the chains that a store lacks below its sparse autoencoders, for `dvis.chains`.

    Parameters
    ----------
    store, layer, progress
        As `saes` takes them.
    **options
        Those of `dvis sae chain`: `name`, `on`, `depth`, `widths`, `k`, `seeds`, `read_with`, ...

    Returns
    -------
    Report
        At how many checkpoints chains were trained, and what each level is.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.saes.chains.plan.chain_saes` raises them.
    """
    with needing_torch("measure.chain_saes"):
        from dvis.kinds.saes.chains.plan import chain_saes as chain
    check_names(options, ChainOptions)
    given = as_fields(ChainOptions, options)
    return chain(ChainOptions(store=Path(store), layer=layer, **given), progress=progress)


def evaluate_saes(
    store: str | Path,
    layer: str,
    model: "AnyModel | None" = None,
    checkpoint_path: Checkpoints | None = None,
    *,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Evaluate the sparse autoencoders that a store has not evaluated yet, for `dvis.latents`.

    Parameters
    ----------
    store, layer, progress
        As `saes` takes them.
    model : str, nn.Module or callable, optional
        As `features` takes it, for what reconstructions and latents do to its output.
    checkpoint_path : path, paths, or mapping of str to path, state dict or nn.Module, optional
        Its checkpoints, as `features` takes them.
    **options
        Those of `dvis sae evaluate`: `name`, `checkpoints`, `split`, `controls`, `n_effects`, ...

    Returns
    -------
    Report
        How many autoencoders were evaluated, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.saes.plan_evaluation.evaluate_saes` raises them.
    """
    with needing_torch("measure.evaluate_saes"):
        from dvis.kinds.saes.plan_evaluation import evaluate_saes as evaluate
    check_names(options, EvaluateOptions)
    given = {"store": Path(store), "layer": layer, **options}
    if model is None:
        return evaluate(EvaluateOptions(**as_fields(EvaluateOptions, given)), progress=progress)
    with asked_options(EvaluateOptions, model, checkpoint_path, given) as asked:
        return evaluate(EvaluateOptions(**asked), progress=progress)
