"""The reading side of a store: a group of any kind as one labelled, lazy Dataset.

A path, a URL or a Zarr store in, xarray objects out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.kind import Kind
from dvis.kinds.registry import KINDS, OF_UNITS
from dvis.plots.ticks import CheckpointIndex
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.store.contents import Contents, Entry, StoreLike, read_contents, resolve
from dvis.store.labels import label_coordinates
from dvis.store.portable import portable_attrs
from dvis.store.reader import tied


def open(  # dvis.open reads like the builtin that it stands for
    path_or_url: StoreLike,
    run: str | None = None,
    variant: str | None = None,
    *,
    kind: str | None = None,
    name: str | None = None,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """One variant of one run of a store as a lazy Dataset, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        A folder (`stores/resnet50.zarr`), a URL that fsspec or obstore understands (`http://`,
        `s3://`, `memory://`), or a Zarr store object.
    run : str, optional
        Training run; by default the one with the most checkpoints whose time is known.
    variant : str, optional
        Which feature image of a unit (`"average-0"`, `"neuron_3_4-1"`); by default `average-0`,
        or the fullest where there is none.
    kind, name : str, optional
        Any other kind of measurement, and which of its groups, by its name: what there is,
        `dvis.contents` tells. Its Dataset has the variables of that kind, and of these coordinates
        those that belong to its dims.
    chunks : optional
        None reads lazily without a dask graph. `{}` gives dask arrays of whole image blocks, and
        whatever else `xarray.open_zarr` takes for them.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Dims (checkpoint, layer, channel, y, x, rgb, step_in_run) with

        - `image` (checkpoint, layer, channel, y, x, rgb), uint8 0-255;
        - `activation`, `value_min`, `value_max` (checkpoint, layer, channel), float32, NaN where
          unknown;
        - `stop_step`, `seed`, `params` (checkpoint, layer, channel), int32, -1 where unknown;
        - `reference_mean`, `reference_sd`, `reference_max`, `constant_max` (checkpoint, layer,
          channel), float32, where `dvis visualize` measured them: what the unit answers to
          reference images, and to the best of black, grey and white; and `reference`, int32, which
          of `attrs["references"]` they are, -1 where none;
        - `loss` (checkpoint, layer, channel, step_in_run), float32, NaN after the last step;
        - `status` (checkpoint, layer, channel), uint8: 0 absent, 1 complete, 2 incomplete,
          3 failed, 4 dead: from no start did a gradient reach the image. A dead unit has no image;
          its `activation` is what was measured, which births, medians and pictures leave out;
        - `train_loss`, `val_accuracy` and other numbers (checkpoint), float64, that the training
          kept with its checkpoints, where it did;
        - `llc`, `llc_se`, `llc_n_diverged`, float64, and `llc_is_settled`, bool (checkpoint), where
          `dvis llc estimate` sampled them, read when they are looked at: the local learning
          coefficient as `dvis.llc` gives it, at the group's own burn-in and at the one epsilon,
          gamma and those parameters that the variables' attributes name;
        - coordinates `epoch`, `batch`, `step`, `time`, `phase` (checkpoint); where some epoch,
          batch or step is unknown these are float64 with NaN; `n_channels` (layer) and, where it is
          known, `depth` (layer), its place in the order of execution. Layers are in that order
          where it is known of all, else by name: `ds.layer.attrs["order"]` says which.

    Raises
    ------
    FileNotFoundError
        When there is no store at the path.
    KeyError
        When the store has no such run, variant, kind or name.
    ValueError
        When there are several of a kind and none is named, or both a variant and a name.
    SchemaError
        When what is there is no dvis store, or one of a newer schema, or holds nothing of the kind.
    ImportError
        When a URL needs a package that is not installed.

    Examples
    --------
    >>> import dvis
    >>> dvis.open("stores/none.zarr")
    Traceback (most recent call last):
    FileNotFoundError: No store at stores/none.zarr. There is no folder stores/none.zarr
    """
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    kind = OF_UNITS if kind is None else kind_called(kind).reader.kind
    if variant is not None and (name is not None or kind != OF_UNITS):
        raise ValueError(
            f"variant={variant!r} names feature images, and what else there is has a name: give "
            f"variant alone, or kind={kind!r} and name"
        )
    _see_kind_of(found, kind, name)
    entry = KINDS[kind].reader.choose(found, run, variant if name is None else name)
    return open_entry(store, found, entry, chunks)


def _see_kind_of(found: Contents, kind: str, name: str | None) -> None:
    """Say of which kind a name is, where it is of another one than is asked for."""
    kinds = list(dict.fromkeys(entry.kind for entry in found.entries if entry.name == name))
    if kinds and kind not in kinds:
        raise KeyError(
            f"No {kind} {name!r} in {found.name}; that name is of {' and '.join(kinds)}: give "
            f"kind={kinds[0]!r}"
        )


def tree(
    path_or_url: StoreLike, *, chunks: Any = None, storage_options: dict[str, Any] | None = None
) -> xr.DataTree:
    """All that a store holds, of every kind, as one lazy tree.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `open` takes it.
    chunks : optional
        As `open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    DataTree
        A node `/{run}/{kind}/{name}` for each group, with what `dvis.open` gives of it: labelled,
        in training order. The root has the store's attributes.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `open` does.
    """
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    nodes = {
        f"/{entry.run}/{entry.kind}/{entry.name}": open_entry(store, found, entry, chunks)
        for entry in found.entries
        if entry.kind in KINDS
    }
    whole = xr.DataTree.from_dict(nodes)
    whole.attrs = portable_attrs(found.attrs)
    return whole


def kind_called(name: str) -> Kind:
    """The kind of measurement with this name.

    Raises
    ------
    KeyError
        When dvis knows none.
    """
    if not isinstance(name, str) or name not in KINDS:
        raise KeyError(did_you_mean("kind", str(name), KINDS, "dvis"))
    return KINDS[name]


def open_entry(store: StoreLike, found: Contents, entry: Entry, chunks: Any = None) -> xr.Dataset:
    """A group of any kind; of units, with the numbers of checkpoints that other kinds have."""
    dataset = KINDS[entry.kind].reader.open_entry(store, found, entry, chunks)
    if entry.kind != OF_UNITS:
        return dataset
    for kind in KINDS.values():
        if kind.join is not None:
            dataset = kind.join(dataset, store, found, entry.run)
    labels, attrs = dataset[CHECKPOINT].values.tolist(), dataset[CHECKPOINT].attrs
    dataset = dataset.assign_coords(label_coordinates(CHECKPOINT, labels, CheckpointIndex))
    dataset[CHECKPOINT].attrs = attrs
    return tied(dataset, store, found.name)
