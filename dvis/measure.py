"""Measuring from Python: each function writes what `dvis` reads under the same name.

    from dvis import measure
    measure.responses("resnet18", "runs/1", dataset="shapes", layers=("layer1", "layer2"))
    dvis.responses("stores/resnet18.zarr")

Options are those of the command, by their names and flat. Torch is loaded when one is called.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvis.kinds.features.options import FeatureSettings, VisualizeOptions, feature_settings
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.responses.options import RespondOptions
from dvis.models.torch_guard import needing_torch
from dvis.schema import did_you_mean

if TYPE_CHECKING:
    from distributed import Client

    from dvis.kinds.llc.sampling import LLCReport
    from dvis.sweep.runner import Report

Paths = str | Path | Iterable[str | Path]


def features(
    model: str,
    checkpoints: Paths = (),
    *,
    preset: str = "default",
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Make the feature images that a store lacks, for `dvis.open`.

    Parameters
    ----------
    model : str
        Name of a torchvision classification model, or package.module:function of a factory.
    checkpoints : path or paths
        Checkpoint files, or folders of them; by default torchvision's pretrained weights.
    preset : {"default", "original"}
        Where the options of the optimisation begin.
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
    of_images, others = _split(options, FeatureSettings)
    settings = feature_settings(preset, of_images)  # type: ignore[arg-type]  # which is checked there
    asked = _asked(VisualizeOptions, model, checkpoints, {**others, "settings": settings})
    return visualize(VisualizeOptions(**asked), client=client, progress=progress)


def responses(
    model: str,
    checkpoints: Paths = (),
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
    asked = _asked(RespondOptions, model, checkpoints, options)
    return respond(RespondOptions(**asked), client=client, progress=progress)


def llc(
    model: str,
    checkpoints: Paths = (),
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
    of_chains, others = _split(options, ChainSettings)
    given = {**others, "settings": ChainSettings(**of_chains)}
    asked = _asked(EstimateOptions, model, checkpoints, given)
    return estimate_llc(
        EstimateOptions(**asked),
        data=data,
        loss=loss,
        allow_random=allow_random,
        client=client,
        progress=progress,
    )


def _split(options: Mapping[str, Any], settings: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that belong to some settings, and the others."""
    names = {item.name for item in fields(settings)}
    chosen = {name: value for name, value in options.items() if name in names}
    return chosen, {name: value for name, value in options.items() if name not in names}


def _asked(
    kind: type, model: str, checkpoints: Paths, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options as a command's dataclass takes them: paths as paths, several values as a tuple."""
    names = [item.name for item in fields(kind)]
    for name in options:
        if name not in names:
            raise KeyError(did_you_mean("option", name, names, kind.__name__))
    several = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    given: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in options.items()
    }
    for name in ("store", "steps"):
        if isinstance(given.get(name), str):
            given[name] = Path(given[name])
    return {**given, "model": model, "checkpoint_path": tuple(map(Path, several))}
