"""What a report tells of chains of autoencoders, by depth, and of latents tracked over training."""

import numpy as np
import xarray as xr

from dvis.analysis.resampling import BOUND
from dvis.kinds.parts import Asked
from dvis.kinds.saes.chains.analysis import STATISTIC, chain_trends
from dvis.kinds.saes.chains.words import DEPTH, ON, READ_WITH, SEED, STATISTICS
from dvis.kinds.saes.read import name_of
from dvis.kinds.saes.tracks.words import METHOD
from dvis.kinds.saes.words import is_chains, is_tracks
from dvis.kinds.told import LEVEL, Caveat, Code, Section, ToldFigure, ToldTable, number, p_text
from dvis.kinds.told_births import values_numbers
from dvis.schema import CHECKPOINT, Status, counted
from dvis.store.contents import Entry

_NUMBERS = (*STATISTICS, "n_latents")


def chain_section(asked: Asked, entry: Entry, found: xr.Dataset) -> Section | None:
    """Statistics of a chain's levels by depth, with their trends and tests; None without any."""
    if not is_chains(entry.attrs) or not bool((found["status"] == Status.COMPLETE).any()):
        return None
    layer, name, on = str(entry.attrs["layer"]), name_of(entry), str(entry.attrs[ON])
    other = str(entry.attrs[READ_WITH]) or None
    opened = Code().then("chains", str(asked.store), layer, name, asked.run, on=on, read_with=other)
    at = found.isel({CHECKPOINT: found["status"].values == Status.COMPLETE})
    at = at[[each for each in at if each in _NUMBERS or str(each).startswith("null_")]]
    at = at.isel({CHECKPOINT: -1}).load()
    trends = chain_trends(at)
    return Section(
        title=f"Autoencoders on autoencoders · {layer}, {name}",
        finding=_trend_sentence(trends, at.sizes[DEPTH], at.sizes[SEED]),
        texts=[
            f"Each level is an autoencoder of the {'codes' if on == 'codes' else 'directions'} "
            "of the level above it. Beside each number stands what the same gives of what holds "
            "no structure, and of shuffled labels."
        ],
        shown=[
            ToldFigure(
                title="Numbers of each level, by depth",
                caption="Thin lines are seeds, the thick one their mean; grey is the null. The "
                "line above each panel is its trend over the levels that were trained.",
                code=opened.then("dvis.chain_curves"),
                numbers=lambda: values_numbers(at, _NUMBERS),
            ),
            _trend_table(trends),
        ],
        caveats=[
            Caveat(
                f"Chains of {layer}, {name}: each of {trends.sizes[STATISTIC]} numbers is "
                "tested by itself; of twenty, one is below 0.05 by chance.",
                "note",
            )
        ],
    )


def _trend_sentence(trends: xr.Dataset, n_levels: int, n_seeds: int) -> str:
    p_values = trends["p_value"].values.ravel()
    chains = f"{counted(n_seeds, 'chain')} of {counted(n_levels, 'level')}"
    if not np.isfinite(p_values).any():
        return (
            f"Whether anything rises or falls with depth cannot be told: {chains} could give no "
            f"p below {LEVEL}."
        )
    bound = LEVEL / np.isfinite(p_values).sum()
    names = [str(each) for each in trends[STATISTIC].values[np.nan_to_num(p_values, nan=1) < bound]]
    if not names:
        return f"Nothing rises or falls with depth beyond chance, of {chains}."
    return (
        f"With depth there changes beyond chance, also after counting all numbers that were "
        f"tested: {', '.join(names)} ({chains})."
    )


def _trend_table(trends: xr.Dataset) -> ToldTable:
    rows = []
    for name in trends[STATISTIC].values.tolist():
        at = trends.sel({STATISTIC: name}).squeeze()
        null = at.get("null_correlation")
        band = "–"
        if null is not None and BOUND in null.dims and np.isfinite(null.values).all():
            band = " to ".join(number(each, 2) for each in null.values.tolist())
        p_value = float(at["p_value"])
        p_words = p_text(p_value) if np.isfinite(p_value) else "none possible"
        rows.append([str(name), number(float(at["correlation"]), 2), band, p_words])
    return ToldTable(
        title="Trends with depth",
        columns=["number", "rank correlation with depth", "null, 95 %", "p"],
        rows=rows,
    )


def track_section(asked: Asked, entry: Entry, found: xr.Dataset) -> Section | None:
    """Latents over checkpoints, beside how far two seeds are apart; None without any."""
    if not is_tracks(entry.attrs) or not bool((found["status"] == Status.COMPLETE).any()):
        return None
    layer, name, method = str(entry.attrs["layer"]), name_of(entry), str(entry.attrs[METHOD])
    opened = Code().then("tracks", str(asked.store), layer, name, asked.run, method=method)
    scalars = [
        str(name)
        for name, each in found.data_vars.items()
        if each.dims == (CHECKPOINT,) and each.dtype.kind in "fi"
    ]
    return Section(
        title=f"Latents over training · {layer}, {name}",
        texts=[
            f"Latents of neighbouring checkpoints were linked by the method {method!r}. Links "
            "are made of any two autoencoders; what two seeds of one checkpoint give is the null, "
            "and what does not leave it is no finding."
        ],
        shown=[
            ToldFigure(
                title="Tracks of latents",
                caption="A band is a track, as wide as it fires often. Below, how many begin and "
                "end at each checkpoint, and how far they drift; grey is how far two seeds of one "
                "checkpoint are apart.",
                code=opened.then("dvis.sae_tracks"),
                numbers=lambda: values_numbers(found, scalars),
            )
        ],
    )
