"""Responses of units to fixed images, in a store: their words, and the reading side.

    {run}/responses/{name}/    response (checkpoint, layer, channel, image), or (..., class), or
                               (checkpoint, image_checkpoint, layer, channel) of feature images;
                               status (without image or class), and the coordinates of features

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.core.group import ConsolidatedMetadata, GroupMetadata

from dvis.names import natural_key, parse_checkpoint
from dvis.opening import StoreLike, read_contents, ready, resolve, with_metrics
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    COORDINATES,
    IMAGE_CHECKPOINT,
    LAYER,
    SCALAR_CHUNK,
    SCALARS,
    SOURCE,
    TEXT,
    UNIT_DIMS,
    SchemaError,
    VariableSpec,
    did_you_mean,
    run_group,
    scalar_chunks,
)
from dvis.store.steady import open_steady

Kind = Literal["image", "class", "image_checkpoint"]
RESPONSES = "responses"
_FEATURE_DIMS = (CHECKPOINT, IMAGE_CHECKPOINT, LAYER, CHANNEL)
_CHUNK_ITEMS = 2**18  # of float32: 1 MB


@dataclass(frozen=True)
class ResponseEntry:
    """Responses of a run: their name and the path of their group."""

    run: str
    name: str
    group: str


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
    store = resolve(path_or_url, storage_options)
    where = str(path_or_url)
    found = read_contents(store, where)
    entry = _choose(_entries(store), found.attrs.get("default_run"), run, name, where)
    dataset = _opened(store, entry, where, chunks)
    dataset.attrs = {"model": found.attrs.get("model", ""), **dataset.attrs}
    dataset = with_metrics(dataset, store, entry.run, found.training)
    return _with_readable_labels(ready(dataset, found.run_attrs.get(entry.run, {})))


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
    store = resolve(path_or_url, storage_options)
    read_contents(store, str(path_or_url))
    names = {entry.name for entry in _entries(store) if run in (None, entry.run)}
    return sorted(names, key=natural_key)


def response_group(run: str, name: str) -> str:
    """Path of the group of some responses inside a store."""
    return f"{run_group(run)}/{RESPONSES}/{run_group(name)}"


def array_specs(kind: Kind) -> dict[str, VariableSpec]:
    """All arrays of a group of responses by their path in it."""
    of_images = kind == IMAGE_CHECKPOINT
    dims = _FEATURE_DIMS if of_images else UNIT_DIMS
    status = SCALARS["status"]
    long_names = {"image": "image", "class": "class", IMAGE_CHECKPOINT: "checkpoint of the image"}
    specs = {
        **COORDINATES,
        kind: _spec((kind,), TEXT, "", long_names[kind]),
        "response": _spec(dims if of_images else (*dims, kind), "float32", np.nan, "response"),
        "status": VariableSpec(dims=dims, dtype=status.dtype, fill=status.fill, attrs=status.attrs),
        f"{SOURCE}/problem": _spec(dims, TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": _spec(dims, "uint64", 0, "hash of the checkpoint's weights"),
    }
    if kind == "image":
        specs["image_class"] = _spec(("image",), TEXT, "", "class of the image")
    if of_images:
        specs[f"{SOURCE}/images"] = _spec(
            dims[1:], "uint64", 0, "hash of what the store says of the image"
        )
    return specs


def chunks_of(spec: VariableSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Chunk shape of an array: whole layers at one checkpoint of responses to many images."""
    if spec.dims == _FEATURE_DIMS:
        return (SCALAR_CHUNK[0], 1, *SCALAR_CHUNK[1:])
    if spec.dims == _FEATURE_DIMS[1:]:
        return SCALAR_CHUNK
    if spec.dims[:3] == UNIT_DIMS and len(spec.dims) == 4:
        n_images = min(max(1, sizes[spec.dims[3]]), _CHUNK_ITEMS)
        n_channels = min(max(1, sizes[CHANNEL]), _CHUNK_ITEMS // n_images)
        return 1, 1, n_channels, n_images
    return scalar_chunks(spec)


def _spec(dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str) -> VariableSpec:
    attrs = {"long_name": long_name}
    if dtype == "float32":
        attrs["units"] = "1"
    return VariableSpec(dims=dims, dtype=dtype, fill=fill, attrs=attrs)


def _entries(store: StoreLike) -> list[ResponseEntry]:
    root = zarr.open_group(store, mode="r", use_consolidated=None)
    metadata = root.metadata.consolidated_metadata or ConsolidatedMetadata(metadata={})
    return [
        ResponseEntry(str(node.attributes["run"]), str(node.attributes["name"]), path)
        for path, node in metadata.flattened_metadata.items()
        if isinstance(node, GroupMetadata) and node.attributes.get("dvis_kind") == RESPONSES
    ]


def _choose(
    entries: list[ResponseEntry], default_run: Any, run: str | None, name: str | None, where: str
) -> ResponseEntry:
    if not entries:
        raise SchemaError(f"{where} holds no responses yet; measure some with `dvis respond`")
    runs = sorted({entry.run for entry in entries}, key=natural_key)
    if run is None:
        run = default_run if default_run in runs else runs[0]
    if run not in runs:
        raise KeyError(did_you_mean("run", run, runs, where))
    names = sorted((entry.name for entry in entries if entry.run == run), key=natural_key)
    if name is None and len(names) > 1:
        raise ValueError(f"{where}, run {run!r}, has several responses: name one of {names}")
    name = names[0] if name is None else name
    if name not in names:
        raise KeyError(did_you_mean("name", name, names, f"{where}, run {run!r}"))
    return next(entry for entry in entries if (entry.run, entry.name) == (run, name))


def _opened(store: StoreLike, entry: ResponseEntry, where: str, chunks: Any) -> xr.Dataset:
    try:
        dataset = open_steady(store, entry.group, chunks)
    except ValueError as err:
        if "conflicting sizes" not in str(err):
            raise
        raise SchemaError(
            f"The responses {entry.name!r} of {where}, run {entry.run!r}, are half grown: a run "
            "was killed while it made room in them. Run the same `dvis respond` again"
        ) from err
    return dataset


def _with_readable_labels(dataset: xr.Dataset) -> xr.Dataset:
    """Labels of images that plot; checkpoints of feature images in training order."""
    for coordinate in ("image", "image_class", "class", IMAGE_CHECKPOINT):
        if coordinate in dataset.coords:
            variable = dataset[coordinate]
            text = np.array(variable.values.tolist(), dtype=str)
            dataset = dataset.assign_coords({coordinate: (variable.dims, text, variable.attrs)})
    if IMAGE_CHECKPOINT not in dataset.dims:
        return dataset
    if dataset.attrs["images"]["checkpoint"] != "all":
        return dataset.squeeze(IMAGE_CHECKPOINT)
    labels = dataset[IMAGE_CHECKPOINT].values.tolist()
    order = sorted(range(len(labels)), key=lambda i: parse_checkpoint(labels[i]).sort_key)
    return dataset if order == sorted(order) else dataset.isel({IMAGE_CHECKPOINT: order})
