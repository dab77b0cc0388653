"""Any function of one unit, or of a block of units, over all that a store holds.

A Dataset and a function in, a labelled lazy Dataset out. Work is divided by what `status` names,
never over the padded grid; `unit_results` puts together what comes back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.callbacks import Callback
from zarr.abc.codec import ArrayBytesCodecPartialDecodeMixin

from dvis.analysis.unit_results import (
    Output,
    as_dataset,
    assemble,
    coordinates_of,
    outputs_of,
    place,
)
from dvis.progress import progress_bar
from dvis.schema import (
    BLOCK_CHANNELS,
    CHANNEL,
    CHECKPOINT,
    LAYER,
    UNIT_DIMS,
    SchemaError,
    Status,
)

if TYPE_CHECKING:
    from distributed import Client

BLOCK_BYTES = 64 * 2**20
# A graph of more chunks takes longer to schedule than many functions take to run.
_MAX_CHUNKS = 4096


class _Block(NamedTuple):
    """Units of a layer that one read takes: their places along checkpoint and channel, and data."""

    rows: np.ndarray
    columns: np.ndarray
    parts: list[xr.Dataset]


def map_units(
    dataset: xr.Dataset,
    function: Callable[..., Any],
    *,
    variables: Sequence[str] = ("image",),
    by_block: bool = False,
    kwargs: Mapping[str, Any] | None = None,
    template: Any = None,
    fill_value: Mapping[str, Any] | None = None,
    block_bytes: int = BLOCK_BYTES,
    client: "Client | None" = None,
    progress: bool = False,
) -> xr.Dataset:
    """What a function gives for every unit, labelled by layer and channel.

    Units at checkpoints that are not complete are never read: the function is given a unit's
    complete checkpoints alone, and a unit that has none is missing from the result. Of the data
    only `status`, which says how the work divides, and the coordinates are read at once; all else
    when the result is computed, a block of at most `block_bytes` at a time in each of dask's
    threads or workers.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or a selection of it that keeps the dim checkpoint. Without
        `chunks` it is quickest, for then each task reads its block alone; from dask arrays that
        were selected from or reordered, it may read whole chunks for it.
    function : callable
        It is given the Dataset of one unit: the variables along checkpoint (and y, x, rgb), in
        memory, with the labels as coordinates. It gives back a number, a DataArray, a Dataset, or
        a mapping of names to these or to `(dims, values)`. What has the dim checkpoint comes back
        to its places along the Dataset's.
    variables : sequence of str
        What it is given. Default: the images.
    by_block : bool
        Give it several units of a layer at once, along the dim channel, which what it gives back
        must have too. They are neighbours, complete at the same checkpoints, 64 at most.
    kwargs : mapping, optional
        Further keyword arguments of the function.
    template : optional
        Something like what the function gives back, whose values do not matter. By default the
        function is run once on a unit of random levels, as `xarray.map_blocks` does.
    fill_value : mapping of str to value, optional
        What stands for a missing unit, by variable. Default: NaN, NaT or ""; integers and bools
        become float64 by it.
    block_bytes : int
        How much of the variables one task reads at a time, at least one unit.
    client : Client, optional
        A dask client: the result is computed there at once, and comes back in memory. Data that
        were in memory are sent to its workers; what lies in a store they read themselves.
    progress : bool
        Show a progress bar; the result is computed at once, and comes back in memory.

    Returns
    -------
    Dataset, (layer, channel) and the dims of what the function gave
        On dask unless `client` or `progress` is given. A layer or channel that was selected away
        stays so.

    Raises
    ------
    SchemaError
        When the Dataset lacks `status`, one of the variables, or one of the unit's dims.
    ValueError
        When what the function gives is not like the template, or no variables are named.
    TypeError
        When the function gives an array whose dims have no names.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> units = ("checkpoint", "layer", "channel")
    >>> ds = xr.Dataset(
    ...     {"activation": (units, np.arange(6.0).reshape(3, 1, 2)),
    ...      "status": (units, np.uint8([[[1, 1]], [[1, 2]], [[1, 0]]]))},
    ...     {"checkpoint": ["a", "b", "c"], "layer": ["layer1"], "channel": [0, 1]})
    >>> growth = lambda unit: {"growth": unit.activation[-1] - unit.activation[0]}
    >>> map_units(ds, growth, variables=["activation"]).growth.values
    array([[4., 0.]])
    """
    _require(dataset, variables)
    is_complete = completeness(dataset)
    selected = [axis for axis, dim in enumerate(UNIT_DIMS) if dim not in is_complete.dims]
    chosen = _with_labels_read(dataset[list(dict.fromkeys(variables))])
    call = partial(function, **(kwargs or {}))
    likeness = call(_made_up(chosen, by_block)) if template is None else template
    outputs = outputs_of(
        as_dataset(likeness, function), chosen.sizes[CHECKPOINT], by_block, fill_value or {}
    )
    width = _units_a_block(chosen, block_bytes)
    run = partial(_run_chunk, call=call, by_block=by_block, outputs=outputs)
    arrays = _lazy_arrays(chosen, np.expand_dims(is_complete.values, selected), outputs, width, run)
    result = assemble(arrays, outputs, coordinates_of(chosen, outputs))
    for dim in (LAYER, CHANNEL):
        if dim not in dataset.dims:
            result = result.isel({dim: 0})
    return _computed(result, client, progress=progress)


def completeness(dataset: xr.Dataset) -> xr.DataArray:
    """Whether each unit is complete, bool over (checkpoint, layer, channel), read at once."""
    is_complete = (dataset["status"] == Status.COMPLETE).compute()
    return is_complete.transpose(*UNIT_DIMS, missing_dims="ignore")


def _require(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Raise where a Dataset lacks what work over its units needs."""
    if not variables:
        there = ", ".join(map(str, dataset.data_vars)) or "none"
        raise ValueError(f"variables=() gives the function nothing to work on. There are {there}")
    missing = [name for name in ("status", *variables, *UNIT_DIMS) if name not in dataset]
    if missing:
        there = ", ".join(map(str, dataset.variables)) or "nothing"
        raise SchemaError(
            f"This Dataset has no {', '.join(missing)}, only {there}. Open one with dvis.open"
        )
    if CHECKPOINT not in dataset.dims:
        raise SchemaError(
            "This Dataset has one checkpoint and no dim of that name. Select with a list, "
            "ds.sel(checkpoint=[...]), or a slice"
        )


