"""What a page knows of a variant and a layer: documents of plain values and arrays.

What is shown in, mappings out. Numbers come from xarray and `dvis.analysis`, as they do for anybody
else.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.births import births
from dvis.analysis.ranking import rank, summary
from dvis.kinds.features.shown.selection import BLOCK, ShownLayer, ShownStore, ShownVariant
from dvis.kinds.features.shown.sheets import thumb_sheet
from dvis.kinds.features.tally import UnitProblem, unit_problems
from dvis.kinds.features.words import OF_REFERENCE, REFERENCE
from dvis.kinds.shown import checkpoint_documents, whole_numbers
from dvis.schema import (
    AUTOENCODER,
    CHANNEL,
    CHECKPOINT,
    LAYER,
    UNIT_DIMS,
    UNIT_NOTE,
    UNMATCHED,
    Status,
)

_N_EXAMPLES = 6
_QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
# Attributes of a Dataset that are no facts about the run: how it is stored, and the long table of
# parameters, of which each unit's document has its own.
_NOT_SHOWN = ("parameters", "coordinates", "dvis_kind")


def problems(store: ShownStore, most: int) -> tuple[list[dict[str, Any]], int]:
    """What was met at units, with their places where they are shown; and how many in all."""
    found = unit_problems(store.source)
    return [_linked(store, problem) for problem in found[:most]], len(found)


def variant(store: ShownStore, index: int) -> dict[str, Any]:
    """A variant of a run: its checkpoints and its layers."""
    shown = store.variant(index)
    dataset = shown.open()
    at_rows = dataset.isel({CHECKPOINT: shown.rows})
    layers = [shown.layer(layer) for layer in range(len(shown.layers))]
    return {
        "run": shown.entry.run,
        "variant": shown.entry.name,
        "unit": shown.unit,
        "list": str(dataset.attrs.get(AUTOENCODER, "")),
        "attrs": {key: v for key, v in dataset.attrs.items() if key not in _NOT_SHOWN},
        "checkpoints": checkpoint_documents(at_rows),
        "layers": [_layer_row(each, dataset) for each in layers],
        "image": {"height": shown.height, "width": shown.width},
        "thumb": asdict(thumb_sheet(shown)),
        "n_channels_shown": sum(len(each.channels) for each in layers),
    }


def layer(store: ShownStore, variant: int, index: int) -> dict[str, Any]:
    """A layer: activations and births of its channels, and what there is of each."""
    shown = store.layer(variant, index)
    return {
        "layer": shown.name,
        "channels": shown.channels,
        "status": [digits(row) for row in shown.status],
        **_numbers_of_layer(shown),
        "versions": [shown.version(row) for row in range(len(shown.variant.labels))],
        "suffix": thumb_sheet(shown.variant).suffix,
        "block": BLOCK,
        "unit_notes": _unit_notes(shown),
    }


def _unit_notes(shown: ShownLayer) -> list[str]:
    """What was written about each channel of a layer, "" where nothing was."""
    dataset = shown.open()
    if UNIT_NOTE not in dataset.coords:
        return [""] * len(shown.channels)
    return [str(text) for text in dataset[UNIT_NOTE].squeeze(LAYER).values.tolist()]


def _numbers_of_layer(shown: ShownLayer) -> dict[str, Any]:
    """Activations, births and growth of a layer's channels."""
    if not shown.channels:  # of which there is nothing yet, or which is just made again
        births_of_none: dict[str, list[Any]] = {
            name: [] for name in ("state", "step", "label", "position")
        }
        return {
            "activation": [[]] * len(shown.variant.rows),
            "birth": births_of_none,
            "growth": [],
        }
    dataset = shown.open()
    born = births_of(dataset).squeeze(LAYER)
    is_complete = dataset["status"] == Status.COMPLETE
    activation = dataset["activation"].where(is_complete).transpose(*UNIT_DIMS)
    return {
        "activation": activation.values[shown.variant.rows, 0],
        "birth": {
            "state": born["state"].values.tolist(),
            "step": whole_numbers(born["birth_step"].values),
            "label": born["birth_checkpoint"].values.tolist(),
            "position": [_position(shown.variant, place) for place in born["birth"].values],
            **told_of(born),
        },
        "growth": _growth(shown),
    }


def _growth(shown: ShownLayer) -> np.ndarray:
    """How far the activation of each channel of a layer rises, NaN where that is not known."""
    growth = np.full(len(shown.channels), np.nan)
    ranked = rank(_measured(shown.open()), by="growth")
    column = {channel: place for place, channel in enumerate(shown.channels)}
    growth[[column[int(c)] for c in ranked[CHANNEL].values]] = ranked["score"].values
    return growth


