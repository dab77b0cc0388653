"""The dominant wavelength of feature images: how coarse what they show is.

A Dataset of `dvis.open` in, a labelled lazy Dataset of units at checkpoints out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.units import map_units
from dvis.schema import CHANNEL, CHECKPOINT, RGB, UNIT_DIMS, X, Y

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
_LEAST_SPREAD = 0.5  # levels: what rounding to 8 bits alone can make of a flat image
_COMMENT = (
    "mean frequency of the luminance spectrum, weighted by power; the parametrisation of the image "
    "and the robustness transforms set a spectrum of their own, which relative_wavelength, over "
    "that of the first checkpoint's image, takes out in part"
)


def wavelength(dataset: xr.Dataset) -> xr.Dataset:
    r"""The dominant wavelength of each feature image, and over that of the first checkpoint's.

    Of an image's luminance, less its mean and faded out to the borders by a Hann window, with the
    power :math:`P` at the frequencies :math:`f` (cycles a pixel),

    .. math:: \lambda = \frac{\sum_f P_f}{\sum_f P_f |f|}.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or a selection of it that keeps the dim checkpoint.

    Returns
    -------
    Dataset, (checkpoint, layer, channel)
        On dask, computed by blocks of units:

        - `wavelength`, float32, in px of the stored image;
        - `relative_wavelength`, float32: over that of the unit's image at the Dataset's first
          checkpoint.

        NaN where there is no complete image, or a flat one; and of the relative one, where the
        first checkpoint has none.

    Raises
    ------
    SchemaError
        When the Dataset has no images, or no dim checkpoint.
    ValueError
        When a selection left nothing of a dimension.

    Notes
    -----
    Without the window, jumps between opposite borders would add power at all frequencies.

    Examples
    --------
    >>> wave = 127.5 + 100 * np.sin(2 * np.pi * np.arange(64) / 8)
    >>> image = np.broadcast_to(wave[:, None], (64, 64, 3)).astype(np.uint8)
    >>> round(float(_wavelengths(image)), 1)
    8.0
    """
    require(dataset, "image", "status")
    found = map_units(dataset, _of_block, by_block=True)
    dims = [dim for dim in UNIT_DIMS if dim in found["wavelength"].dims]
    absolute = found["wavelength"].transpose(*dims)
    relative = absolute / absolute.isel({CHECKPOINT: 0}, drop=True)
    result = found.assign(
        wavelength=absolute.assign_attrs(
            long_name="dominant wavelength of the feature image", units="px", comment=_COMMENT
        ),
        relative_wavelength=relative.astype(np.float32).assign_attrs(
            long_name="dominant wavelength over that at the first checkpoint", units="1"
        ),
    )
    return result.transpose(*dims)


def _of_block(units: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Wavelengths of a block of units at their checkpoints."""
    images = units["image"].transpose(CHECKPOINT, CHANNEL, Y, X, RGB).values
    return {"wavelength": ((CHECKPOINT, CHANNEL), _wavelengths(images).astype(np.float32))}


def _wavelengths(images: np.ndarray) -> np.ndarray:
    """Wavelengths (...) of images (..., y, x, rgb), uint8."""
    luminance = images.astype(np.float32) @ np.array(_LUMA, np.float32)
    height, width = luminance.shape[-2:]
    # Of pixels' middles, so that no row or column has the weight 0.
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width)))
    mean = (luminance * window).sum((-2, -1), keepdims=True) / window.sum()
    faded = (luminance - mean) * window
    power = np.abs(np.fft.fft2(faded)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    total, weighted = power.sum((-2, -1)), (power * frequency).sum((-2, -1))
    is_flat = luminance.std((-2, -1)) < _LEAST_SPREAD
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(is_flat, np.nan, total / weighted))
