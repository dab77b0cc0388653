"""Where units lie among each other on two axes that are the same at all checkpoints.

A vector a unit at each checkpoint in, read one checkpoint at a time; places on the principal
components of all of them together out.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import xarray as xr

from dvis.analysis.quantities import quantity
from dvis.analysis.requirements import require_some, require_whole_numbers
from dvis.analysis.unit_maps import COMPONENT

MOST_ENTRIES: Final = 2048  # whose covariance, 32 MB, is kept
_CANNOT_TELL = (
    "whether units that are near on the map are near: two axes hold a share of the variance alone"
)


def fixed_map(
    vectors: xr.DataArray,
    *,
    known: xr.DataArray | None = None,
    centre: bool = True,
    n_components: int = 2,
) -> xr.Dataset:
    r"""Places of units on principal components of all checkpoints together.

    Each unit's vector :math:`x_{tu}` is standardised by itself, less its mean over entries and
    divided by its length, so that the distance of two is :math:`\sqrt{2 - 2 r}` of their
    correlation :math:`r`. With :math:`\bar x` the mean of all units at all checkpoints, the axes
    :math:`v_k` are the eigenvectors of highest eigenvalue :math:`\lambda_k` of

    .. math:: C = \sum_{t,u} (x_{tu} - \bar x) (x_{tu} - \bar x)^T, \quad
              y_{tuk} = (x_{tu} - \bar x) \cdot v_k

    There is one basis, so a unit whose vector is the same at two checkpoints lies at the same
    place, to the last bit, whatever the others do. One checkpoint is in memory at a time, and a
    matrix of entries by entries.

    Parameters
    ----------
    vectors : DataArray, (checkpoint, unit, entry)
        A vector a unit, which may be lazy; rows that are not finite, constant or zero have no
        place. Dims may have any names, and units several, such as layer and channel; at most
        2048 entries.
    known : DataArray, (checkpoint, unit), bool, optional
        Which vectors count; by default all.
    centre : bool, optional
        Whether each vector's own mean is taken off; directions go without.
    n_components : int, optional
        Components.

    Returns
    -------
    Dataset
        `position` (checkpoint, unit, component), NaN of units without a place, and `explained`
        (component), the share of the variance, of all checkpoints, along each axis.

    Raises
    ------
    ValueError
        When there are more entries or more components than that, or too few vectors.

    See Also
    --------
    dvis.analysis.unit_maps.unit_map : Axes of each checkpoint's own, turned to those before.
    """
    checkpoint, *units, entry = map(str, vectors.dims)
    require_some(vectors, checkpoint, *units, entry)
    require_whole_numbers(n_components=n_components)
    n_entries = vectors.sizes[entry]
    if not 1 <= n_components <= n_entries <= MOST_ENTRIES:
        raise ValueError(
            f"there are {n_entries} entries and {n_components} components; give at most "
            f"{MOST_ENTRIES} entries, such as some of the images, and no more components than that"
        )

    def rows() -> Iterator[np.ndarray]:
        for row in range(vectors.sizes[checkpoint]):
            given = vectors.isel({checkpoint: row}).values.astype(np.float64)
            if known is not None:
                given[~known.isel({checkpoint: row}).values] = np.nan
            yield _standardised(given.reshape(-1, n_entries), centre=centre)

    mean, axes, explained = _basis(rows(), n_components, n_entries)
    # Not by BLAS, whose last bits depend on which other units there are.
    position = np.stack([np.einsum("ue,ec->uc", each - mean, axes) for each in rows()])
    position = position.reshape(*vectors.shape[:-1], n_components)
    variables = {
        "position": quantity((checkpoint, *units, COMPONENT), position, "place on the component"),
        "explained": quantity(COMPONENT, explained, "share of variance along the axis"),
    }
    coords = {name: each for name, each in vectors.coords.items() if entry not in each.dims}
    attrs = {"cannot_tell": _CANNOT_TELL, "n_components": n_components}
    return xr.Dataset(variables, {**coords, COMPONENT: np.arange(n_components)}, attrs)


def _standardised(vectors: np.ndarray, *, centre: bool) -> np.ndarray:
    """Vectors (unit, entry) of length 1, NaN where they have no direction."""
    scale = np.abs(vectors).max(1, keepdims=True)
    centred = vectors - vectors.mean(1, keepdims=True) if centre else vectors
    lengths = np.sqrt((centred**2).sum(1, keepdims=True))
    least = scale * np.finfo(np.float32).eps * np.sqrt(vectors.shape[1])
    is_there = np.isfinite(lengths) & (lengths > least)
    directions = np.full_like(vectors, np.nan)
    np.divide(centred, lengths, out=directions, where=is_there)
    return directions


def _basis(
    rows: Iterator[np.ndarray], n_components: int, n_entries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (entry,), axes (entry, component), and the share of variance along each."""
    n, total, products = 0, np.zeros(n_entries), np.zeros((n_entries, n_entries))
    for each in rows:
        there = each[np.isfinite(each).all(1)]
        n += len(there)
        total += there.sum(0)
        products += there.T @ there
    if n <= n_components:
        raise ValueError(
            f"{n} vectors are known; a map of {n_components} axes needs more: measure more units, "
            "or select checkpoints that have some"
        )
    mean = total / n
    values, vectors = np.linalg.eigh(products - n * np.outer(mean, mean))
    axes = vectors[:, ::-1][:, :n_components]
    largest = np.abs(axes).argmax(0)  # the largest loading of each is positive
    axes = np.ascontiguousarray(axes * np.sign(axes[largest, np.arange(n_components)]))
    variance = np.clip(values[::-1], 0, None)
    return mean, axes, variance[:n_components] / max(variance.sum(), np.finfo(float).tiny)
