"""Responses of units to fixed images in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.responses.words import IMAGE_CHECKPOINT, KIND
from dvis.names import parse_checkpoint, training_order
from dvis.schema import CHECKPOINT
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader, in_order


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """Checkpoints of feature images in training order; one of them alone is no dim."""
    if IMAGE_CHECKPOINT not in dataset.dims:
        return dataset
    if dataset.attrs["images"]["checkpoint"] != "all":
        return dataset.squeeze(IMAGE_CHECKPOINT)
    # The step that is known of a checkpoint holds for its images too.
    steps = dict(zip(dataset[CHECKPOINT].values.tolist(), dataset["step"].values, strict=True))
    names = [parse_checkpoint(label) for label in dataset[IMAGE_CHECKPOINT].values.tolist()]
    known = [
        replace(n, step=int(s)) if (s := steps.get(n.label, np.nan)) >= 0 else n for n in names
    ]
    order = training_order(known)
    return in_order(dataset, {IMAGE_CHECKPOINT: order})


RESPONSE_READER = Reader(kind=KIND, noun="responses", made_by="dvis respond", ready=_ready)


def responses(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Units' responses to fixed images as a lazy Dataset, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has responses.
    name : str, optional
        Which responses, one of `response_names`; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `response`, float32, in units of the layer's output, NaN where there is none:
          (checkpoint, layer, channel, image) of given images, with the coordinate `image_class`;
          (checkpoint, layer, channel, class) their means over classes;
          (checkpoint, layer, channel) of one checkpoint's feature images, each unit's to its own,
          and `image_checkpoint` a scalar coordinate;
          (checkpoint, image_checkpoint, layer, channel) of the feature images of all checkpoints;
        - `status` (the same dims but image and class), uint8, as `dvis.open` has it;
        - numbers of the training and coordinates as `dvis.open` has them.

        `attrs["images"]` says what the images are, `attrs["aggregation"]` what of a channel's map
        the response is.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several responses and none is named.
    SchemaError
        When the store has no responses, or what is there is no dvis store.
    """
    return RESPONSE_READER.open(
        path_or_url, run, name, chunks=chunks, storage_options=storage_options
    )


def response_names(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
) -> list[str]:
    """Names of the responses that a run of a store has; of all runs unless one is named.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    """
    return RESPONSE_READER.names(path_or_url, run, storage_options=storage_options)
