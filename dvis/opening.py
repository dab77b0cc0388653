"""The reading side of a store: what is in it, and one variant of one run as a lazy Dataset.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.group import ConsolidatedMetadata, GroupMetadata

from dvis.kinds.llc.joined import LLCEntry, with_llc
from dvis.names import CheckpointName, natural_key
from dvis.plots.ticks import show_names_readably
from dvis.schema import (
    CHECKPOINT,
    DEFAULT_VARIANT,
    FEATURES,
    LAYER,
    LLC,
    PARAMETERS,
    SCHEMA_VERSION,
    TRAINING,
    SchemaError,
    did_you_mean,
)
from dvis.store.labels import label_coordinates
from dvis.store.steady import open_steady

StoreLike = str | Path | Store


@dataclass(frozen=True)
class FeatureEntry:
    """A variant of a run: its labels and the path of its group."""

    run: str
    variant: str
    group: str
    codec: str


@dataclass(frozen=True)
class Contents:
    """What the metadata at a store's root say that it holds."""

    name: str
    attrs: dict[str, Any]
    run_attrs: dict[str, dict[str, Any]]
    features: list[FeatureEntry]
    training: dict[str, str]
    llc: list[LLCEntry]

    @property
    def runs(self) -> list[str]:
        """Runs that hold feature images."""
        return sorted({entry.run for entry in self.features}, key=natural_key)

    def variants(self, run: str) -> list[str]:
        """Variants of a run."""
        return sorted(
            (entry.variant for entry in self.features if entry.run == run), key=natural_key
        )

    def choose(self, run: str | None, variant: str | None) -> FeatureEntry:
        """The asked-for run and variant, or the default ones.

        Raises
        ------
        KeyError
            When there is no such run or variant.
        SchemaError
            When the store holds no feature images at all.
        """
        if not self.features:
            there = "; `dvis.llc` reads the LLC that it holds" if self.llc else ""
            raise SchemaError(
                f"{self.name} holds no feature images yet; import some with `dvis ingest`{there}"
            )
        if run is None:
            run = self.attrs.get("default_run") or self.runs[0]
        if run not in self.runs:
            raise KeyError(did_you_mean("run", run, self.runs, self.name))
        variants = self.variants(run)
        if variant is None:
            variant = self.default_variant(run)
        if variant not in variants:
            raise KeyError(did_you_mean("variant", variant, variants, f"{self.name}, run {run!r}"))
        return next(e for e in self.features if (e.run, e.variant) == (run, variant))

    def default_variant(self, run: str) -> str:
        """The run's default variant, or the first where its import has not ended."""
        variants = self.variants(run)
        chosen = self.run_attrs.get(run, {}).get("default_variant")
        fallback = DEFAULT_VARIANT if DEFAULT_VARIANT in variants else variants[0]
        return chosen if chosen in variants else fallback

    @property
    def codec(self) -> str | None:
        """How the store keeps imported images, None where it has none."""
        return self.features[0].codec if self.features else None

    def llc_of_run(self, run: str) -> list[LLCEntry]:
        """Chains of a run, by name."""
        entries = (entry for entry in self.llc if entry.run == run)
        return sorted(entries, key=lambda entry: natural_key(entry.name))

    def flat_checkpoints(self, run: str) -> list[str]:
        """Checkpoints of a run that lay in the model's folder itself."""
        return list(self.run_attrs.get(run, {}).get("flat_checkpoints", []))


