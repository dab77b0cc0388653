"""What can be read off layers of models at their checkpoints, from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvis.kinds.attributes.options import AttributeOptions
from dvis.kinds.probes.options import LinearProbeOptions
from dvis.measure.given import AnyModel, Checkpoints, asked_options, check_names
from dvis.models.torch_guard import needing_torch

if TYPE_CHECKING:
    from distributed import Client

    from dvis.sweep.runner import Report

_PATHS = ("labels", "untrained", "data_path")


def probes(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Train the linear probes that a store lacks, for `dvis.probes`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `dvis.measure.features` takes them.
    **options
        Those of `dvis probe`: `layers`, `targets`, `labels`, `dataset`, `pool`, `untrained`,
        `store`, `workers`, ...

    Returns
    -------
    Report
        How many probes were trained, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.probes.plan.train_probes` raises them.
    """
    with needing_torch("measure.probes"):
        from dvis.kinds.probes.plan import train_probes
    check_names(options, LinearProbeOptions)
    given = {
        name: Path(value) if name in _PATHS and isinstance(value, str) else value
        for name, value in options.items()
    }
    with asked_options(LinearProbeOptions, model, checkpoints, given) as asked:
        return train_probes(LinearProbeOptions(**asked), client=client, progress=progress)


def attributes(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the attributes of drawn pairs that a store lacks, for `dvis.attributes`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `dvis.measure.features` takes them.
    **options
        Those of `dvis attributes`: `layers`, `attributes`, `n_pairs`, `seed`, `store`, `workers`,
        ...

    Returns
    -------
    Report
        How many attributes of layers were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.attributes.plan.measure_attributes` raises them.
    """
    with needing_torch("measure.attributes"):
        from dvis.kinds.attributes.plan import measure_attributes
    check_names(options, AttributeOptions)
    with asked_options(AttributeOptions, model, checkpoints, options) as asked:
        return measure_attributes(AttributeOptions(**asked), client=client, progress=progress)