def _with_labels_read(chosen: xr.Dataset) -> xr.Dataset:
    """The same with its coordinates in memory, or each task would read them again."""
    labels = {
        n: each.variable.compute() for n, each in chosen.coords.items() if n not in chosen.dims
    }
    return chosen.assign_coords(labels)


def _made_up(chosen: xr.Dataset, by_block: bool) -> xr.Dataset:
    """A unit of random numbers in memory, of the Dataset's dtypes, sizes and labels."""
    unit = _select(chosen, 0, slice(0, 1))
    if CHANNEL in unit.dims and not by_block:
        unit = unit.isel({CHANNEL: 0})
    elif by_block and CHANNEL not in unit.dims:
        unit = unit.expand_dims(CHANNEL)
    generator = np.random.default_rng(0)
    made_up = {}
    for name, variable in unit.data_vars.items():
        values = generator.random(variable.shape) * (255 if variable.dtype == np.uint8 else 1)
        made_up[name] = (variable.dims, values.astype(variable.dtype), variable.attrs)
    return unit.assign(made_up)


def _select(
    chosen: xr.Dataset, layer: int, channels: slice, checkpoints: slice = slice(None)
) -> xr.Dataset:
    """Some channels of a layer; of a dim that was selected away, what is there."""
    # In one step: dask fuses one selection with the read behind it, but not a second one.
    within = {LAYER: layer, CHANNEL: channels, CHECKPOINT: checkpoints}
    return chosen.isel(within, missing_dims="ignore")


