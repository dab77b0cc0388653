"""Any function of one unit, or of a block of units, over all that a store holds.

A Dataset and a function in, a labelled lazy Dataset out. Work is divided by what `status` names,
never over the padded grid; `unit_results` puts together what comes back.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require, require_dataset
from dvis.analysis.unit_results import (
    as_dataset,
    assemble,
    coordinates_of,
    outputs_of,
    select,
)
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS, SchemaError, Status
from dvis.store.portable import READS_PARTS

if TYPE_CHECKING:
    from distributed import Client

BLOCK_BYTES = 64 * 2**20


# Of a block that one task reads: as many as lie in one file of images.
_MOST_CHANNELS = 64


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
        When what the function gives is not like the template, no variables are named, or a
        selection left no checkpoint, layer or channel.
    TypeError
        When the function gives nothing, or an array whose dims have no names.

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
    from dvis.analysis.unit_tasks import computed, lazy_arrays, run_chunk  # they import dask

    _require_work(dataset, variables)
    is_complete = completeness(dataset)
    selected = [axis for axis, dim in enumerate(UNIT_DIMS) if dim not in is_complete.dims]
    chosen = _with_labels_read(dataset[list(dict.fromkeys(variables))])
    call = partial(function, **(kwargs or {}))
    likeness = call(_made_up(chosen, by_block)) if template is None else template
    outputs = outputs_of(
        as_dataset(likeness, function), chosen.sizes[CHECKPOINT], by_block, fill_value or {}
    )
    width = _units_a_block(chosen, block_bytes)
    run = partial(run_chunk, call=call, by_block=by_block, outputs=outputs)
    arrays = lazy_arrays(
        chosen, np.expand_dims(is_complete.values, tuple(selected)), outputs, width, run
    )
    result = assemble(arrays, outputs, coordinates_of(chosen, outputs))
    for dim in (LAYER, CHANNEL):
        if dim not in dataset.dims:
            result = result.isel({dim: 0})
    return computed(result, client, progress=progress)


def completeness(dataset: xr.Dataset) -> xr.DataArray:
    """Whether each unit is complete, bool over (checkpoint, layer, channel), read at once."""
    is_complete = (dataset["status"] == Status.COMPLETE).compute()
    return is_complete.transpose(*UNIT_DIMS, missing_dims="ignore")


def _require_work(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Raise where a Dataset lacks what work over its units needs, or there is none."""
    require_dataset(dataset)
    if not variables:
        there = ", ".join(map(str, dataset.data_vars)) or "none"
        raise ValueError(f"variables=() gives the function nothing to work on. There are {there}")
    require(dataset, "status", *variables)
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
    unit = select(chosen, 0, slice(0, 1))
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


def _units_a_block(chosen: xr.Dataset, block_bytes: int) -> int:
    """How many channels one task reads at a time: whole chunks of the arrays, where they fit."""
    unit_bytes = sum(
        variable.dtype.itemsize
        * int(np.prod([n for dim, n in variable.sizes.items() if dim not in (LAYER, CHANNEL)]))
        for variable in chosen.data_vars.values()
    )
    n_fitting = max(1, min(_MOST_CHANNELS, block_bytes // max(unit_bytes, 1)))
    largest = max(chosen.data_vars.values(), key=lambda variable: variable.size)
    n_chunk = _channels_read_at_once(largest)
    if n_fitting >= n_chunk:
        return n_fitting // n_chunk * n_chunk
    return next(n for n in range(n_fitting, 0, -1) if n_chunk % n == 0)


def _channels_read_at_once(variable: xr.DataArray) -> int:
    """How many channels an array decodes to read one."""
    if variable.encoding.get(READS_PARTS):
        return 1
    n_channels = dict(variable.variable.chunksizes).get(CHANNEL, (1,))[0]
    stored = variable.encoding.get("preferred_chunks", {}).get(CHANNEL, 1)
    n_read: int = max(1, min(_MOST_CHANNELS, max(n_channels, stored)))
    return n_read
