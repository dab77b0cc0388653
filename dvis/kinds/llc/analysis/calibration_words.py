"""What a calibration says: why a cell is recommended, what is wrong with one, what to try next."""

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.settling_words import why_too_short
from dvis.kinds.llc.words import EPSILON, GAMMA
from dvis.schema import counted

GOOD, NOT_SETTLED, NOT_TESTED = "good", "not settled", "plateau not tested"
# What a cell must be, and what it is called where it is not; the first that fails says it.
CRITERIA = {
    "is_measured": "not measured",
    "is_stable": "diverged",
    "is_above_start": "below the start",
    "is_converged": "not converged",
    "is_accepted": "low acceptance",
    "is_on_plateau": "off the plateau",
}
# What a cell that passes these may lack; the worse first.
DOUBTS = {"is_settled": NOT_SETTLED, "is_plateau_tested": NOT_TESTED}
_BUT = {NOT_TESTED: "none with its plateau tested", NOT_SETTLED: "none of them settled"}
_FIRST = {NOT_SETTLED: "nearest to settled"}

Place = tuple[int, int]


def why(table: xr.Dataset, place: Place, target_acceptance: float) -> str:
    """Why the recommended cell is the one, with its figures, and what speaks against it."""
    verdict = str(table["verdict"].values[place])
    n_alike, n = int((table["verdict"] == verdict).sum()), table["verdict"].size
    cells = "cell" if n_alike == 1 else "cells"
    alike = f"{n_alike} good {cells} among {n}"
    if verdict != GOOD:
        pass_ = "passes" if n_alike == 1 else "pass"
        alike = f"{n_alike} {cells} among {n} that {pass_}, {_BUT[verdict]}"
    figures = (
        f"{named(table, place)} is the {_FIRST.get(verdict, 'largest step')} of {alike}: "
        f"LLC {_figure(table, place)}{_beside(table, place)}, its halves differ by "
        f"{_figure(table, place, 'drift')}, R-hat {float(table['rhat'][place]):.2f}, "
        f"{_acceptance(table, place, target_acceptance)}, none of "
        f"{_chains(int(table['n_chains'][place]))} diverged."
    )
    return f"{figures}{_doubt(table, place, verdict)}"


def _doubt(table: xr.Dataset, place: Place, verdict: str) -> str:
    """What is not known of a cell that passes."""
    if verdict == NOT_TESTED:
        return (
            " The plateau was not tested: no epsilon beside it is as good at this gamma. Try "
            f"{_nearer(table, place)} to see whether the LLC depends on the step."
        )
    if verdict == NOT_SETTLED:
        lack = why_too_short(
            float(table["relaxation"][place]), table.attrs["burn_in"], int(table["n_draws"][place])
        )
        return (
            f" But it is not settled, for {lack}. Until then flat directions are still spreading, "
            "and longer chains may give a higher LLC: compare it only with LLCs of the same "
            "epsilon, gamma, burn-in and draws."
        )
    return ""


def what_to_try(table: xr.Dataset, target_acceptance: float) -> str:
    """Why no cell is good, by the figures of the one that comes nearest, and what to do next."""
    verdicts = table["verdict"].values
    rank = np.array([list(CRITERIA.values()).index(verdict) for verdict in verdicts.flat])
    if not rank.max():
        return "No cell is measured yet; run the calibration until its chains are done."
    verdict = list(CRITERIA.values())[rank.max()]
    places = np.argwhere(verdicts == verdict)
    # Too large a step is nearest where it is smallest, all else where it mixes best.
    is_too_large = verdict in ("diverged", "low acceptance")
    row, column = places[0 if is_too_large else np.lexsort((-places[:, 1], places[:, 0]))[-1]]
    place = int(row), int(column)
    if verdict == "diverged":
        return (
            f"Each of the {(rank > 0).sum()} measured cells has diverged chains; take epsilon "
            f"below {float(table[EPSILON][place[0]]):g}."
        )
    problem = _problem(table, place, table, target_acceptance)
    return f"No cell is good. The nearest is {named(table, place)}: {problem}."


