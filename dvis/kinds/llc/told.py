"""What a report tells of the local learning coefficient: its curve, its chains, its doubts."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.settling_words import doubts_of
from dvis.kinds.llc.joined import estimates_by_gamma, shown_entry
from dvis.kinds.llc.read import CHAIN_READER
from dvis.kinds.llc.words import DRAW, EPSILON, GAMMA, PARAMETERS
from dvis.kinds.parts import Asked
from dvis.kinds.told import Caveat, Code, Section, ToldFigure, ToldTable, number
from dvis.kinds.told_births import axis_of, values_numbers
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, counted

_WHAT = (
    "The local learning coefficient (LLC) says how degenerate the loss is around a checkpoint's "
    "weights: the lower, the more directions there are in which the weights can move at little "
    "cost. It is estimated by chains that sample weights near the checkpoint, held there by a pull "
    "gamma; it depends on gamma and on the step size epsilon, which belong to the number. The "
    "error is over chains and draws, not over training runs."
)
_ERRORS = 2.0  # standard errors of a difference from which on it is told as one
_NUMBERS = ("llc", "llc_se", "is_settled", "rhat", "ess", "n_chains", "n_diverged", "step_bias")


def llc_sections(asked: Asked) -> Iterator[Section]:
    """The LLC that is shown of the run."""
    entry = shown_entry(asked.contents, asked.run)
    if entry is None:
        return
    found = estimates_by_gamma(asked.store, asked.contents, entry)
    if found is None:
        return
    found = found.load()
    traces = asked.group(CHAIN_READER, entry)
    n_draws = traces.sizes[DRAW] - int(found.attrs["burn_in"])
    opened = Code().then("llc", str(asked.store), asked.run, entry.name)
    cell = {name: found[name].item() for name in (PARAMETERS, EPSILON) if name in found.coords}
    yield Section(
        title="Local learning coefficient",
        finding=_finding(found.isel({GAMMA: 0})),
        texts=[_WHAT],
        shown=[*_figures(asked, entry.name, found, opened, cell), _table(found)],
        caveats=list(_caveats(found, n_draws)),
    )


def _figures(
    asked: Asked, name: str, found: xr.Dataset, opened: Code, cell: dict[str, object]
) -> Iterator[ToldFigure]:
    x = axis_of(found)
    if found.sizes[CHECKPOINT] > 1:
        yield ToldFigure(
            title="LLC over training",
            caption="The estimate at each checkpoint with its standard error, a curve for each "
            "gamma. Hollow or crossed marks are not to be relied on: their chains have not "
            "settled, disagree or diverged, as the note in the picture says.",
            code=opened.then("dvis.llc_over_training", x=x),
            numbers=lambda: values_numbers(found, _NUMBERS),
        )
    traces = Code().then("llc_traces", str(asked.store), asked.run, name)
    label, gamma = str(found[CHECKPOINT].values[-1]), float(found[GAMMA].values[0])
    last = traces.then("sel", {CHECKPOINT: label, GAMMA: gamma, **cell})
    yield ToldFigure(
        title=f"Chains of {moment_names(found)[-1]}",
        caption="What the chains of the last checkpoint did, draw by draw. Chains that have "
        "settled hover about one level and agree with each other.",
        code=last.then("dvis.llc_chains"),
        numbers=lambda: values_numbers(found.isel({CHECKPOINT: [-1]}), _NUMBERS),
    )


def _table(found: xr.Dataset) -> ToldTable:
    rows = []
    for place, moment in enumerate(moment_names(found)):
        at = found.isel({CHECKPOINT: place})
        rows.append([moment, *(value_text(at.isel({GAMMA: i})) for i in range(found.sizes[GAMMA]))])
    return ToldTable(
        title="LLC by checkpoint",
        columns=["checkpoint", *(f"gamma {gamma:g}" for gamma in found[GAMMA].values)],
        rows=rows,
        note=f"± one standard error. Epsilon {float(found[EPSILON]):g}, "
        f"n beta {number(float(found.attrs['nbeta']))}, {found.attrs['burn_in']} draws of burn-in.",
    )


def value_text(at: xr.Dataset) -> str:
    """An LLC with its error, and whether it counts."""
    value = float(at["llc"])
    diverged = int(at["n_diverged"])
    if not np.isfinite(value):
        return f"none: {counted(diverged, 'chain')} diverged" if diverged else "none"
    text = f"{number(value)} ± {number(float(at['llc_se']), 2)}"
    text += "" if bool(at["is_settled"]) else ", not settled"
    return f"{text}, {counted(diverged, 'chain')} diverged" if diverged else text


def _finding(found: xr.Dataset) -> str:
    """Where the LLC begins and ends, told as a change only where that exceeds its errors."""
    gamma = f"at gamma {float(found[GAMMA]):g}, epsilon {float(found[EPSILON]):g}"
    names = moment_names(found)
    known = np.flatnonzero(np.isfinite(found["llc"].values))
    if not len(known):
        return f"No LLC could be estimated {gamma}: no chain counts."
    settled = known[found["is_settled"].values[known]]
    n_text = f"{len(settled)} of {counted(len(known), 'LLC')} have settled chains {gamma}."
    if not len(settled):
        return (
            f"No LLC of this run can be relied on: {n_text} The numbers are shown with that mark."
        )
    last = settled[-1]
    at_last = f"{names[last]}: {value_text(found.isel({CHECKPOINT: last}))}"
    if len(settled) < 2:
        return f"{n_text} The LLC is, at {at_last}; of one settled value no change can be told."
    first = settled[0]
    values, errors = found["llc"].values[[first, last]], found["llc_se"].values[[first, last]]
    at_first = f"{names[first]}: {value_text(found.isel({CHECKPOINT: first}))}"
    apart = abs(values[1] - values[0]) / np.sqrt((errors**2).sum())
    both = f"at {at_first}; at {at_last}"
    if not apart > _ERRORS:
        return f"{n_text} From first to last it does not differ by more than its errors: {both}."
    verb = "rises" if values[1] > values[0] else "falls"
    return f"{n_text} Among these it {verb} by more than its errors from first to last: {both}."


def _caveats(found: xr.Dataset, n_draws: int) -> Iterator[Caveat]:
    n_diverged, n_missing = (int(found[name].sum()) for name in ("n_diverged", "n_missing"))
    n_all = n_diverged + n_missing + int(found["n_chains"].sum())
    if n_diverged:
        yield Caveat(
            f"{n_diverged} of {counted(n_all, 'chain')} diverged and do not count.", "wrong"
        )
    if n_missing:
        yield Caveat(f"{n_missing} of {counted(n_all, 'chain')} are missing or failed.", "wrong")
    for line in doubts_of(found, n_draws):
        yield Caveat(f"LLCs {line}.")
    if found.sizes[GAMMA] < 2:
        yield Caveat("The LLC is known at one gamma alone; how far it depends on that is not.")
    below = int((found["llc"] < 0).sum())
    if below:
        yield Caveat(
            f"{below} of {counted(int(found['llc'].notnull().sum()), 'LLC')} are below 0: the loss "
            "falls nearby, so these checkpoints are no minima, of which the LLC is defined.",
            "note",
        )
