"""Some attributes and layers of a Dataset, as pictures and the page show them."""

from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.resampling import BOUND
from dvis.analysis.trajectories import of_complete_units
from dvis.kinds.attributes.analysis import ADVICE
from dvis.kinds.attributes.words import ATTRIBUTE, QUESTIONS, SCORE
from dvis.plots.selection import labels_of, listed, origin_of
from dvis.schema import CHECKPOINT, LAYER, did_you_mean


def selected(dataset: xr.Dataset, attribute: Any, layer: Any) -> xr.Dataset:
    """Some attributes and layers in memory, NaN where nothing is complete.

    Raises
    ------
    ValueError
        When there is no such attribute or layer.
    SchemaError
        When the Dataset has no attributes.
    """
    bands = [f"null_{question}" for question in QUESTIONS]
    labels = (CHECKPOINT, LAYER, ATTRIBUTE)
    names = (SCORE, "null_score", "pixel_tells", "response", *QUESTIONS, *bands)
    require(dataset, *names, labels=labels, advice=ADVICE)
    for dim in labels:
        dataset = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    asked: dict[str, list[Any]] = {}
    for dim, given in ((ATTRIBUTE, attribute), (LAYER, layer)):
        wanted = listed(dataset, dim, given)
        if wanted is not None:
            there = labels_of(dataset, dim)
            for each in wanted:
                if each not in there:
                    raise ValueError(did_you_mean(dim, str(each), there, origin_of(dataset)))
            asked[dim] = wanted
    shown = dataset.sel(asked)
    counted = {
        name: of_complete_units(shown, values)
        for name, values in shown.data_vars.items()
        if {*labels} <= {*values.dims} and values.dtype.kind == "f"
    }
    return shown.assign(counted).load()


def null_band(of_attribute: xr.Dataset, question: str) -> tuple[np.ndarray, np.ndarray]:
    """Between which the null lies of any of the layers, (checkpoint,) each."""
    edges = of_attribute[f"null_{question}"].transpose(BOUND, LAYER, CHECKPOINT)
    low, high = edges.isel({BOUND: 0}).min(LAYER), edges.isel({BOUND: 1}).max(LAYER)
    return low.values, high.values


def titled(shown: xr.Dataset, attribute: str) -> str:
    """An attribute and, in a second line, its two values."""
    if "first_value" not in shown.coords:
        return attribute
    values = (
        str(shown[f"{side}_value"].sel({ATTRIBUTE: attribute}).item())
        for side in ("first", "second")
    )
    return f"{attribute.partition(':')[0]}\n{', '.join(values)}"
