"""How far a unit's feature image moves: from one checkpoint to the next, and to the last one.

A Dataset in, a lazy Dataset of two distances out, for every unit of a store.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from dvis.analysis.trajectories import origin
from dvis.analysis.units import completeness, map_units
from dvis.schema import CHECKPOINT, LEVELS, RGB, UNIT_DIMS, X, Y, did_you_mean

if TYPE_CHECKING:
    from distributed import Client

Metric = Literal["cosine", "ssim"]

# Wang et al. 2004, section III B: a Gaussian window of 11 x 11 pixels, K1 = 0.01, K2 = 0.03.
_SIGMA_PX, _RADIUS_PX = 1.5, 5
_K1, _K2 = 0.01, 0.03
_C1, _C2 = (_K1 * LEVELS) ** 2, (_K2 * LEVELS) ** 2

# A prepared image, and what two of them give.
Prepare = Callable[[np.ndarray], Any]
Distance = Callable[[Any, Any], float]


def drift(
    dataset: xr.Dataset,
    *,
    metric: Metric = "cosine",
    client: "Client | None" = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Distance of each feature image to the one before it and to the unit's last one.

    Both metrics are taken of the 8-bit levels, which every store has; 0 is the same image.

    ``"cosine"`` is one minus the correlation of all levels a, b of the two images,

    .. math:: d = 1 - \frac{(a - \bar a) \cdot (b - \bar b)}{|a - \bar a| |b - \bar b|},

    0 to 2, 1 where they have nothing in common. The mean of each image is taken off because all
    levels are positive, so that without it any two images are near; and as each image's levels
    are its values stretched to 0 to 255, it is thereby the correlation of the values also where
    the stretch is not known. A flat image is at 0 from a flat one and at 1 from any other.

    ``"ssim"`` is one minus the mean structural similarity [1]_, which compares windows of 11 x 11
    pixels, each colour for itself, and sees a shifted pattern as another one:

    .. math:: d = 1 - \mathrm{mean}\,
              \frac{(2 \mu_a \mu_b + C_1)(2 \sigma_{ab} + C_2)}
              {(\mu_a^2 + \mu_b^2 + C_1)(\sigma_a^2 + \sigma_b^2 + C_2)}

    over the windows that lie within the image, with Gaussian weights (1.5 px) and the paper's
    constants: `skimage.metrics.structural_similarity` with `gaussian_weights=True`,
    `use_sample_covariance=False` and `data_range=255`, to 1e-5.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or a selection of it. "Previous" and "last" are meant in its order
        of checkpoints, which `dvis.open` makes that of training.
    metric : {"cosine", "ssim"}
        The distance.
    client : Client, optional
        A dask client that computes it at once, into memory.
    progress : bool
        Show a progress bar; it is computed at once, into memory.

    Returns
    -------
    Dataset, (checkpoint, layer, channel)
        `to_previous` and `to_last`, float32: distances to the image at the checkpoint before, and
        at the Dataset's last. NaN where one of the two images is not complete. On dask unless
        `client` or `progress` is given; `status` alone is read at once.

    Raises
    ------
    SchemaError
        When the Dataset lacks images or their status.
    ValueError
        When there is no such metric, images are too small for it, or a selection left no
        checkpoint, layer or channel.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli: Image quality assessment: from
       error visibility to structural similarity. IEEE Transactions on Image Processing 13 (4),
       2004. https://doi.org/10.1109/TIP.2003.819861

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> image = np.zeros((3, 1, 1, 2, 2, 3), np.uint8)
    >>> image[:, ..., 0, 0, :] = 200
    >>> image[0, ..., 0, 0, :], image[0, ..., 1, 1, :] = 0, 200
    >>> units = ("checkpoint", "layer", "channel")
    >>> ds = xr.Dataset(
    ...     {"image": ((*units, "y", "x", "rgb"), image),
    ...      "status": (units, np.ones((3, 1, 1), np.uint8))},
    ...     {"checkpoint": ["a", "b", "c"], "layer": ["layer1"], "channel": [0]})
    >>> drift(ds).to_last.squeeze().values.round(2)
    array([1.33, 0.  , 0.  ], dtype=float32)
    """
    if metric not in get_args(Metric):
        raise ValueError(did_you_mean("metric", str(metric), get_args(Metric), "dvis.drift"))
    if metric == "ssim":
        _require_windows(dataset)
    n_checkpoints = dataset.sizes.get(CHECKPOINT, 1)
    template = {
        name: (CHECKPOINT, np.empty(n_checkpoints, np.float32), {"long_name": text, "units": "1"})
        for name, text in (
            ("to_previous", f"distance to the checkpoint before ({metric})"),
            ("to_last", f"distance to the last checkpoint ({metric})"),
        )
    }
    found = map_units(
        dataset,
        _distances,
        kwargs={"metric": metric},
        template=template,
        client=client,
        progress=progress,
    )
    # Of a unit, the image before may be two checkpoints ago; that is none of these distances.
    is_complete = completeness(dataset)
    found["to_previous"] = found.to_previous.where(
        is_complete.shift(checkpoint=1, fill_value=False)
    )
    found["to_last"] = found.to_last.where(is_complete.isel({CHECKPOINT: -1}, drop=True))
    in_order = found.transpose(*UNIT_DIMS, missing_dims="ignore")
    return in_order.assign_attrs(origin(dataset), metric=metric)


