"""Measuring from Python: each function writes what `dvis` reads under the same name.

    from dvis import measure
    measure.responses(net, {"start": before, "end": after}, noise=8, store="stores/net.zarr")
    dvis.responses("stores/net.zarr")

Options are those of the command, by their names and flat. Torch is loaded when one is called.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_origin, get_type_hints

from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.features.options import FeatureSettings, VisualizeOptions, feature_settings
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions
from dvis.models.directions import Directions
from dvis.models.input_options import InputOptions
from dvis.models.model_reference import GivenModel, Model
from dvis.models.torch_guard import needing_torch
from dvis.schema import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client
    from torch import nn

    from dvis.kinds.llc.sampling import LLCReport
    from dvis.sweep.runner import Report

# A name, a module, or what returns one; files, or by label files, state dicts and modules.
AnyModel: TypeAlias = "str | nn.Module | Callable[..., nn.Module]"
_NO_OPTIONS = {"model", "checkpoint_path", "settings"}  # fields that arguments of their own make
Checkpoints: TypeAlias = str | Path | Iterable[str | Path] | Mapping[str, Any]


def features(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    preset: str = "default",
    directions: Directions | None = None,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Make the feature images that a store lacks, for `dvis.open`.

    Parameters
    ----------
    model : str, nn.Module or callable
        A name, as the command takes it; or a module, which is copied and never changed; or what
        returns one. The store of a model without a name is called by its class or function, unless
        `store` is given, whose file's name it then has.
    checkpoints : path, paths, or mapping of str to path, state dict or nn.Module, optional
        Checkpoint files, or folders of them, or checkpoints by label; where they are left out, the
        weights of the module that is given, as `model`, and torchvision's pretrained weights of a
        name.
    preset : {"default", "original"}
        Where the options of the optimisation begin.
    directions : Directions, optional
        What of layers' outputs is maximised in place of channels, such as the rows of a probe (see
        `dvis.models.directions.Directions`). Latents of autoencoders have the option `latents`,
        their name and numbers: `latents=("wide", [3, 7])`.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.
    **options
        Those of `dvis visualize`: `layers`, `channels`, `store`, `workers`, `max_iterations`, ...
        `steps` may be a mapping of labels to training steps; `checkpoint_patterns` is its
        `--checkpoints`.

    Returns
    -------
    Report
        How many units were made, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.features.plan.visualize` raises them.
    """
    with needing_torch("measure.features"):
        from dvis.kinds.features.plan import visualize
    of_images, others = _split(options, VisualizeOptions, FeatureSettings)
    settings = feature_settings(preset, of_images)  # type: ignore[arg-type]  # which is checked there
    given = {**others, "settings": settings}
    with _asked(VisualizeOptions, model, checkpoints, given) as asked:
        of_run = VisualizeOptions(**asked)
        return visualize(of_run, directions=directions, client=client, progress=progress)