def examples_of(shown: ShownLayer) -> dict[str, Any]:
    """The channels of a layer that grow most; of one without growth, its first that have images."""
    chosen: list[int] = []
    if shown.channels:
        was_complete = (shown.status == Status.COMPLETE).any(axis=0)
        growth = np.where(was_complete, _growth(shown), np.nan)
        known = was_complete & np.isfinite(growth) if np.isfinite(growth).any() else was_complete
        order = np.argsort(-np.nan_to_num(growth), kind="stable")
        chosen = [place for place in order.tolist() if known[place]][:_N_EXAMPLES]
    channels = [shown.channels[place] for place in chosen]
    return {
        "channels": channels,
        "status": [digits(row) for row in shown.status[:, chosen]],
        "version": shown.version_of(shown.name, channels),
        "suffix": thumb_sheet(shown.variant).suffix,
    }


def drift(store: ShownStore, variant: int, index: int) -> dict[str, Any]:
    """Mean distances of a layer's images to those before and to the last, by channel.

    It reads all images of the layer, which takes seconds.
    """
    from dvis.analysis.drift import drift as drift_of  # imports dask.array

    shown = store.layer(variant, index)
    if not shown.channels:
        return {"to_last": [], "to_previous": [], "metric": "cosine"}
    at_rows = shown.open().isel({CHECKPOINT: shown.variant.rows})
    found = drift_of(at_rows).mean(CHECKPOINT).compute()
    found = found.reindex({LAYER: [shown.name], CHANNEL: shown.channels}).squeeze(LAYER)
    return {
        "to_last": found["to_last"].values,
        "to_previous": found["to_previous"].values,
        "metric": "cosine",
    }


def births_of(dataset: xr.Dataset) -> xr.Dataset:
    """Births over all checkpoints of the store, also of a page that shows some of them."""
    return births(_measured(dataset)).compute()


def _measured(dataset: xr.Dataset) -> xr.Dataset:
    """What births and growth are read off."""
    names = ("activation", "status", REFERENCE, *OF_REFERENCE)
    chosen = dataset[[name for name in names if name in dataset]]
    if chosen.attrs.get(UNMATCHED):  # of others at each checkpoint there are none
        chosen = chosen.assign(status=xr.zeros_like(chosen["status"]))
        chosen.attrs[UNMATCHED] = ""
    return chosen


def told_of(born: xr.Dataset) -> dict[str, str]:
    """What births were read off, and what that cannot tell."""
    return {name: str(born.attrs[name]) for name in ("measure", "comment")}


def birth_of(shown: ShownVariant, born: xr.Dataset) -> dict[str, Any]:
    """The birth of one unit."""
    return {
        "state": str(born["state"].item()),
        "label": str(born["birth_checkpoint"].item()),
        "position": _position(shown, born["birth"].item()),
        "step": float(born["birth_step"]),
        "earliest_step": float(born["earliest_step"]),
        "latest_step": float(born["latest_step"]),
        **told_of(born),
    }


def digits(status: np.ndarray) -> str:
    """Status of units as one digit each."""
    return "".join(map(str, status.tolist()))


def _linked(store: ShownStore, problem: UnitProblem) -> dict[str, Any]:
    """A problem and, where the page shows its unit, where that is."""
    selection = store.selection
    indices = {(e.run, e.name): index for index, e in enumerate(store.entries())}
    index = indices.get((problem.run, problem.variant))
    is_shown = (
        index is not None
        and (not selection.layers or problem.layer in selection.layers)
        and (not selection.channels or problem.channel in selection.channels)
    )
    if index is None or not is_shown:
        return {"text": problem.text}
    place = asdict(problem)
    if problem.checkpoint not in store.variant(index).labels:
        place["checkpoint"] = None
    return place


def _layer_row(shown: ShownLayer, dataset: xr.Dataset) -> dict[str, Any]:
    """A layer's line in the table of layers."""
    n_units = {f"n_{status.name.lower()}": int((shown.status == status).sum()) for status in Status}
    rows = shown.variant.rows
    unknown = np.full(len(rows), np.nan)
    columns: dict[str, Any] = dict.fromkeys((*_QUARTILES, "born_share"), unknown)
    if shown.channels:
        units = _measured(dataset).sel({LAYER: [shown.name], CHANNEL: shown.channels})
        born = births_of(units)
        # Beside which the page draws the activations of units.
        of_layer = summary(units, born, measure="raw").squeeze(LAYER).isel({CHECKPOINT: rows})
        columns = {
            name: of_layer["activation"].sel(quantile=quantile).values
            for name, quantile in _QUARTILES.items()
        } | {"born_share": of_layer["born_share"].values, "birth_measure": born.attrs["measure"]}
    return {
        "name": shown.name,
        "index": shown.index,
        "n_channels": len(shown.channels),
        **n_units,
        "complete": (shown.status == Status.COMPLETE).sum(axis=1).tolist(),
        "examples": examples_of(shown),
        **columns,
    }


def _position(shown: ShownVariant, place: int) -> int | None:
    """Number of a checkpoint on this page by its place in the store, None where it has none."""
    return shown.rows.index(int(place)) if int(place) in shown.rows else None
