"""Image sets of which a store keeps measurements: their samples, once for all groups made of them.

    datasets/{name}/    sample (sample); content, label, is_held_out, height, width (sample);
    thumbnail (sample, y, x, colour)

Whatever is measured of a set has its samples' ids as a coordinate and joins by them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from dvis.disk import explain_full_disk, remove_tree, write_lock
from dvis.schema import LABEL_CHUNK, TEXT, SchemaError, label_path
from dvis.store.checksums import create_array
from dvis.store.contents import StoreLike
from dvis.store.guarded import GuardedStore
from dvis.store.thumbnails import GREY, THUMBNAIL, ThumbnailFiles
from dvis.store.writer import restructuring

DATASETS = "datasets"
SAMPLE = "sample"
_IS_WHOLE = "dvis_dataset"  # attribute that is written last
_ONE_IN = 10  # samples held out


def name_of_set(name: str, fingerprint: str) -> str:
    """What a set is called in a store: by its name and what tells its content from others.

    Examples
    --------
    >>> name_of_set("cifar10/val", "pixels-0123456789abcdef")
    'cifar10-val-01234567'
    """
    return f"{name.replace('/', '-')}-{fingerprint.rpartition('-')[2][:8]}"


def are_held_out(sample_ids: Iterable[str]) -> np.ndarray:
    """Whether samples are held out of training: one in ten, by a hash of the id alone.

    Parameters
    ----------
    sample_ids : iterable of str
        Ids of the samples.

    Returns
    -------
    ndarray, (sample,), bool
    """
    hashes = (blake2b(_bytes_of(each), digest_size=8).digest() for each in sample_ids)
    numbers = [int.from_bytes(each, "little") for each in hashes]
    return np.array([number % _ONE_IN == 0 for number in numbers], bool)


def has_dataset(store: Path, name: str) -> bool:
    """Whether a store on a local disk has a set, whole."""
    path = path_of_set(name)
    if not (store / path / "zarr.json").is_file():
        return False
    group = zarr.open_group(store, path=path, mode="r", use_consolidated=False)
    return _IS_WHOLE in group.attrs


@contextmanager
def making_dataset(store: Path, name: str) -> Iterator[Path | None]:
    """Hold the right to make a set: its folder, or None where the store has it, whole.

    What a process that was killed had made of it is gone, and is again where this one fails.

    Parameters
    ----------
    store : Path
        The store.
    name : str
        What the set is called, from `name_of_set`.

    Raises
    ------
    DiskFullError
        When there is no space left.
    """
    if has_dataset(store, name):
        _show(store, name)
        yield None
        return
    folder = store / path_of_set(name)
    with write_lock(store, path_of_set(name)):
        if has_dataset(store, name):  # of another process, while this one waited
            _show(store, name)
            yield None
            return
        remove_tree(folder, root=store)
        try:
            yield folder
        except OSError as err:
            raise explain_full_disk(err, store) from err
        finally:
            if not has_dataset(store, name):
                remove_tree(folder, root=store)


def _show(store: Path, name: str) -> None:
    """Let readers see a whole set that a process made, and was killed before it could show it."""
    root = zarr.open_group(store, mode="r", use_consolidated=None)
    if path_of_set(name) not in root:
        with restructuring(store):
            pass


def keep_dataset(
    store: Path,
    name: str,
    samples: xr.Dataset,
    thumbnails: ThumbnailFiles | None = None,
    shown: str = "",
) -> None:
    """Write a set's samples into a store that lacks them; the caller is `making_dataset`.

    Parameters
    ----------
    store : Path
        The store.
    name : str
        What the set is called, from `name_of_set`.
    samples : Dataset, (sample,)
        What is known of the samples, with their ids as a coordinate; its attributes are kept.
    thumbnails : ThumbnailFiles, optional
        Their thumbnails, all of which were added.
    shown : str
        What part of a picture a thumbnail shows.
    """
    with restructuring(store):
        files = GuardedStore(store)
        zarr.open_group(files, path=DATASETS, mode="a")
        group = zarr.open_group(files, path=path_of_set(name), mode="a")
        for column, variable in samples.variables.items():
            is_text = variable.dtype.kind in "OUT"
            array = create_array(
                group,
                str(column),
                shape=variable.shape,
                dtype=TEXT if is_text else variable.dtype,
                chunks=(LABEL_CHUNK,) * variable.ndim,
                dimension_names=tuple(map(str, variable.dims)),
                attributes=dict(variable.attrs),
            )
            array[:] = variable.values.astype(TEXT) if is_text else variable.values
        if thumbnails is not None:
            thumbnails.finish(group, shown)
        group.update_attributes({**samples.attrs, _IS_WHOLE: True})


def open_dataset(store: StoreLike, name: str) -> xr.Dataset:
    """Samples of a set that a store keeps: their thumbnails lazy, all else in memory.

    Parameters
    ----------
    store : str, Path or Store
        The store, as `dvis.store.contents.resolve` gives it.
    name : str
        What the set is called in the store: attribute `dataset` of a group made of it.

    Returns
    -------
    Dataset, (sample,)
        With the ids as the coordinate `sample`, and

        - `content`, uint64: hash of the picture's pixels;
        - `label`, int64, an index into `attrs["classes"]`;
        - `is_held_out`, bool: whether the sample is kept out of training;
        - `height`, `width`, int32, in pixels, of the picture before its transform;
        - `factor_...`, where the set has factors;
        - `thumbnail` (sample, y, x, colour), uint8, where the set keeps them: what the model
          sees of the picture, in three colours, jpgs on disk.

    Raises
    ------
    SchemaError
        When the store has no such set.
    """
    group = _group_of(store, name)
    columns: dict[str, xr.Variable] = {}
    for column, array in group.arrays():
        if column == THUMBNAIL:
            continue
        values = np.asarray(array[:])
        if values.dtype == TEXT:
            values = np.array(values.tolist(), str)
        columns[column] = xr.Variable((SAMPLE,), values, dict(array.attrs))
    if THUMBNAIL in group:
        lazy = xr.open_zarr(
            store, group=group.path, chunks=None, consolidated=None, drop_variables=[*columns]
        )
        columns[THUMBNAIL] = lazy[THUMBNAIL].variable
    attrs = {key: value for key, value in group.attrs.items() if key != _IS_WHOLE}
    return xr.Dataset(columns, attrs=attrs).set_coords(SAMPLE)


def classes_of(samples: xr.Dataset) -> list[str]:
    """What the class of each sample of an opened set is called, "" where it has none."""
    names = [str(each) for each in samples.attrs.get("classes", ())]
    labels = samples["label"].values.tolist() if "label" in samples else [-1] * len(samples[SAMPLE])
    return [names[label] if 0 <= label < len(names) else "" for label in labels]


def thumbnails_of(store: StoreLike, name: str, sample_ids: Iterable[str]) -> np.ndarray | None:
    """Thumbnails of some samples of a set; no others are decoded.

    Parameters
    ----------
    store, name
        As `open_dataset` takes them.
    sample_ids : iterable of str
        Ids of the samples, in any order; each may come several times.

    Returns
    -------
    ndarray, (sample, y, x, colour), uint8, or None
        In the order of the ids, grey for one that the set lacks; None where it keeps none.

    Raises
    ------
    SchemaError
        When the store has no such set.
    """
    group = _group_of(store, name)
    array: Any = group.get(THUMBNAIL)
    if not isinstance(array, zarr.Array):
        return None
    ids: Any = group[SAMPLE]
    places = pd.Index(ids[:].tolist()).get_indexer(list(sample_ids))
    found = np.full((len(places), *array.shape[1:]), GREY, np.uint8)
    wanted, where = np.unique(places[places >= 0], return_inverse=True)
    if len(wanted):
        found[places >= 0] = np.asarray(array.oindex[wanted])[where]
    return found


def _group_of(store: StoreLike, name: str) -> zarr.Group:
    try:
        root = zarr.open_group(store, mode="r", use_consolidated=None)
        group = root[path_of_set(name)]
    except KeyError as err:
        raise SchemaError(
            f"The store has no image set {name!r} under {DATASETS}/, though a group was measured "
            "on it. Copy that folder too, or measure the group again"
        ) from err
    assert isinstance(group, zarr.Group)
    return group


def path_of_set(name: str) -> str:
    """Where a set lies in a store."""
    return f"{DATASETS}/{label_path(name, 'image set')}"


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