def open(  # dvis.open reads like the builtin that it stands for
    path_or_url: StoreLike,
    run: str | None = None,
    variant: str | None = None,
    *,
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
    chunks : optional
        None reads lazily without a dask graph. `{}` gives dask arrays of whole image blocks and
        whole loss curves, and whatever else `xarray.open_zarr` takes for them.
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
        - `loss` (checkpoint, layer, channel, step_in_run), float32, NaN after the last step;
        - `status` (checkpoint, layer, channel), uint8: 0 absent, 1 complete, 2 incomplete,
          3 failed;
        - `train_loss`, `val_accuracy` and other numbers (checkpoint), float64, that the training
          kept with its checkpoints, where it did;
        - `llc`, `llc_se` and `llc_n_diverged` (checkpoint), float64, where `dvis llc estimate`
          sampled them, read when they are looked at: the local learning coefficient as
          `dvis.llc` gives it, at the group's own burn-in and at the one epsilon, gamma and those
          parameters that the variables' attributes name;
        - coordinates `epoch`, `batch`, `step`, `time`, `phase` (checkpoint) and `n_channels`
          (layer). Where some epoch, batch or step is unknown these are float64 with NaN.

    Raises
    ------
    FileNotFoundError
        When there is no store at the path.
    KeyError
        When the store has no such run or variant.
    SchemaError
        When what is there is no dvis store, or one of a newer schema.
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
    entry = found.choose(run, variant)
    dataset = open_steady(store, entry.group, chunks)
    dataset.attrs = {"model": found.attrs.get("model", ""), **dataset.attrs}
    dataset = with_metrics(dataset, store, entry.run, found.training)
    dataset = with_llc(dataset, store, found.llc_of_run(entry.run), found.name)
    dataset = ready(dataset, found.run_attrs.get(entry.run, {}))
    # Where `ds.dvis.llc_traces` finds the rest; unlike attributes, it goes into no other file.
    dataset.encoding = {"source": found.name, "store": store}
    show_names_readably(dataset[CHECKPOINT].values.tolist())
    return dataset


def runs(path_or_url: StoreLike, *, storage_options: dict[str, Any] | None = None) -> list[str]:
    """Training runs of a store that hold feature images.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `open` does.
    """
    return contents(path_or_url, storage_options=storage_options).runs


def variants(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
) -> list[str]:
    """Variants of a run of a store; of the default run unless another is named.

    Raises
    ------
    FileNotFoundError, KeyError, SchemaError, ImportError
        As `open` does.
    """
    found = contents(path_or_url, storage_options=storage_options)
    return found.variants(found.choose(run, None).run)


def contents(path_or_url: StoreLike, *, storage_options: dict[str, Any] | None = None) -> Contents:
    """What a store holds, read from its root alone.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `open` does.
    """
    return read_contents(resolve(path_or_url, storage_options), str(path_or_url))


def open_group(store: StoreLike, entry: FeatureEntry) -> zarr.Group:
    """A variant's Zarr group, for whoever needs what a Dataset does not show."""
    return zarr.open_group(resolve(store, None), path=entry.group, mode="r", use_consolidated=False)


def read_contents(store: StoreLike, name: str) -> Contents:
    """What a resolved store holds, by the metadata at its root."""
    try:
        root = zarr.open_group(store, mode="r", use_consolidated=None)
    except FileNotFoundError as err:
        raise FileNotFoundError(f"No store at {name}") from err
    version = root.attrs.get("dvis_schema")
    if version is None:
        raise SchemaError(f"{name} is a Zarr group, but no dvis store: it has no `dvis_schema`")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{name} has schema {version!r}; this dvis reads {SCHEMA_VERSION}. Update dvis"
        )
    metadata = root.metadata.consolidated_metadata or ConsolidatedMetadata(metadata={})
    nodes = metadata.flattened_metadata
    features = [
        FeatureEntry(
            str(node.attributes["run"]),
            str(node.attributes["variant"]),
            path,
            str(node.attributes.get("image_codec")),
        )
        for path, node in nodes.items()
        if isinstance(node, GroupMetadata) and node.attributes.get("dvis_kind") == FEATURES
    ]
    of_runs = {
        str(node.attributes["run"]): dict(node.attributes)
        for node in nodes.values()
        if isinstance(node, GroupMetadata)
        and "run" in node.attributes
        and "dvis_kind" not in node.attributes
    }
    training = {
        str(node.attributes["run"]): path
        for path, node in nodes.items()
        if isinstance(node, GroupMetadata) and node.attributes.get("dvis_kind") == TRAINING
    }
    llc = [
        LLCEntry(str(attrs["run"]), str(attrs["name"]), path, attrs)
        for path, node in nodes.items()
        if isinstance(node, GroupMetadata)
        and (attrs := dict(node.attributes)).get("dvis_kind") == LLC
    ]
    return Contents(name, dict(root.attrs), of_runs, features, training, llc)