def does_not_hold(cell: xr.Dataset, grid: xr.Dataset, target_acceptance: float) -> str:
    """What is wrong with a cell, (epsilon: 1, gamma: 1), of a grid, and which way to go."""
    problem = _problem(cell, (0, 0), grid, target_acceptance)
    n_chains = int(cell["n_chains"].item() + cell["n_diverged"].item())
    return f"{named(cell, (0, 0))} does not hold with {_chains(n_chains)}: {problem}."


def _problem(table: xr.Dataset, place: Place, grid: xr.Dataset, target_acceptance: float) -> str:
    """Figures that rule a cell out, and what to do next, of epsilons and gammas of a grid."""
    verdict = str(table["verdict"].values[place])
    epsilon, gamma = (
        float(table[name][i]) for name, i in zip((EPSILON, GAMMA), place, strict=True)
    )
    largest = float(grid[GAMMA].max())
    if verdict == "not measured":
        return "its chains are not measured; run again"
    if verdict == "diverged":
        return f"{int(table['n_diverged'][place])} diverged; take epsilon below {epsilon:g}"
    return {
        "below the start": f"its LLC is {_figure(table, place)}, for chains find a lower loss than "
        f"the checkpoint's; take gamma above {largest:g} or a later checkpoint",
        "not converged": f"its halves differ by {_figure(table, place, 'drift')} and R-hat is "
        f"{float(table['rhat'][place]):.2f}; take more draws and burn-in, or "
        f"{_further(grid, epsilon, gamma)}, or gamma above {largest:g}",
        "low acceptance": f"{_acceptance(table, place, target_acceptance)}; take epsilon below "
        f"{epsilon:g}, with more draws",
        "off the plateau": f"LLC {_figure(table, place)}{_beside(table, place)}; take epsilons "
        f"nearer to {epsilon:g}, such as {_nearer(table, place)}, and more draws",
    }[verdict]


def _further(grid: xr.Dataset, epsilon: float, gamma: float) -> str:
    """Which larger epsilons are left to try."""
    epsilons = grid[EPSILON].values
    larger = int(np.searchsorted(epsilons, epsilon, side="right"))
    if larger == len(epsilons):
        return "a larger epsilon"
    if str(grid["verdict"].isel({EPSILON: larger}).sel({GAMMA: gamma}).item()) == "not measured":
        return "a larger epsilon"
    return f"epsilons between {epsilon:g} and {epsilons[larger]:g}"


def _nearer(table: xr.Dataset, place: Place) -> str:
    """An epsilon on each side, halfway to the one that was tried there."""
    epsilons = table[EPSILON].values
    row, n = place[0], len(epsilons)
    below = epsilons[row - 1] if row else epsilons[row] / 10
    above = epsilons[row + 1] if row + 1 < n else epsilons[row] * 10
    return " and ".join(f"{np.sqrt(epsilons[row] * other):.1g}" for other in (below, above))


def with_error(value: float, error: float) -> str:
    """A number with its standard error, both to the error's second digit.

    Examples
    --------
    >>> with_error(41.234, 1.27)
    '41.2 ± 1.3'
    >>> with_error(1234.5, 67.8)
    '1,234 ± 68'
    """
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3g}"
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def named(table: xr.Dataset, place: Place) -> str:
    """A cell by its epsilon and gamma."""
    return f"epsilon {table[EPSILON][place[0]]:g}, gamma {table[GAMMA][place[1]]:g}"


def _figure(table: xr.Dataset, place: Place, name: str = "llc") -> str:
    return with_error(float(table[name][place]), float(table[f"{name}_se"][place]))


def _beside(table: xr.Dataset, place: Place) -> str:
    """The LLC of the neighbours along epsilon that count, smaller epsilon first."""
    row, column = place
    speaks = table["is_comparable"].values[:, row, column]
    found = [
        f"{_figure(table, (other, column))} at epsilon {table[EPSILON][other]:g}"
        for other, counts in ((row - 1, speaks[0]), (row + 1, speaks[1]))
        if counts
    ]
    return f" beside {' and '.join(found)}" if found else ""


def _acceptance(table: xr.Dataset, place: Place, target_acceptance: float) -> str:
    acceptance = float(table["mala"][place])
    if np.isnan(acceptance):
        return "MALA acceptance not measured"
    return f"MALA acceptance {acceptance:.2f} (target {target_acceptance:g})"


def _chains(n: int) -> str:
    return counted(n, "chain")
