"""Attributes of drawn pairs in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.attributes.words import CANNOT_TELL, KIND, TELLS
from dvis.schema import USUAL_VARIABLE
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset, whose trajectories are those of what layers tell."""
    return dataset.assign_attrs({USUAL_VARIABLE: TELLS, "cannot_tell": CANNOT_TELL})


ATTRIBUTE_READER = Reader(kind=KIND, noun="attributes", made_by="dvis attributes", ready=_ready)


def attributes(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    r"""What tells the sides of pairs apart that differ in one attribute, and what uses it, lazy.

    The two sides of a pair are drawn alike but for one attribute: shape, colour, size, place or
    orientation. Background and noise are the same. Layers are read by the means over places of
    their channels.

    A unit's `score` is Cliff's delta of its responses :math:`x` to all sides,

    .. math:: \delta = P(x_2 > x_1) - P(x_2 < x_1),

    1 of a detector of the second value, -1 of one of the first. A layer `tells` the share of images
    whose side a ridge regression says right that learnt on other pairs; it sees one image at a
    time. The output `uses` the share of its response to the attribute that goes when the direction
    between the means of the sides, of other pairs, is taken out of the layer at every place:

    .. math:: U = \frac{\sum_i (\Delta_i - \Delta'_i) \cdot \Delta_i}{\sum_i |\Delta_i|^2},

    with the differences :math:`\Delta_i` between the outputs (as they are, such as logits) for the
    sides of pair i, and :math:`\Delta'_i` of the network without the direction. It is 0 where
    nothing goes, 1 where all goes, and may be below and above.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has attributes.
    name : str, optional
        Which; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `score` (checkpoint, layer, attribute, channel), float32, and `null_score` (checkpoint,
          layer, attribute, shuffle): the highest score without its sign of any channel where sides
          were exchanged within pairs by lot. A score above all of 20 is so by chance in one layer
          of 21;
        - where `--latents` was asked for, `latent_score` (checkpoint, layer, attribute, latent) and
          `null_latent_score`, the same of the mean codes of the layer's autoencoder;
        - `tells` and `tells_se` (checkpoint, layer, attribute), float64, and `null_tells`
          (checkpoint, layer, attribute, bound): where 95 % of it lies with sides exchanged within
          pairs, of what was learnt and tried as well;
        - `uses` and `uses_se`, and `null_uses`: where 95 % of it lies where a random direction is
          taken out in its place, of those along which the layer's images lie less its own, by so
          much that the layer changes as far; `response`, how large the output's
          response to the attribute is, of that to another scene. Where it is none, `uses` is 0;
        - `told`, and `lost` and `squared` (checkpoint, layer, attribute, pair), float32: of which
          pairs these are means, and sums;
        - `pixel_tells` and `pixel_tells_se` (attribute): of principal components of pixels, at most
          128 of at most 32 x 32;
        - `picture` (attribute, example, side, y, x, rgb), uint8: the first pairs;
        - `status` (checkpoint, layer, attribute), uint8, as `dvis.open` has it;
        - coordinates `first_value`, `second_value` and `fingerprint` (attribute), `n_channels`
          (layer), and those that `dvis.open` has. `attrs["cannot_tell"]` says what is left open.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no attributes, or what is there is no dvis store.

    Notes
    -----
    The network untrained is the first checkpoint, where that is kept: it tells much already.

    Of made-up layers whose sides differ by chance alone, the highest score is beyond its null in 5
    to 7 % and `tells` in 1 to 3 %, of 400 runs each (`scripts/bench/levels_attributes.py`). `uses`
    is so in 6 to 18 %, for a direction that pairs have by chance carries more of what they differ
    in than another one: it means something of what is told, and both are so in 1 % at most.

    `ds.dvis.attribute_dates()` says from which checkpoint on layers tell, and from which on the
    output uses it.

    References
    ----------
    Cliff 1993, Dominance statistics, doi:10.1037/0033-2909.114.3.494. Belrose et al. 2023, LEACE,
    arXiv:2306.03819. Elazar et al. 2021, Amnesic probing, arXiv:2006.00995.
    """
    return ATTRIBUTE_READER.open(
        path_or_url, run, name, chunks=chunks, storage_options=storage_options
    )
