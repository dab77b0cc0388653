"""Sizes of units' receptive fields in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.sizes.words import KIND, LOG_AREA
from dvis.schema import USUAL_VARIABLE
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset, whose trajectories are those of sizes."""
    return dataset.assign_attrs({USUAL_VARIABLE: LOG_AREA})


SIZE_READER = Reader(kind=KIND, noun="sizes", made_by="dvis sizes", ready=_ready)


def sizes(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    r"""How much of the image moves each unit, lazy, in training order.

    The effective receptive field is where pixels move a unit's response at its layer's middle
    position: with inputs :math:`x` of fixed images n and colours k,

    .. math::
        E_{ij} = \frac{1}{N} \sum_n \sum_k \left(\frac{\partial r}{\partial x_{nkij}}\right)^2,
        \qquad M = \operatorname{Var}_E(i) + \operatorname{Var}_E(j) + \tfrac{1}{6},

    where a sixth is what a pixel itself has as a square. `log_area` is :math:`\log 6 M`: a field
    that is even over a square of k x k pixels has the area :math:`k^2`.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has sizes.
    name : str, optional
        Which sizes; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `log_area` (checkpoint, layer, channel), float32, natural logarithm of an area in square
          pixels of the model's input; NaN of a dead unit;
        - `status` (the same dims), uint8, as `dvis.open` has it; DEAD where no image moves the
          unit;
        - numbers of the training and coordinates as `dvis.open` has them.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no sizes, or what is there is no dvis store.

    Notes
    -----
    A field that reaches beyond the image is cut off there, so that large ones are taken for
    smaller. Gradients are those of the model's normalised input. Luo et al. average gradients and
    call the standard deviation of the field its size; here their squares are averaged, so that
    signs of different images do not cancel.

    References
    ----------
    Luo, Li, Urtasun and Zemel 2016, Understanding the effective receptive field in deep
    convolutional neural networks, arXiv:1701.04128.
    """
    return SIZE_READER.open(path_or_url, run, name, chunks=chunks, storage_options=storage_options)
