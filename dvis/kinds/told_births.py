"""What reports say of births, of feature images and of responses alike: counts, order, its test."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dvis.analysis.births import ABSENT, BORN, NEVER, UNSTABLE
from dvis.analysis.order import birth_order
from dvis.analysis.resampling import BOUND
from dvis.kinds.parts import Asked
from dvis.kinds.told import LEVEL, Caveat, Code, ToldTable, number, p_text
from dvis.plots.time_axis import XAxis, moment_names
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, counted

_OF_IMAGES = 6  # dims of images of units: checkpoint, layer, channel, y, x, rgb
_MEASURED = {
    "standardised": "activations in standard deviations of the unit's answers to reference images, "
    "measured at the same checkpoint, so that a gain of all layers below does not count",
    "correlation": "the correlation of the unit's responses to fixed images with its responses at "
    "the end, which has no scale",
    "raw": "raw numbers as they are: nobody can tell what the unit learnt from the gain of all "
    "layers below it",
}


def axis_of(dataset: xr.Dataset) -> XAxis:
    """What pictures run over: steps where they tell checkpoints apart, else checkpoints."""
    steps = np.atleast_1d(dataset["step"].values).astype(float)
    return "step" if np.isfinite(steps).all() and len(set(steps)) > 1 else "checkpoint"


def images_beside(asked: Asked, variant: str | None = None) -> Code | None:
    """What opens images of units to be shown beside: a variant, or the run's default; or none."""
    there = [
        entry.name
        for entry in asked.contents.entries
        if entry.run == asked.run and _n_dims(asked, f"{entry.group}/image") == _OF_IMAGES
    ]
    if not there or variant not in (None, *there):
        return None
    return Code().then("open", str(asked.store), asked.run, variant=variant)


def _n_dims(asked: Asked, array: str) -> int:
    """How many dims an array of the store has, 0 where there is none by that path."""
    return len(asked.contents.arrays[array].shape) if array in asked.contents.arrays else 0


def is_over_training(dataset: xr.Dataset) -> bool:
    """Whether there is more than one checkpoint."""
    return bool(dataset.sizes.get(CHECKPOINT, 1) > 1)


def criterion_text(births: xr.Dataset) -> str:
    """What counts as a birth, and of which numbers."""
    share = float(births.attrs["fraction"])
    measured = _MEASURED.get(str(births.attrs["measure"]), str(births.attrs["measure"]))
    return (
        "A unit is born at the first checkpoint from which it stays at or above "
        f"{100 * share:g} % of its own final level. Levels are {measured}."
    )


def count_states(births: xr.Dataset) -> dict[str, int]:
    """How many units are born, never born, unstable; and how many there are."""
    state = births["state"].values
    found = {name: int((state == name).sum()) for name in (BORN, NEVER, UNSTABLE)}
    return {**found, "all": int((state != ABSENT).sum())}


def count_sentence(births: xr.Dataset) -> str:
    """How many of the units that were measured were born, and how many of them unseen."""
    n = count_states(births)
    others = {"never rose": n[NEVER], "rose but did not stay, or too late to tell": n[UNSTABLE]}
    text = f"{n[BORN]} of {counted(n['all'], 'unit')} were born"
    told = [f"{number} {what}" for what, number in others.items() if number]
    text = "; ".join([text, *told]) + "."
    n_at_first = int(((births["state"] == BORN) & births["earliest_step"].isnull()).sum())
    if n_at_first:
        text += (
            f" {n_at_first} of those born were up already at the first checkpoint at which they "
            "were measured, so that nobody saw them come about."
        )
    return text


def order_of(births: xr.Dataset) -> xr.Dataset | None:
    """The order of births of the layers that have units, None of fewer than two layers."""
    there = births["state"] != ABSENT
    layers = births[LAYER].values[there.any(CHANNEL).values]
    return birth_order(births.sel({LAYER: layers})) if len(layers) > 1 else None


