"""Image sets of which a store keeps measurements: their samples, once for all groups made of them.

    datasets/{name}/    sample (sample); content, label, is_held_out, height, width (sample)

Whatever is measured of a set has its samples' ids as a coordinate and joins by them.
"""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from dvis.disk import remove_tree
from dvis.schema import LABEL_CHUNK, TEXT, SchemaError, label_path
from dvis.store.contents import StoreLike
from dvis.store.guarded import GuardedStore
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
    path = _path_of(name)
    if not (store / path / "zarr.json").is_file():
        return False
    group = zarr.open_group(store, path=path, mode="r", use_consolidated=False)
    return _IS_WHOLE in group.attrs


def keep_dataset(store: Path, name: str, samples: xr.Dataset) -> None:
    """Write a set's samples into a store that lacks them.

    Parameters
    ----------
    store : Path
        The store.
    name : str
        What the set is called, from `name_of_set`.
    samples : Dataset, (sample,)
        What is known of the samples, with their ids as a coordinate; its attributes are kept.
    """
    with restructuring(store):
        if has_dataset(store, name):
            return
        remove_tree(store / _path_of(name), root=store)  # of one that was cut off
        files = GuardedStore(store)
        zarr.open_group(files, path=DATASETS, mode="a")
        group = zarr.open_group(files, path=_path_of(name), mode="a")
        for column, variable in samples.variables.items():
            is_text = variable.dtype.kind in "OUT"
            array = group.create_array(
                str(column),
                shape=variable.shape,
                dtype=TEXT if is_text else variable.dtype,
                chunks=(LABEL_CHUNK,) * variable.ndim,
                dimension_names=tuple(map(str, variable.dims)),
                attributes=dict(variable.attrs),
            )
            array[:] = variable.values.astype(TEXT) if is_text else variable.values
        group.update_attributes({**samples.attrs, _IS_WHOLE: True})


def open_dataset(store: StoreLike, name: str) -> xr.Dataset:
    """Samples of a set that a store keeps, in memory.

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
        - `factor_...`, where the set has factors.

    Raises
    ------
    SchemaError
        When the store has no such set.
    """
    try:
        root = zarr.open_group(store, mode="r", use_consolidated=None)
        group = root[_path_of(name)]
    except KeyError as err:
        raise SchemaError(
            f"The store has no image set {name!r} under {DATASETS}/, though a group was measured "
            "on it. Copy that folder too, or measure the group again"
        ) from err
    assert isinstance(group, zarr.Group)
    columns: dict[str, xr.Variable] = {}
    for column, array in group.arrays():
        values = np.asarray(array[:])
        if values.dtype == TEXT:
            values = np.array(values.tolist(), str)
        columns[column] = xr.Variable((SAMPLE,), values, dict(array.attrs))
    attrs = {key: value for key, value in group.attrs.items() if key != _IS_WHOLE}
    return xr.Dataset(columns, attrs=attrs).set_coords(SAMPLE)


def _path_of(name: str) -> str:
    return f"{DATASETS}/{label_path(name, 'image set')}"


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
