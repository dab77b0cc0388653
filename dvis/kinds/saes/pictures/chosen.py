"""Which autoencoders and checkpoints a picture is of, with errors that say what there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.saes.read import name_in_layer
from dvis.plots.selection import at_checkpoint, origin_of
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHECKPOINT, Status, did_you_mean

# One name over its checkpoints, or several by their names, at one checkpoint.
OneOrSeveral: TypeAlias = xr.Dataset | Mapping[str, xr.Dataset]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Autoencoders that a picture holds against one another.

    Attributes
    ----------
    rows : dict of str to Dataset
        Each at its checkpoint, by what it is called: its name, or its checkpoint in training order.
    is_over_training : bool
        Whether they are one name's at several checkpoints.
    title : str
        What is shared: layer, and name or checkpoint.
    notes : tuple of str
        Where they are from, and which are left out.
    """

    rows: dict[str, xr.Dataset]
    is_over_training: bool
    title: str
    notes: tuple[str, ...]


def compared(given: OneOrSeveral, checkpoint: str | int | None, *needs: str) -> Compared:
    """Autoencoders of one Dataset over its checkpoints, or of several at one checkpoint.

    Parameters
    ----------
    given : Dataset or mapping of str to Dataset
        As `dvis.saes` or `dvis.latents` gives them.
    checkpoint : str or int, optional
        The checkpoint. By default all of one Dataset; of several the last that most of them have.
    *needs : str
        Variables that each must have.

    Raises
    ------
    TypeError, SchemaError
        When something is no Dataset of autoencoders.
    ValueError
        When there is none, or none at the checkpoint.
    """
    several = {name_in_layer(given): given} if isinstance(given, xr.Dataset) else dict(given)
    if not several:
        raise ValueError("No autoencoders are given; give a Dataset, or several by their names")
    there = {name: _complete(each, *needs) for name, each in several.items()}
    (first, *_) = there.values()
    layer = layer_of(first)
    if len(there) == 1:
        over = first
        if checkpoint is not None:
            over = at_checkpoint(first, checkpoint).expand_dims(CHECKPOINT)
        return Compared(
            rows=_by_checkpoint(over),
            is_over_training=True,
            title=f"{layer}, {next(iter(there))}",
            notes=(origin_of(first),),
        )
    label = _shared_checkpoint(there, checkpoint)
    rows = {
        name: each.sel({CHECKPOINT: label})
        for name, each in there.items()
        if label in each[CHECKPOINT].values
    }
    lacking = [name for name in there if name not in rows]
    left_out = f"without {label}: {', '.join(lacking)}" if lacking else ""
    return Compared(
        rows=rows,
        is_over_training=False,
        title=f"{layer}, {moment_name(next(iter(rows.values())))}",
        notes=(origin_of(first), left_out),
    )


def measured_at(dataset: xr.Dataset, checkpoint: str | int | None) -> xr.Dataset:
    """The Dataset at a checkpoint; by default at the last that is there.

    Raises
    ------
    ValueError
        When there is no such checkpoint, or nothing at it.
    """
    if checkpoint is None:
        return _complete(dataset).isel({CHECKPOINT: -1})
    at = at_checkpoint(dataset, checkpoint)
    if int(at["status"]) != Status.COMPLETE:
        raise ValueError(
            f"{at[CHECKPOINT].item()} is not there yet of {layer_of(dataset)}, "
            f"{name_in_layer(dataset)}; there are {', '.join(_labels(_complete(dataset)))}"
        )
    return at


def layer_of(dataset: xr.Dataset) -> str:
    """Whose activations they are of."""
    return str(dataset.attrs.get("layer", "layer"))


def _complete(dataset: xr.Dataset, *needs: str) -> xr.Dataset:
    """The Dataset at the checkpoints of which there is something."""
    require(
        dataset,
        *needs,
        "status",
        labels=(CHECKPOINT,),
        advice="Open autoencoders with dvis.saes, and what was found of them with dvis.latents",
    )
    if CHECKPOINT not in dataset.dims:
        dataset = dataset.expand_dims(CHECKPOINT)
    places = np.flatnonzero(dataset["status"].values == Status.COMPLETE)
    if not len(places):
        raise ValueError(
            f"No checkpoint of {layer_of(dataset)}, {name_in_layer(dataset)} is there yet; run "
            "`dvis sae train` or `dvis sae evaluate` again"
        )
    return dataset.isel({CHECKPOINT: places})


def _shared_checkpoint(there: Mapping[str, xr.Dataset], checkpoint: str | int | None) -> str:
    """The checkpoint of several: as asked, or the last of those that most of them have."""
    orders = [_labels(each) for each in there.values()]
    known = list(dict.fromkeys(label for order in orders for label in order))
    if isinstance(checkpoint, int | np.integer):
        return str(at_checkpoint(max(there.values(), key=_length), checkpoint)[CHECKPOINT].item())
    if checkpoint is not None:
        if checkpoint not in known:
            raise ValueError(did_you_mean("checkpoint", checkpoint, known, "these autoencoders"))
        return checkpoint
    counts = {label: sum(label in order for order in orders) for label in known}
    longest = max(orders, key=len)
    places = {label: longest.index(label) if label in longest else -1 for label in known}
    return max(known, key=lambda label: (counts[label], places[label]))


def _by_checkpoint(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """The Dataset at each checkpoint, by short names where these differ."""
    labels = _labels(dataset)
    names = moment_names(dataset)
    names = names if len(set(names)) == len(names) else labels
    return {
        name: dataset.sel({CHECKPOINT: label}) for name, label in zip(names, labels, strict=True)
    }


def _length(dataset: xr.Dataset) -> int:
    return dataset.sizes[CHECKPOINT]


def _labels(dataset: xr.Dataset) -> list[str]:
    return [str(label) for label in dataset[CHECKPOINT].values]
