"""What is measured of models at their checkpoints, from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.chimera.options import ChimeraOptions
from dvis.kinds.features.options import FeatureSettings, VisualizeOptions, feature_settings
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.sizes.options import SizeOptions
from dvis.measure.given import (
    AnyModel,
    Checkpoints,
    as_fields,
    as_model,
    asked_options,
    check_names,
    split_options,
)
from dvis.models.directions import Directions
from dvis.models.input_options import InputOptions
from dvis.models.torch_guard import needing_torch

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from dvis.kinds.llc.sampling import LLCReport
    from dvis.sweep.runner import Report


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
    of_images, others = split_options(options, VisualizeOptions, FeatureSettings)
    settings = feature_settings(preset, of_images)  # type: ignore[arg-type]  # which is checked there
    given = {**others, "settings": settings}
    with asked_options(VisualizeOptions, model, checkpoints, given) as asked:
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
    check_names(options, RespondOptions)
    with asked_options(RespondOptions, model, checkpoints, options) as asked:
        return respond(RespondOptions(**asked), client=client, progress=progress)


def influence(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the influence that a store lacks, for `dvis.influence`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    **options
        Those of `dvis influence`: `layers`, `method`, `dataset`, `images`, `noise`, `store`, ...

    Returns
    -------
    Report
        How many sources were measured, each counted for every later layer, and what is to be said
        of some; with `plan`, only what it would be, in `notes`.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.influence.plan.measure_influence` raises them.
    """
    with needing_torch("measure.influence"):
        from dvis.kinds.influence.plan import measure_influence
    check_names(options, InfluenceOptions)
    with asked_options(InfluenceOptions, model, checkpoints, options) as asked:
        return measure_influence(InfluenceOptions(**asked), client=client, progress=progress)


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
    check_names(options, ActivationOptions)
    with asked_options(ActivationOptions, model, checkpoints, options) as asked:
        return keep_activations(ActivationOptions(**asked), client=client, progress=progress)


def chimera(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the chimeras of checkpoints with the last one that a store lacks, for `dvis.chimera`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    **options
        Those of `dvis chimera`: `layers`, `to`, `final`, `dataset`, `noise`, `batch_norm`, ...

    Returns
    -------
    Report
        How many chimeras were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.chimera.plan.make_chimeras` raises them.
    """
    with needing_torch("measure.chimera"):
        from dvis.kinds.chimera.plan import make_chimeras
    check_names(options, ChimeraOptions)
    with asked_options(ChimeraOptions, model, checkpoints, options) as asked:
        return make_chimeras(ChimeraOptions(**asked), client=client, progress=progress)


def sizes(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the sizes of units' receptive fields that a store lacks, for `dvis.sizes`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `features` takes them.
    **options
        Those of `dvis sizes`: `layers`, `channels`, `dataset`, `noise`, `n_images`, ...

    Returns
    -------
    Report
        How many units were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.sizes.plan.measure_sizes` raises them.
    """
    with needing_torch("measure.sizes"):
        from dvis.kinds.sizes.plan import measure_sizes
    check_names(options, SizeOptions)
    with asked_options(SizeOptions, model, checkpoints, options) as asked:
        return measure_sizes(SizeOptions(**asked), client=client, progress=progress)


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
    of_chains, others = split_options(options, EstimateOptions, ChainSettings)
    given = {**others, "settings": ChainSettings(**of_chains)}
    with asked_options(EstimateOptions, model, checkpoints, given) as asked:
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
    check_names(options, InputOptions)
    taken = InputOptions(**as_fields(InputOptions, options))
    with as_files({} if checkpoint is None else {"checkpoint": checkpoint}) as files:
        return layer_table(as_model(model, None), files.get("checkpoint"), taken)