def order_sentence(order: xr.Dataset | None) -> str:
    """Whether layers are born in an order, first of all whether that is more than chance."""
    if order is None:
        return "Whether layers are born in an order cannot be told of one layer."
    correlation, p_value = float(order["correlation"]), float(order["p_value"])
    if np.isnan(correlation):
        return (
            "Whether layers are born in an order cannot be told: all births, or all units that "
            "were born, are of one checkpoint or layer."
        )
    effect = f"rank correlation of birth and depth {number(correlation, 2)}"
    interval = _range(order["correlation_interval"])
    effect += f" (95 % interval {interval})" if interval else ""
    if np.isnan(p_value):
        return (
            f"Whether layers are born in an order cannot be told: {order.attrs['why_no_p']}. "
            f"As it stands, {effect}."
        )
    null = f"whole layers in another order give {_range(order['null_correlation'])} in 95 %"
    if p_value > LEVEL:
        return f"Births show no order of layers beyond chance: {effect}; {null}, {p_text(p_value)}."
    later = "Later" if correlation > 0 else "Earlier"
    return f"{later} layers are born later, beyond chance: {effect}; {null}, {p_text(p_value)}."


def _range(bounds: xr.DataArray) -> str:
    low, high = bounds.transpose(BOUND).values
    return f"{number(low, 2)} to {number(high, 2)}" if np.isfinite([low, high]).all() else ""


def layer_table(births: xr.Dataset, dead: xr.DataArray | None = None) -> ToldTable:
    """Of each layer how many units were born and when, with quartiles."""
    rows = []
    for layer in births[LAYER].values.tolist():
        of_layer = births.sel({LAYER: layer})
        n = count_states(of_layer)
        if not n["all"]:
            continue
        steps = of_layer["birth_step"].values[of_layer["state"].values == BORN]
        quartiles = (
            np.quantile(steps, (0.25, 0.5, 0.75))
            if np.isfinite(steps).all() and len(steps)
            else None
        )
        when = "–" if quartiles is None else " / ".join(number(each) for each in quartiles)
        row = [str(layer), str(n["all"]), str(n[BORN]), str(n[NEVER]), str(n[UNSTABLE])]
        row += [str(int(dead.sel({LAYER: layer}).sum()))] if dead is not None else []
        rows.append([*row, when])
    columns = ["layer", "units", "born", "never", "unstable"]
    columns += ["dead"] if dead is not None else []
    return ToldTable(
        title="Births by layer",
        columns=[*columns, "step of birth: 25 / 50 / 75 %"],
        rows=rows,
        note="Of the units born. A birth is known only to lie between two checkpoints that follow "
        "each other.",
    )


def births_numbers(births: xr.Dataset) -> pd.DataFrame:
    """Births of units in rows."""
    names = ["birth_step", "earliest_step", "latest_step", "state", "first_level", "final_level"]
    table = births[[name for name in names if name in births]].drop_vars(
        [name for name in births.coords if name not in (LAYER, CHANNEL)]
    )
    rows = table.to_dataframe().reset_index()
    return rows[rows["state"] != ABSENT].reset_index(drop=True)


def births_caveats(births: xr.Dataset, called: str) -> Iterator[Caveat]:
    """What speaks against the births."""
    if births.attrs["measure"] == "raw":
        yield Caveat(
            f"Births of {called} are read off raw numbers, which multiply with depth: gains that "
            "grow in all layers at once would look like an order of layers. "
            "`dvis visualize` measures reference images, of which births without a scale are made."
        )


def values_numbers(values: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Variables over checkpoints in rows, with what checkpoints are called."""
    there = [name for name in names if name in values]
    table = values[there]
    table = table.drop_vars([name for name in table.coords if name not in table.dims])
    if not table.dims:
        return pd.DataFrame()
    rows = table.to_dataframe().reset_index()
    if CHECKPOINT in rows:
        called = dict(zip(values[CHECKPOINT].values.tolist(), moment_names(values), strict=True))
        rows.insert(0, "moment", [called[label] for label in rows[CHECKPOINT].tolist()])
    return rows.dropna(subset=there, how="all").reset_index(drop=True)
