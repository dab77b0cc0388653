"""A group of a store as a labelled, lazy Dataset in training order: for every kind alike.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from dvis.names import (
    ESTIMATED,
    CheckpointName,
    Told,
    is_placed,
    parse_checkpoint,
    training_order,
)
from dvis.schema import CHECKPOINT, LAYER, SchemaError, did_you_mean, is_forgotten
from dvis.store.contents import (
    Contents,
    Default,
    Entry,
    StoreLike,
    read_contents,
    require_plausible,
    resolve,
)
from dvis.store.depth import in_order_of_execution
from dvis.store.labels import with_plain_text
from dvis.store.metrics import metric_name
from dvis.store.places import sources_of, told_places
from dvis.store.portable import portable
from dvis.store.read_store import GENERATION, read_store
from dvis.store.steady import open_steady
from dvis.store.unit_notes import with_notes

# What xarray, Zarr and our own code raise on metadata and labels that are not as they should be.
_NOT_OF_THE_SCHEMA = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_PLACES = ("time", "epoch", "phase", "batch", "step")


def only_one(entries: Sequence[Entry], _run_attrs: Mapping[str, Any]) -> Entry | None:
    """The group that is meant where none is named: the only one."""
    return entries[0] if len(entries) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How groups of a kind are found and opened.

    Parameters
    ----------
    kind : str
        The kind: folder of its groups in a run, and their attribute `dvis_kind`.
    noun : str
        What a group holds, as errors and `dvis info` say it: `feature images`.
    made_by : str
        The command that makes it: `dvis visualize`.
    called : str
        What the names of its groups are called, as errors say it.
    default : callable
        Which group of a run is meant where none is named: of entries and the run's attributes.
    ready : callable
        The last touch to a Dataset that is opened.
    noted : callable
        Joins what people wrote about units: of the Dataset and the run's attributes.
    """

    kind: str
    noun: str
    made_by: str
    called: str = "name"
    default: Default = only_one
    ready: Callable[[xr.Dataset], xr.Dataset] = lambda dataset: dataset
    noted: Callable[[xr.Dataset, Mapping[str, Any]], xr.Dataset] = with_notes

    def open(
        self,
        path_or_url: StoreLike,
        run: str | None = None,
        name: str | None = None,
        *,
        chunks: Any = None,
        storage_options: dict[str, Any] | None = None,
    ) -> xr.Dataset:
        """The group that is asked for, or meant where none is named, as a lazy Dataset.

        Raises
        ------
        FileNotFoundError, ImportError
            As `dvis.open` does.
        KeyError
            When there is no such run or name.
        ValueError
            When there are several and none is named.
        SchemaError
            When the store holds none, or what is there is no dvis store.
        """
        store = resolve(path_or_url, storage_options)
        found = read_contents(store, str(path_or_url))
        return self.open_entry(store, found, self.choose(found, run, name), chunks)

    def names(
        self,
        path_or_url: StoreLike,
        run: str | None = None,
        *,
        storage_options: dict[str, Any] | None = None,
    ) -> list[str]:
        """Names of the groups of a run; of all runs unless one is named."""
        store = resolve(path_or_url, storage_options)
        return read_contents(store, str(path_or_url)).names(self.kind, run)

    def choose(self, found: Contents, run: str | None, name: str | None) -> Entry:
        """The group that is asked for, or that is meant where none is named.

        Raises
        ------
        KeyError, ValueError, SchemaError
            As `open` does.
        """
        if not found.of(self.kind):
            kinds = ", ".join(dict.fromkeys(entry.kind for entry in found.entries))
            there = f"; `dvis.contents` tells what it holds: {kinds}" if kinds else ""
            raise SchemaError(
                f"{found.name} holds no {self.noun} yet; make some with `{self.made_by}`{there}"
            )
        return found.choose(
            self.kind, run, name, noun=self.noun, called=self.called, default=self.default
        )

    def choose_of_layer(
        self,
        found: Contents,
        layer: str | None,
        name: str | None,
        run: str | None,
        names: Callable[[Entry], str | None],
        *,
        instead: str = "",
    ) -> Entry:
        """The group of a layer that is asked for, or the only one, of a kind with one a layer.

        Parameters
        ----------
        found : Contents
            What the store holds.
        layer : str, optional
            The layer, which groups have as their attribute; needed where there are several.
        name, run : str, optional
            What is asked for.
        names : callable
            What a group is called within its layer; None for one that is not meant.
        instead : str
            What is said where a run has none that is meant.

        Raises
        ------
        KeyError
            When there is no such run, layer or name.
        ValueError
            When there are several and none is named.
        SchemaError
            When the store holds none.
        """
        if not found.of(self.kind):
            self.choose(found, run, name)  # which says what there is instead
        run = found.default_run(self.kind) if run is None else run
        if run not in found.runs(self.kind):
            raise KeyError(did_you_mean("run", run, found.runs(self.kind), found.name))
        entries = [entry for entry in found.of(self.kind, run) if names(entry) is not None]
        where = f"the {self.noun} of {found.name}, run {run!r}"
        if not entries:
            raise SchemaError(f"{where}: {instead}")
        layers = list(dict.fromkeys(str(entry.attrs.get("layer")) for entry in entries))
        if layer is None:
            if len(layers) > 1:
                raise ValueError(f"Which layer? {where}, have {', '.join(layers[:10])}")
            layer = layers[0]
        of_layer = {str(names(e)): e for e in entries if e.attrs.get("layer") == layer}
        if not of_layer:
            raise KeyError(did_you_mean("layer", layer, layers, where))
        if name is None and len(of_layer) > 1:
            raise ValueError(
                f"Which name? {layer} is several times among {where}: {', '.join(of_layer)}"
            )
        chosen = next(iter(of_layer)) if name is None else name
        if chosen not in of_layer:
            raise KeyError(did_you_mean("name", chosen, of_layer, f"{where}, layer {layer!r}"))
        return of_layer[chosen]

    def open_entry(
        self, store: StoreLike, found: Contents, entry: Entry, chunks: Any = None
    ) -> xr.Dataset:
        """A group as a labelled, lazy Dataset in training order, tied to its store.

        Raises
        ------
        SchemaError
            When what is said of the group is not so, or its labels cannot be read.
        """
        require_plausible(found, entry)
        try:
            return self._opened(store, found, entry, chunks)
        except SchemaError:
            raise
        except _NOT_OF_THE_SCHEMA as err:
            where = f"The {self.noun} {entry.name!r} of {found.name}, run {entry.run!r},"
            if "conflicting sizes" in str(err):
                raise SchemaError(
                    f"{where} are half grown: a writer was killed while it made room. Run the same "
                    f"`{self.made_by}` again"
                ) from err
            raise SchemaError(
                f"{where} cannot be opened: what lies there is damaged, or not what dvis wrote "
                f"({type(err).__name__}: {err}). `dvis check` says more"
            ) from err

    def _opened(self, store: StoreLike, found: Contents, entry: Entry, chunks: Any) -> xr.Dataset:
        dataset = open_steady(store, entry.group, entry.attrs, chunks)
        dataset.attrs.pop(GENERATION, None)
        dataset.attrs = {"model": found.attrs.get("model", ""), **dataset.attrs}
        dataset = with_metrics(dataset, store, entry.run, found.training)
        run_attrs = found.run_attrs.get(entry.run, {})
        dataset = self.noted(self.ready(_ready(dataset, run_attrs)), run_attrs)
        return tied(portable(dataset), store, found.name)


