"""The tasks of `map_units`: which units one reads, what it runs, and the dask arrays they make up.

A Dataset and outputs in, lazy arrays out. Apart from `units`, so that dask is imported when needed.
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

from dvis.analysis.unit_results import Output, as_dataset, place, select
from dvis.progress import progress_bar
from dvis.schema import CHANNEL, CHECKPOINT, LAYER

if TYPE_CHECKING:
    from distributed import Client

# A graph of more chunks takes longer to schedule than many functions take to run.
_MAX_CHUNKS = 4096


class _Block(NamedTuple):
    """Units of a layer that one read takes: their places along checkpoint and channel, and data."""

    rows: np.ndarray
    columns: np.ndarray
    parts: list[xr.Dataset]


def lazy_arrays(
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
    # A graph by hand: dask's own ways to one, an array of jobs and `map_blocks` over it, took 13 s
    # of processors in place of 10 for 3,840 chunks, 2.7 in place of 1.95 where the data is on dask
    # (medians of three runs in turn), and as long as this one where images are decoded.
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
        if variable.chunks is not None:
            array = variable.data
            keys = set(dask.core.flatten(array.__dask_keys__()))  # type: ignore[no-untyped-call]
            tasks = {array.name: dict(array.dask.cull(keys))}
            graph = dask.highlevelgraph.HighLevelGraph(tasks, {array.name: set()})
            alone = _dask_array(graph, array.name, array.chunks, array.dtype)
            culled[name] = variable.copy(deep=False, data=alone)
    return part.assign(culled) if culled else part


def _dask_array(graph: Any, name: str, chunks: Any, dtype: np.dtype[Any]) -> Any:
    return dask.array.Array(graph, name, chunks, dtype=dtype)  # type: ignore[no-untyped-call]


def run_chunk(
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
    return [_culled(select(chosen, layer, _slice_of(channels), _slice_of(run))) for run in runs]


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


def computed(result: xr.Dataset, client: "Client | None", *, progress: bool) -> xr.Dataset:
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