def resolve(path_or_url: StoreLike, storage_options: dict[str, Any] | None) -> StoreLike:
    """Something that Zarr opens, after a look that gives a clear error where it cannot."""
    if isinstance(path_or_url, Store):
        return path_or_url
    text = str(path_or_url)
    if "://" in text:
        return _remote_store(text, storage_options)
    path = Path(text).expanduser()
    if not (path / "zarr.json").is_file():
        raise FileNotFoundError(f"No store at {text}. {_what_is_there(path)}")
    return path


def _remote_store(url: str, storage_options: dict[str, Any] | None) -> Store:
    try:
        return zarr.storage.FsspecStore.from_url(
            url, storage_options=storage_options, read_only=True
        )
    except (ImportError, ValueError) as err:
        missing = ImportError(
            f"{url} needs fsspec and the package for its kind of storage, or obstore "
            f"({err}): pip install 'dvis[remote]', and s3fs for s3://"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise missing from None
    try:
        store = from_url(url, **(storage_options or {}))
    except BaseError as err:
        raise missing from err
    return zarr.storage.ObjectStore(store, read_only=True)


def _what_is_there(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, but no Zarr group; a jpg/json tree goes in by `dvis ingest`"
    parent = path.parent
    if not parent.is_dir():
        return f"There is no folder {path}"
    stores = sorted(child.name for child in parent.glob("*.zarr"))
    if not stores:
        return f"There is no folder {path}"
    return did_you_mean("store", path.name, stores, str(parent.resolve()))


def with_metrics(
    dataset: xr.Dataset, store: StoreLike, run: str, training: dict[str, str]
) -> xr.Dataset:
    """The Dataset, and the numbers of its checkpoints that the training kept, by label."""
    if run not in training:
        return dataset
    kept = xr.open_zarr(store, group=training[run], chunks=None, consolidated=True).load()
    rows = {label: row for row, label in enumerate(kept[CHECKPOINT].values.tolist())}
    order = [rows.get(label, -1) for label in dataset[CHECKPOINT].values.tolist()]
    metrics = {}
    for name, variable in kept.data_vars.items():
        values = np.append(variable.values, np.nan)[order]
        metrics[name] = (CHECKPOINT, values, variable.attrs)
    return dataset.assign(metrics)


def ready(dataset: xr.Dataset, run_attrs: dict[str, Any]) -> xr.Dataset:
    """Labels that plot, unknown numbers as NaN, checkpoints in training order, layers by name."""
    # Text comes back as StringDType, on which `.plot()` raises.
    phase = dataset["phase"]
    text = np.array(phase.values.tolist(), dtype=str)
    dataset = dataset.assign_coords(phase=(phase.dims, text, phase.attrs))
    named = [dim for dim in (LAYER, PARAMETERS) if dim in dataset.dims]
    for dim in (CHECKPOINT, *named):
        attrs = dataset[dim].attrs
        dataset = dataset.assign_coords(label_coordinates(dim, dataset[dim].values.tolist()))
        dataset[dim].attrs = attrs
    if run_attrs.get("is_estimated"):
        batches = run_attrs["batches_per_epoch"]
        dataset["step"].attrs["long_name"] = "training step (estimated)"
        dataset["step"].attrs["comment"] = (
            f"epoch * {batches} + batch; {batches} batches in an epoch were read off the "
            "checkpoints' times"
        )
    order = _training_order(dataset)
    unknown = {
        name: dataset[name].where(dataset[name] != -1)
        for name in ("epoch", "batch", "step")
        if (dataset[name] == -1).any()
    }
    dataset = dataset.assign_coords(unknown)
    orders = {CHECKPOINT: order}
    if LAYER in dataset.dims:
        layers = dataset[LAYER].values.tolist()
        orders[LAYER] = sorted(range(len(layers)), key=lambda i: natural_key(layers[i]))
    moved = {dim: indices for dim, indices in orders.items() if indices != sorted(indices)}
    return dataset.isel(moved) if moved else dataset


def _training_order(dataset: xr.Dataset) -> list[int]:
    """Rows in training order; checkpoints without a place in it come last, by name."""
    columns = (dataset[name].values for name in (CHECKPOINT, "time", "epoch", "phase", "batch"))
    names = [
        CheckpointName(str(label), time.astype("datetime64[s]"), int(epoch), str(phase), int(batch))
        for label, time, epoch, phase, batch in zip(*columns, strict=True)
    ]
    return sorted(range(len(names)), key=lambda row: names[row].sort_key)
