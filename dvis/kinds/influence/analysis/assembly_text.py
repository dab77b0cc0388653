"""What assembly found, as a text for people to read."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.influence.analysis.assembly import STATISTIC
from dvis.kinds.influence.words import LAYER_FROM, LAYER_TO
from dvis.schema import counted

_COLUMNS = ("", "effect", "95 % interval", "null, 95 %", "p")
_ALL = "all pairs of layers"


def assembly_table(result: xr.Dataset) -> str:
    """What `assembly` found: of each statistic the pooled effect, then that of each pair of layers.

    Parameters
    ----------
    result : Dataset
        What `assembly` gave.

    Returns
    -------
    str
        Lines: a heading and a table for each statistic, and below it what it cannot tell.
    """
    return "\n\n".join(_block(result.sel({STATISTIC: name})) for name in result[STATISTIC].values)


def _block(found: xr.Dataset) -> str:
    rows = [_COLUMNS, *_rows(found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    why = str(found["why_no_p"].item())
    return "\n".join(
        [
            f"{found[STATISTIC].item()}: {found['what'].item()}",
            *lines,
            f"  Null: {found['exchanged'].item()}. {found['cannot_tell'].item()}.",
            *([f"  No p: {why}."] if why else []),
        ]
    )


def _rows(found: xr.Dataset) -> Iterator[tuple[str, ...]]:
    yield _row(_ALL, found, "pooled_")
    for source in found[LAYER_FROM].values:
        for target in found[LAYER_TO].values:
            of_pair = found.sel({LAYER_FROM: source, LAYER_TO: target})
            n_sources, n_targets = int(of_pair["n_sources"]), int(of_pair["n_targets"])
            if n_sources:
                told = f"{counted(n_sources, 'source')}, {counted(n_targets, 'target')}"
                yield _row(f"{source} -> {target} ({told})", of_pair, "")


def _row(name: str, found: xr.Dataset, whose: str) -> tuple[str, ...]:
    effect, p_value = float(found[f"{whose}effect"]), float(found[f"{whose}p_value"])
    bands = (found[f"{whose}effect_interval"].values, found[f"null_{whose}effect"].values)
    return name, _number(effect), *map(_band, bands), "-" if np.isnan(p_value) else f"{p_value:.3f}"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _band(bounds: np.ndarray) -> str:
    low, high = bounds
    return "-" if np.isnan([low, high]).any() else f"{low:.3f} to {high:.3f}"
