"""What is measured of the connections of models at their checkpoints, from Python."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from dvis.kinds.edges.options import EdgesOptions, KernelsOptions
from dvis.measure.given import AnyModel, Checkpoints, asked_options, check_names
from dvis.models.torch_guard import needing_torch

if TYPE_CHECKING:
    from distributed import Client

    from dvis.sweep.runner import Report


def edges(
    model: AnyModel,
    checkpoints: Checkpoints | None = None,
    *,
    client: "Client | None" = None,
    progress: bool = False,
    **options: Any,
) -> "Report":
    """Measure the shares of layers' inputs that a store lacks, for `dvis.edges`.

    Parameters
    ----------
    model, checkpoints, client, progress
        As `dvis.measure.features` takes them.
    **options
        Those of `dvis influence --method edges`: `layers`, `dataset`, `images`, `noise`,
        `batch_norm`, `store`, `workers`, ...

    Returns
    -------
    Report
        How many layers were measured, and what is to be said of some.

    Raises
    ------
    KeyError
        When there is no such option.
    FileNotFoundError, ValueError, DiskFullError
        As `dvis.kinds.edges.plan.measure_edges` raises them.
    """
    with needing_torch("measure.edges"):
        from dvis.kinds.edges.plan import measure_edges
    check_names(options, EdgesOptions)
    with asked_options(EdgesOptions, model, checkpoints, options) as asked:
        return measure_edges(EdgesOptions(**asked), client=client, progress=progress)


def kernels(
    model: AnyModel, checkpoints: Checkpoints | None = None, *, layer: str, **options: Any
) -> xr.Dataset:
    """Kernels between the channels of a layer over checkpoints, with batch norm folded in.

    Nothing is stored: they are read from the checkpoints.

    Parameters
    ----------
    model, checkpoints
        As `dvis.measure.features` takes them.
    layer : str
        A convolution or linear layer by its dotted name.
    **options
        `channels` and `inputs`, channels of the layer and of its input; images to recalibrate
        batch norm on and to measure shares with, as `edges` takes them (`dataset`, `images`,
        `noise`, `n_images`, `batch_norm`); without any, batch norm has its running statistics.

    Returns
    -------
    Dataset, (checkpoint, channel, input_channel, y, x)
        `kernel`, float32, and `share` where there are images, as
        `dvis.kinds.edges.kernels.read_kernels` gives them.

    Raises
    ------
    KeyError, ValueError
        When there is no such option, layer or channel, or the layer has no kernel.
    FileNotFoundError, CheckpointError
        When there are no checkpoints, or one cannot be loaded into the model.
    """
    with needing_torch("measure.kernels"):
        from dvis.kinds.edges.kernels import read_kernels
    check_names(options, KernelsOptions)
    given = {**options, "layer": layer}
    with asked_options(KernelsOptions, model, checkpoints, given) as asked:
        return read_kernels(KernelsOptions(**asked))
