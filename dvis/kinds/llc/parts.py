"""The LLC's part of the page: its curve over training, of a run."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.settling import are_coarse
from dvis.kinds.llc.joined import estimates_by_gamma, shown_entry
from dvis.kinds.llc.words import EPSILON, GAMMA, SHOWN_ERRORS
from dvis.kinds.parts import Asked, Curves, Line
from dvis.schema import CHECKPOINT, counted


def llc_curve(asked: Asked) -> Iterator[Curves]:
    """The LLC of a run's checkpoints with its error, as `dvis.open` has it and at other gammas."""
    entry = shown_entry(asked.contents, asked.run)
    if asked.unit is not None or entry is None:
        return
    found = estimates_by_gamma(asked.store, asked.contents, entry)
    if found is None:
        return
    found = found.load()
    yield Curves(
        title=f"Local learning coefficient, {_settings(found)}",
        checkpoints=[str(label) for label in found[CHECKPOINT].values],
        lines=[
            _line(found.isel({GAMMA: place}), is_shown=place == 0, is_alone=found.sizes[GAMMA] == 1)
            for place in range(found.sizes[GAMMA])
        ],
        band=f"± {SHOWN_ERRORS} standard errors",
        remark="chains diverged and do not count, have not settled, or took coarse steps",
    )


def _line(of_gamma: xr.Dataset, *, is_shown: bool, is_alone: bool) -> Line:
    llc, error = of_gamma["llc"].values, of_gamma["llc_se"].values
    is_coarse = are_coarse(of_gamma["step_bias"].values, error)
    states = zip(
        of_gamma["n_diverged"].values,
        np.isfinite(llc) & ~of_gamma["is_settled"].values,
        np.isfinite(llc) & is_coarse,
        strict=True,
    )
    return Line(
        label="LLC" if is_alone else f"LLC at γ = {of_gamma[GAMMA].item():g}",
        values=llc,
        low=llc - SHOWN_ERRORS * error,
        high=llc + SHOWN_ERRORS * error,
        remarks=[
            _said(int(n_diverged), is_unsettled=bool(is_unsettled), is_coarse=bool(is_coarse))
            for n_diverged, is_unsettled, is_coarse in states
        ],
        beside_slider=f"LLC ({_settings(of_gamma)})" if is_shown else "",
    )


def _settings(of_cells: xr.Dataset) -> str:
    """Step size and pull to the weights, without which an LLC says little."""
    gammas = ", ".join(f"{gamma:g}" for gamma in np.atleast_1d(of_cells[GAMMA].values))
    return f"γ = {gammas}, ε = {of_cells[EPSILON].item():g}"


def _said(n_diverged: int, *, is_unsettled: bool, is_coarse: bool) -> str:
    diverged = f"{counted(n_diverged, 'chain')} diverged" if n_diverged else ""
    doubts = ("not settled" if is_unsettled else "", "coarse steps" if is_coarse else "")
    return ", ".join(filter(None, (diverged, *doubts)))