def tied(dataset: xr.Dataset, store: StoreLike, name: str) -> xr.Dataset:
    """The Dataset with the store that it is of, for what finds more there.

    The tie lies in `encoding`, which selections keep and other files do not get, unlike attributes;
    a computation loses it.
    """
    dataset.encoding = {"source": name, "store": store}
    return dataset


def store_of(dataset: xr.Dataset, instead: str) -> tuple[StoreLike, Contents]:
    """The store that a Dataset is tied to, and what it holds now.

    Raises
    ------
    ValueError
        When it is tied to none; `instead` says what to call then.
    """
    store = dataset.encoding.get("store")
    if store is None:
        raise ValueError(
            "This Dataset does not know its store: it was read from another file, or went through "
            f"a computation since `dvis.open` gave it. Take {instead}"
        )
    return store, read_contents(store, str(dataset.encoding["source"]))


def with_metrics(
    dataset: xr.Dataset, store: StoreLike, run: str, training: dict[str, str]
) -> xr.Dataset:
    """The Dataset, and the numbers of its checkpoints that the training kept, by label.

    One that bears the name of something measured is called `training_...`; slashes become "_".
    """
    if run not in training:
        return dataset
    group: Any = read_store(store, training[run], {})  # xarray's hints know no Zarr stores
    kept = xr.open_zarr(group, group=training[run], chunks=None, consolidated=True).load()
    rows = {label: row for row, label in enumerate(kept[CHECKPOINT].values.tolist())}
    order = [rows.get(label, -1) for label in dataset[CHECKPOINT].values.tolist()]
    metrics: dict[str, Any] = {}
    for array, variable in kept.data_vars.items():
        values = np.append(variable.values, np.nan)[order]
        # A slash is no name in a tree, nor in a file of netCDF.
        name = metric_name(str(array), variable.attrs).replace("/", "_") or "unnamed"
        while name in dataset.variables or name in metrics or name in dataset.dims:
            name = f"training_{name}"
        metrics[name] = (CHECKPOINT, values, variable.attrs)
    return dataset.assign(metrics)