def _units_a_block(chosen: xr.Dataset, block_bytes: int) -> int:
    """How many channels one task reads at a time: whole chunks of the arrays, where they fit."""
    unit_bytes = sum(
        variable.dtype.itemsize
        * int(np.prod([n for dim, n in variable.sizes.items() if dim not in (LAYER, CHANNEL)]))
        for variable in chosen.data_vars.values()
    )
    n_fitting = max(1, min(BLOCK_CHANNELS, block_bytes // max(unit_bytes, 1)))
    largest = max(chosen.data_vars.values(), key=lambda variable: variable.size)
    n_chunk = _channels_read_at_once(largest)
    if n_fitting >= n_chunk:
        return n_fitting // n_chunk * n_chunk
    return next(n for n in range(n_fitting, 0, -1) if n_chunk % n == 0)


def _channels_read_at_once(variable: xr.DataArray) -> int:
    """How many channels an array decodes to read one."""
    serializer = variable.encoding.get("serializer")
    is_partial = isinstance(serializer, ArrayBytesCodecPartialDecodeMixin)
    if is_partial and not variable.encoding.get("compressors"):
        return 1
    n_channels = dict(variable.variable.chunksizes).get(CHANNEL, (1,))[0]
    stored = variable.encoding.get("preferred_chunks", {}).get(CHANNEL, 1)
    n_read: int = max(1, min(BLOCK_CHANNELS, max(n_channels, stored)))
    return n_read


def _lazy_arrays(
    chosen: xr.Dataset,
    is_complete: np.ndarray,
    outputs: Sequence[Output],
    width: int,
    run: Callable[..., Any],
) -> list[Any]:
    """One dask array an output, whose chunks are a layer and one or more blocks of channels."""
    _, n_layers, n_channels = is_complete.shape
    n_blocks = -(-n_channels // width)
    a_chunk = width * -(-n_layers * n_blocks // _MAX_CHUNKS)
    edges = [(a, min(a + a_chunk, n_channels)) for a in range(0, n_channels, a_chunk)]
    token = uuid4().hex
    named = [f"{output.name}-{token}" for output in outputs]
    graphs: dict[str, dict[Any, Any]] = {f"units-{token}": {}, **{name: {} for name in named}}
    for layer in range(n_layers):
        for column, (start, stop) in enumerate(edges):
            there = is_complete[:, layer, start:stop]
            key = (f"units-{token}", layer, column)
            if there.any():
                blocks = [
                    _Block(rows, columns, _parts(chosen, layer, start + columns, rows))
                    for rows, columns in _divided(there, width)
                ]
                graphs[key[0]][key] = (partial(run, blocks, n_channels=stop - start),)
            for i, (name, output) in enumerate(zip(named, outputs, strict=True)):
                place_in_array = (name, layer, column, *(0,) * len(output.dims))
                graphs[name][place_in_array] = (
                    (_item, key, i) if there.any() else (partial(output.empty, stop - start),)
                )
    chunks = ((1,) * n_layers, tuple(stop - start for start, stop in edges))
    graph = dask.highlevelgraph.HighLevelGraph(
        graphs, {f"units-{token}": set(), **{name: {f"units-{token}"} for name in named}}
    )
    return [
        _dask_array(graph, name, (*chunks, *((n,) for n in output.shape)), output.dtype)
        for name, output in zip(named, outputs, strict=True)
    ]


def _item(arrays: Sequence[np.ndarray], i: int) -> np.ndarray:
    return arrays[i]


def _culled(part: xr.Dataset) -> xr.Dataset:
    """The same without the dask tasks of other units, which would go to each worker."""
    culled = {}
    for name, variable in part.variables.items():
        array = variable._data
        if isinstance(array, dask.array.Array):
            keys = set(dask.core.flatten(array.__dask_keys__()))  # type: ignore[no-untyped-call]
            tasks = {array.name: dict(array.dask.cull(keys))}
            graph = dask.highlevelgraph.HighLevelGraph(tasks, {array.name: set()})
            alone = _dask_array(graph, array.name, array.chunks, array.dtype)
            culled[name] = variable.copy(deep=False, data=alone)
    return part.assign(culled) if culled else part


def _dask_array(graph: Any, name: str, chunks: Any, dtype: np.dtype[Any]) -> Any:
    return dask.array.Array(graph, name, chunks, dtype=dtype)  # type: ignore[no-untyped-call]


def _run_chunk(
    blocks: Sequence[_Block],
    *,
    n_channels: int,
    call: Callable[..., Any],
    by_block: bool,
    outputs: Sequence[Output],
) -> list[np.ndarray]:
    """The outputs of some channels of a layer, each (layer=1, channel, ...)."""
    arrays = [output.empty(n_channels) for output in outputs]
    for rows, columns, parts in blocks:
        # One thread reads a block, for dask has already given each of its own a task.
        read = [part.compute(scheduler="synchronous") for part in parts]
        block = read[0] if len(read) == 1 else _joined(read)
        if by_block:
            block = block if CHANNEL in block.dims else block.expand_dims(CHANNEL)
            place(_called(call, block), outputs, arrays, rows, columns, block)
            continue
        for i, column in enumerate(columns):
            unit = block.isel({CHANNEL: i}) if CHANNEL in block.dims else block
            place(_called(call, unit), outputs, arrays, rows, column, unit)
    return arrays


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Parts of one block at different checkpoints as one."""
    joined: xr.Dataset = xr.concat(
        parts, CHECKPOINT, data_vars="minimal", coords="minimal", compat="override", join="override"
    )
    return joined


def _divided(is_complete: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of neighbouring channels that are complete at the same checkpoints."""
    changes = np.any(is_complete[:, 1:] != is_complete[:, :-1], axis=0)
    for alike in np.split(np.arange(is_complete.shape[1]), np.flatnonzero(changes) + 1):
        rows = np.flatnonzero(is_complete[:, alike[0]])
        if len(rows):
            for first in range(0, len(alike), width):
                yield rows, alike[first : first + width]


def _parts(
    chosen: xr.Dataset, layer: int, channels: np.ndarray, rows: np.ndarray
) -> list[xr.Dataset]:
    """Some channels of a layer at some checkpoints, as Datasets that follow one another."""
    # Slices alone, for of a list of checkpoints dask would read whole chunks.
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [_culled(_select(chosen, layer, _slice_of(channels), _slice_of(run))) for run in runs]


def _slice_of(indices: np.ndarray) -> slice:
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _called(call: Callable[..., Any], given: xr.Dataset) -> xr.Dataset:
    """What the function gives; its error says of which unit."""
    try:
        return as_dataset(call(given), call)
    except Exception as err:
        channels = np.atleast_1d(given[CHANNEL].values).tolist()
        err.add_note(f"in {given[LAYER].item()}, channel {', '.join(map(str, channels))}")
        raise


def _computed(result: xr.Dataset, client: "Client | None", *, progress: bool) -> xr.Dataset:
    """The result as it is, or in memory where a client or a progress bar is asked for."""
    if client is None and not progress:
        return result
    client = client or _default_client()
    if client is not None:
        return _computed_by(client, result, progress=progress)
    with progress_bar(0, "tasks", "units", shown=True) as bar:

        def begin(_: Any, state: Mapping[str, Any]) -> None:
            bar.total = sum(len(state[kind]) for kind in ("ready", "waiting", "running"))
            bar.refresh()

        with Callback(start_state=begin, posttask=lambda *_: bar.update()):  # type: ignore[no-untyped-call]  # dask gives no types
            return result.compute()


def _default_client() -> Any:
    """The client that dask computes on unless told otherwise, where there is one."""
    # A client's scheduler is its own method; those of threads and processes are plain functions.
    return getattr(dask.base.get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call]


def _computed_by(client: "Client", result: xr.Dataset, *, progress: bool) -> xr.Dataset:
    """The result in memory, computed by a client's workers."""
    from distributed import as_completed, futures_of

    running = client.persist(result)  # type: ignore[no-untyped-call]
    chunks = futures_of(running)  # type: ignore[no-untyped-call]
    with (
        client.as_current(),
        progress_bar(len(chunks), "chunks", "units", shown=progress) as bar,
    ):
        for _ in as_completed(chunks):  # type: ignore[no-untyped-call]
            bar.update()
    computed: xr.Dataset = client.compute(running).result()  # type: ignore[no-untyped-call]
    return computed