def _require_windows(dataset: xr.Dataset) -> None:
    """Raise where images are smaller than a window."""
    side = 2 * _RADIUS_PX + 1
    height, width = (dataset.sizes.get(dim, side) for dim in (Y, X))
    if min(height, width) < side:
        raise ValueError(
            f"ssim compares windows of {side} x {side} pixels; these images have {height} x "
            f"{width}. Take metric='cosine'"
        )


def _distances(unit: xr.Dataset, metric: Metric) -> dict[str, tuple[str, np.ndarray]]:
    """Distances of a unit's images, by the checkpoints at which it is complete."""
    images = unit["image"].transpose(CHECKPOINT, Y, X, RGB).values
    prepare, distance = _METRICS[metric]
    to_previous, to_last = (np.full(len(images), np.nan, np.float32) for _ in range(2))
    last, previous = prepare(images[-1]), None
    # One after the other: three images as floats stay in the processor's cache, a hundred do not.
    for i, levels in enumerate(images):
        image = prepare(levels)
        to_last[i] = distance(image, last)
        if previous is not None:
            to_previous[i] = distance(previous, image)
        previous = image
    return {"to_previous": (CHECKPOINT, to_previous), "to_last": (CHECKPOINT, to_last)}


def _centred(levels: np.ndarray) -> tuple[np.ndarray, float]:
    """Levels less their mean, (y, x * rgb) float32, and their sum of squares."""
    values = levels.reshape(len(levels), -1).astype(np.float32)
    values -= values.mean()  # pairwise, to 1e-6: the mean of the levels themselves takes longer
    return values, _dot(values, values)


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    """Inner product, whose rows are summed in double precision."""
    return float(np.vecdot(one, other).sum(dtype=np.float64))


def _cosine_distance(one: tuple[np.ndarray, float], other: tuple[np.ndarray, float]) -> float:
    """One minus the cosine of two centred images."""
    scale = one[1] * other[1]
    if not scale:
        return float(one[1] != other[1])
    # A root of the product, not a product of roots: of an image and itself it is exact.
    return 1 - _dot(one[0], other[0]) / math.sqrt(scale)


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """An image as SSIM compares it: float32, (y, x * rgb), of whole windows but for `centred`."""

    centred: np.ndarray  # levels less their mean, a whole number: (y, x, rgb) of small squares
    mean: np.ndarray  # of `centred` in each window
    mean_level: np.ndarray
    mean_level_squared: np.ndarray
    variance: np.ndarray


def _windows(levels: np.ndarray) -> _Windows:
    """An image's means and variances in all of its windows."""
    middle = np.float32(round(float(levels.mean())))
    centred = levels.astype(np.float32) - middle
    mean = _smoothed(centred)
    level = mean + middle
    return _Windows(
        centred=centred,
        mean=mean,
        mean_level=level,
        mean_level_squared=level * level,
        variance=_smoothed(centred * centred) - mean * mean,
    )


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Weighted means of (y, x, rgb) values in all whole windows, (y - 10, (x - 10) * rgb)."""
    height, width, n_colours = values.shape
    margin = 2 * _RADIUS_PX
    flat = values.reshape(height, width * n_colours)
    rows = _weighted(lambda i: flat[i : i + height - margin])
    n_columns = (width - margin) * n_colours
    return _weighted(lambda i: rows[:, i * n_colours : i * n_colours + n_columns])


def _weighted(shifted: Callable[[int], np.ndarray]) -> np.ndarray:
    """Gaussian mean of arrays that are shifted by 0 to 10 pixels."""
    total: np.ndarray = shifted(_RADIUS_PX) * _WEIGHTS[0]
    both = np.empty_like(total)
    for i, weight in enumerate(_WEIGHTS[1:], start=1):
        np.add(shifted(_RADIUS_PX - i), shifted(_RADIUS_PX + i), out=both)
        both *= weight
        total += both
    return total


def _structural_distance(one: _Windows, other: _Windows) -> float:
    """One minus the mean structural similarity of two images."""
    covariance = _smoothed(one.centred * other.centred)
    covariance -= one.mean * other.mean
    similarity = one.mean_level * other.mean_level
    similarity *= 2
    similarity += np.float32(_C1)
    covariance *= 2
    covariance += np.float32(_C2)
    similarity *= covariance
    means = one.mean_level_squared + other.mean_level_squared
    means += np.float32(_C1)
    variances = one.variance + other.variance
    variances += np.float32(_C2)
    means *= variances
    similarity /= means
    return 1 - float(similarity.mean(dtype=np.float64))


def _gaussian() -> np.ndarray:
    """Weights of a window at 0 to 5 pixels from its middle, which sum to 1 over both sides."""
    weights = np.exp(-0.5 * (np.arange(_RADIUS_PX + 1) / _SIGMA_PX) ** 2)
    normalised: np.ndarray = (weights / (2 * weights[1:].sum() + 1)).astype(np.float32)
    return normalised


_WEIGHTS = _gaussian()
_METRICS: dict[Metric, tuple[Prepare, Distance]] = {
    "cosine": (_centred, _cosine_distance),
    "ssim": (_windows, _structural_distance),
}