def _ready(dataset: xr.Dataset, run_attrs: dict[str, Any]) -> xr.Dataset:
    """Labels that plot, unknown numbers as NaN, checkpoints and layers in their order."""
    # Labels are small and in chunks of their own: as dask arrays they would not fit the data's.
    on_dask = {name: each.compute() for name, each in dataset.coords.items() if each.chunks}
    dataset = with_plain_text(dataset.assign_coords(on_dask) if on_dask else dataset)
    dataset, names = _with_told(_without_forgotten(dataset), run_attrs)
    orders: dict[Hashable, list[int]] = {CHECKPOINT: training_order(names)}
    unknown = {
        name: dataset[name].where(dataset[name] != -1)
        for name in ("epoch", "batch", "step")
        if (dataset[name] == -1).any()
    }
    if unknown:
        dataset = dataset.assign_coords(unknown)
    if LAYER in dataset.dims:
        dataset, orders[LAYER] = in_order_of_execution(dataset)
    return in_order(dataset, orders)


def in_order(dataset: xr.Dataset, orders: Mapping[Hashable, list[int]]) -> xr.Dataset:
    """The Dataset with some rows along some dims, in another order, in chunks as long as before."""
    moved = {dim: rows for dim, rows in orders.items() if rows != [*range(dataset.sizes[dim])]}
    if not moved:
        return dataset
    ordered = dataset.isel(moved)
    for name, variable in ordered.variables.items():
        before = dataset.variables[name].chunksizes
        lengths = {dim: before[dim][0] for dim in moved if dim in before}
        if lengths:
            # What dask reorders it cuts into chunks of uneven lengths, which Zarr cannot write.
            variable.data = variable.chunk(lengths).data
    return ordered


def _without_forgotten(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset without the rows that were taken back."""
    kept: dict[Hashable, list[int]] = {
        dim: [row for row, label in enumerate(labels.values.tolist()) if not is_forgotten(label)]
        for dim, labels in dataset.coords.items()
        if labels.dims == (dim,) and labels.dtype.kind == "U"
    }
    return in_order(dataset, kept)


def _with_told(
    dataset: xr.Dataset, run_attrs: Mapping[str, Any]
) -> tuple[xr.Dataset, list[CheckpointName]]:
    """The Dataset with the steps and epochs that a user told, and what is known of each place."""
    told = told_places(run_attrs)
    columns = (dataset[name].values for name in (CHECKPOINT, *_PLACES))
    stored = [_stored_name(*values) for values in zip(*columns, strict=True)]
    names = [told.get(name.label, Told()).applied_to(name) for name in stored]
    if names != stored:
        places = {
            column: (CHECKPOINT, np.array([getattr(name, column) for name in names], np.int64))
            for column in ("epoch", "step")
        }
        attrs = {column: dataset[column].attrs for column in places}
        dataset = dataset.assign_coords(places)
        for column, of_column in attrs.items():
            dataset[column].attrs = of_column
    attrs_of_step = dataset["step"].attrs
    attrs_of_step["source"] = source = sources_of(names, run_attrs)
    if ESTIMATED in source:
        batches = run_attrs["batches_per_epoch"]
        attrs_of_step["long_name"] = "training step (estimated)"
        attrs_of_step["comment"] = (
            f"epoch * {batches} + batch; {batches} batches in an epoch were read off the "
            "checkpoints' times"
        )
    # Of stores that were written when fewer names were understood.
    return dataset, [name if is_placed(name) else parse_checkpoint(name.label) for name in names]


def _stored_name(
    label: Any, time: Any, epoch: Any, phase: Any, batch: Any, step: Any
) -> CheckpointName:
    """What a store knows of a checkpoint's place, and what its name says of itself."""
    return replace(
        parse_checkpoint(str(label)),
        time=time.astype("datetime64[s]"),
        epoch=int(epoch),
        phase=str(phase),
        batch=int(batch),
        step=int(step),
    )
