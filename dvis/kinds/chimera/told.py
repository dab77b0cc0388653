"""What a report tells of chimeras: whether responses wait for their inputs or their own weights."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, VALUE
from dvis.kinds.chimera.analysis import waits_for_inputs
from dvis.kinds.chimera.pictures import cuts_before, last_layer
from dvis.kinds.chimera.read import CHIMERA_READER
from dvis.kinds.chimera.words import CUT
from dvis.kinds.parts import Asked
from dvis.kinds.told import Code, Section, ToldFigure, ToldTable, number
from dvis.kinds.told_births import axis_of, values_numbers
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, DEPTH, LAYER, Status

_GAINS = ("waits_for_inputs", "waits_for_weights", "difference")


def chimera_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of chimeras."""
    for entry, dataset in asked.groups(CHIMERA_READER):
        layer = last_layer(dataset)
        is_behind = dataset["cut_depth"] < dataset.sel({LAYER: layer})[DEPTH]
        if not bool(is_behind.any()) or not bool((dataset["status"] == Status.COMPLETE).any()):
            continue
        gains = waits_for_inputs(dataset).sel({LAYER: layer})
        opened = Code().then("chimera", str(asked.store), asked.run, entry.name)
        cuts = cuts_before(dataset.sel({LAYER: layer}))
        finding, rows = _told(gains, cuts)
        yield Section(
            title=f"Early and late halves put together · {entry.name}",
            finding=finding,
            texts=[
                "Networks were put together of the lower layers of one checkpoint and the upper "
                "layers of another. Where final lower layers help an early upper half more than "
                "final upper layers help an early lower half, responses wait for their inputs.",
                f"{gains.attrs.get('comment', '')}.",
            ],
            shown=[
                ToldFigure(
                    title=f"How halves of {layer} answer over training",
                    caption="Correlation with the final responses, a small picture for each cut. "
                    "Lines are medians over units. Grey is where 90 % of correlations of "
                    "different units of the layer lie.",
                    code=opened.then("dvis.chimera_curves", x=axis_of(dataset)),
                    numbers=partial(values_numbers, gains, _GAINS),
                ),
                ToldTable(
                    title="What closes the gap to the final responses",
                    columns=[
                        "cut",
                        "checkpoint",
                        "final inputs",
                        "final weights",
                        "difference, 95 %",
                        "difference, units exchanged",
                    ],
                    rows=rows,
                    note="1 closes the whole gap, 0 nothing of it. Beside it, the same with the "
                    "final responses of other units.",
                ),
            ],
        )


def _told(gains: xr.Dataset, cuts: list[str]) -> tuple[str, list[list[str]]]:
    """At how many checkpoints there is a difference beyond the control; and all of them."""
    rows: list[list[str]] = []
    sides, n_known = {1: 0, -1: 0}, 0
    for cut in cuts:
        of_cut = gains.sel({CUT: cut})
        for place, moment in enumerate(moment_names(gains)):
            at = of_cut.isel({CHECKPOINT: place})
            values = [float(at[name].sel({CONTROL: VALUE})) for name in _GAINS]
            if not np.isfinite(values[2]):
                continue
            n_known += 1
            low, high = at["difference_interval"].values.tolist()
            null = float(at["difference"].sel({CONTROL: at[CONTROL].values != VALUE}).squeeze())
            side = 1 if low > max(0, null) else -1 if high < min(0, null) else 0
            if side:
                sides[side] += 1
            rows.append(
                [
                    cut,
                    moment,
                    number(values[0], 2),
                    number(values[1], 2),
                    f"{number(values[2], 2)} ({number(low, 2)} to {number(high, 2)})",
                    number(null, 2),
                ]
            )
    if not n_known:
        return "The gap between early and final responses is too small to tell.", rows
    n_none = n_known - sides[1] - sides[-1]
    return (
        f"Of {n_known} pairs of a cut and a checkpoint, responses wait more for their inputs in "
        f"{sides[1]}, more for their own weights in {sides[-1]}, and in {n_none} the difference "
        "does not leave 0 and what exchanged units give (95 % over units)."
    ), rows
