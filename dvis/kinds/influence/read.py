"""Influence between channels in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.influence.words import (
    CHANNEL_FROM,
    KIND,
    LAYER_FROM,
    LAYER_TO,
    PAIR_DIMS,
)
from dvis.models.torch_guard import needing_torch
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader, in_order


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """Layers in the order of execution."""
    order: dict[Hashable, list[int]] = {
        dim: dataset[f"depth_{end}"].values.argsort(kind="stable").tolist()
        for dim, end in ((LAYER_FROM, "from"), (LAYER_TO, "to"))
    }
    return in_order(dataset, order)


INFLUENCE_READER = Reader(
    kind=KIND,
    noun="influence",
    made_by="dvis influence",
    ready=_ready,
)


def influence(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """How much each channel changes each channel of later layers, lazy, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has influence.
    name : str, optional
        Which influence; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Dims (checkpoint, layer_from, channel_from, layer_to, channel_to), NaN where the target is
        not later than the source, is dead, or nothing is measured. The response r is the target's
        mean over positions, one number an image; the change e is r less what it is with the source
        replaced, or the first order of that; all is over images, at each checkpoint anew:

        - `strength`, float16: RMS of e, in standard deviations of the unchanged r (and over the
          root of 2 where maps of other images took the source's place);
        - `share`, float16: Cov(e, r) / Var(r): positive where the source drives the response the
          way in which it varies. Not that of `dvis.edges`, which is over all positions and images,
          of one layer's own inputs, and sums to 1;
        - `direction`, float16: correlation of e with the source's own mean over positions: 1, the
          target rises with it, excites; -1 inhibits. It is of other numbers than `share`, and may
          be of the other sign; NaN where e or the source's mean is the same for all images;
        - `half_difference`, float16: mean of e² over even images less that over odd ones, over
          their sum: half the difference of squared strengths, relative to the squared strength.
          `ds.dvis.reliability()` makes one number a target of it;
        - `response_sd` (checkpoint, layer_to, channel_to), float32: standard deviation of the
          unchanged r in units of the layer's output, 0 of dead targets;
        - `status` (checkpoint, layer_from, channel_from, layer_to), uint8, as `dvis.open` has it;
        - `is_cut` (layer_from), int8: 1 where all that comes later passes through the layer, 0
          where some goes around it and is not seen, -1 where that could not be told.

        `attrs` say of what images, method and batch norm they are.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no influence, or what is there is no dvis store.
    """
    return INFLUENCE_READER.open(
        path_or_url, run, name, chunks=chunks, storage_options=storage_options
    )


def halves(influence: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Strength over even and over odd images, float32, over the dims of `strength`."""
    strength = influence["strength"].astype(np.float32)
    difference = influence["half_difference"].astype(np.float32).clip(-1, 1)
    return strength * np.sqrt(1 + difference), strength * np.sqrt(1 - difference)


def reliability(influence: xr.Dataset) -> xr.DataArray:
    """Rank correlation over sources of the strengths of even and odd images, of each target.

    Parameters
    ----------
    influence : Dataset
        With `strength` and `half_difference` (checkpoint, layer_from, channel_from, layer_to,
        channel_to).

    Returns
    -------
    DataArray, (checkpoint, layer_from, layer_to, channel_to), float32
        Spearman's; lazy where the Dataset is. NaN with fewer than three sources.
    """
    return agreement(*halves(influence))


def agreement(even: xr.DataArray, odd: xr.DataArray, dim: str = CHANNEL_FROM) -> xr.DataArray:
    """What `reliability` gives, of both halves, along a dim."""
    if even.chunks is not None:
        even, odd = (half.chunk({dim: -1}) for half in (even, odd))
    result: xr.DataArray = xr.apply_ufunc(
        _rank_correlation,
        even,
        odd,
        input_core_dims=[[dim], [dim]],
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    dims = [dim for dim in PAIR_DIMS if dim in result.dims]
    return result.transpose(*dims).assign_attrs(
        long_name="rank correlation of even with odd images", units="1"
    )


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis, over places where both are finite."""
    with needing_torch("agreement of influence"):
        from scipy.stats import rankdata

    is_known = np.isfinite(first) & np.isfinite(second)
    n_known = np.maximum(is_known.sum(-1, keepdims=True), 1)
    centred = []
    for each in (first, second):
        ranks = rankdata(np.where(is_known, each, np.inf), axis=-1)  # those unknown come last
        mean = (ranks * is_known).sum(-1, keepdims=True) / n_known
        centred.append(np.where(is_known, ranks - mean, 0))
    a, b = centred
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.where(is_known.sum(-1) >= 3, found, np.nan).astype(np.float32)