def responses(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the responses that a store lacks, for `dvis.responses`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    **options
        Those of `dvis respond`: `layers`, `dataset`, `images`, `noise`, `store`, `workers`, ...

    Returns
    -------
    Report
        How many units were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.responses.plan.respond` raises them.
    """
    with needing_torch("measure.responses"):
        from dvis.kinds.responses.plan import respond
    _check_names(options, RespondOptions)
    with _asked(RespondOptions, model, checkpoints, options) as asked:
        return respond(RespondOptions(**asked), client=client, progress=progress)


def activations(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Keep the activations that a store lacks, for `dvis.activations`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    **options
        Those of `dvis activations`: `layers`, `dataset`, `tokens`, `dtype`, `store`, `workers`, ...

    Returns
    -------
    Report
        How many blocks of samples were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.activations.plan.keep_activations` raises them.
    """
    with needing_torch("measure.activations"):
        from dvis.kinds.activations.plan import keep_activations
    _check_names(options, ActivationOptions)
    with _asked(ActivationOptions, model, checkpoints, options) as asked:
        return keep_activations(ActivationOptions(**asked), client=client, progress=progress)


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
    _check_names(options, TrainOptions)
    given = _as_fields(TrainOptions, options)
    return train_saes(TrainOptions(store=Path(store), layer=layer, **given), progress=progress)


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
    _check_names(options, EvaluateOptions)
    given = {"store": Path(store), "layer": layer, **options}
    if model is None:
        return evaluate(EvaluateOptions(**_as_fields(EvaluateOptions, given)), progress=progress)
    with _asked(EvaluateOptions, model, checkpoint_path, given) as asked:
        return evaluate(EvaluateOptions(**asked), progress=progress)


def llc(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    data: Any = None,
    loss: Any = "cross_entropy",
    allow_random: bool = False,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "LLCReport":
    """Sample the chains that a store lacks, for `dvis.llc`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    data, loss, allow_random
        As `dvis.kinds.llc.estimation.estimate_llc` takes them.
    **options
        Those of `dvis llc estimate`: `epsilon`, `gamma`, `chains`, `draws`, `store`, `workers`, ...

    Returns
    -------
    LLCReport
        How many chains were sampled, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, TypeError, DiskFullError
        As `dvis.kinds.llc.estimation.estimate_llc` raises them.
    """
    with needing_torch("measure.llc"):
        from dvis.kinds.llc.estimation import estimate_llc
    of_chains, others = _split(options, EstimateOptions, ChainSettings)
    given = {**others, "settings": ChainSettings(**of_chains)}
    with _asked(EstimateOptions, model, checkpoints, given) as asked:
        return estimate_llc(
            EstimateOptions(**asked),
            data=data,
            loss=loss,
            allow_random=allow_random,
            client=client,
            progress=progress,
        )


def layers(
    model: AnyModel, checkpoint: str | Path | Mapping[str, Any] | None = None, **options: Any
) -> "pd.DataFrame":
    """Layers of a model, with their types, the shapes of their outputs, and their channels.

    Parameters
    ----------
    model : str, nn.Module or callable
        As `features` takes it.
    checkpoint : path or state dict, optional
        What tells the model's number of classes and image size; by default they are its own.
    **options
        `input_size`, `input_channels`, `input_mean` and `input_std`.

    Returns
    -------
    DataFrame, (layer,), with `type`, `shape`, `channels` and `tokens`

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, CheckpointError, ValueError
        When there is no such model or file, or they do not fit.
    """
    with needing_torch("measure.layers"):
        from dvis.models.given_checkpoints import as_files
        from dvis.models.layer_table import layer_table
    _check_names(options, InputOptions)
    taken = InputOptions(**_as_fields(InputOptions, options))
    with as_files({} if checkpoint is None else {"checkpoint": checkpoint}) as files:
        return layer_table(_model(model, None), files.get("checkpoint"), taken)


def _split(
    options: Mapping[str, Any], kind: type, settings: type
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that belong to some settings, and the others."""
    _check_names(options, kind, settings)
    names = {item.name for item in fields(settings)}
    chosen = {name: value for name, value in options.items() if name in names}
    return chosen, {name: value for name, value in options.items() if name not in names}


@contextmanager
def _asked(
    kind: type, model: AnyModel, checkpoints: Checkpoints | None, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Options as a command's dataclass takes them: paths as paths, several values as a tuple."""
    from dvis.models.given_checkpoints import as_files

    given = _as_fields(kind, options)
    for name in ("store", "steps"):
        if isinstance(given.get(name), str):
            given[name] = Path(given[name])
    given["model"] = _model(model, given.get("store"))
    if checkpoints is None and hasattr(model, "state_dict") and not isinstance(model, type):
        checkpoints = {"model": model}
    if isinstance(checkpoints, Mapping):
        with as_files(checkpoints) as files:
            yield {**given, "checkpoint_path": files}
        return
    yield {**given, "checkpoint_path": None if checkpoints is None else _paths(checkpoints)}


def _paths(checkpoints: str | Path | Iterable[str | Path]) -> tuple[Path, ...]:
    several: list[Any] = [checkpoints]
    if isinstance(checkpoints, Iterable) and not isinstance(checkpoints, str):
        several = list(checkpoints)
    for each in several:
        if not isinstance(each, str | Path):
            raise TypeError(
                f"a checkpoint is given as a {type(each).__name__} without its label; give a "
                "mapping: {'step_0': state_dict, 'step_100': state_dict}"
            )
    return tuple(map(Path, several))


def _model(model: AnyModel, store: Path | None) -> Model:
    if isinstance(model, str):
        return model
    if not callable(model):
        raise TypeError(
            f"the model is a {type(model).__name__}; give a name, a torch.nn.Module, or a function "
            "that returns one"
        )
    return GivenModel.of(model, None if store is None else store.stem)


def _check_names(options: Mapping[str, Any], *kinds: type) -> None:
    names = [item.name for kind in kinds for item in fields(kind) if item.name not in _NO_OPTIONS]
    for name in options:
        if name not in names:
            raise KeyError(did_you_mean("option", name, names, kinds[0].__name__))


def _as_fields(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their fields have them: several values as a tuple, one of several as well."""
    types = get_type_hints(kind)
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    return {
        name: (value,) if _is_one_of_several(value, types.get(name)) else value
        for name, value in given.items()
    }


def _is_one_of_several(value: Any, of_field: Any) -> bool:
    return get_origin(of_field) is tuple and isinstance(value, str | Path | int | float)
