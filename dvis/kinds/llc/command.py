"""The command `llc` and its subcommands: calibrate, estimate, plot."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
import xarray as xr
from tyro.conf import OmitSubcommandPrefixes

from dvis.kinds.llc.analysis.calibration import Recommendation, with_error
from dvis.kinds.llc.analysis.calibration_words import NOT_SETTLED
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.analysis.settling import BURN_IN_RELAXATIONS, DRAW_RELAXATIONS, MAX_RHAT
from dvis.kinds.llc.analysis.settling_words import doubts_of
from dvis.kinds.llc.options import DEFAULT_GAMMA, CalibrateOptions, ChainOptions, EstimateOptions
from dvis.kinds.llc.plot_command import LLCPlotOptions, plot_llc
from dvis.kinds.llc.read import llc_traces
from dvis.kinds.llc.settings import AUTO
from dvis.kinds.llc.words import DRAW, EPSILON, GAMMA, PARAMETERS
from dvis.models.torch_guard import needing_torch
from dvis.schema import CHECKPOINT, counted

if TYPE_CHECKING:
    from dvis.kinds.llc.estimation import CalibrationReport, LLCReport

_COLUMNS = (
    "parameters",
    "epsilon",
    "gamma",
    "LLC first",
    "LLC last",
    "MALA min",
    "R-hat max",
    "ESS min",
    "diverged",
    "not converged",
    "settled",
)
_LARGER_PULL = 3  # of a second gamma; a smaller one needs longer chains
_CELL_COLUMNS = ("epsilon", "gamma", "LLC", "MALA", "R-hat", "ESS", "relaxation", "verdict")
_LEAST_ESS = 100


@dataclass(frozen=True, kw_only=True)
class CalibrateCommand:
    """Try step sizes and localisations at one checkpoint, and recommend one of each.

    Run again, it samples what is missing. Killed or stopped, it loses the chains under way.

    Parameters
    ----------
    options
        What is tried, and at which checkpoint.
    out
        Folder for the two pictures (default: the current one).
    """

    options: Annotated[CalibrateOptions, tyro.conf.arg(name="")]
    out: Path = Path()


@dataclass(frozen=True, kw_only=True)
class EstimateCommand:
    """Estimate the local learning coefficient of every checkpoint, into the model's store.

    Run again, it samples what is missing. More chains are added to those that are there; for more
    draws every chain is sampled again from its start, and its first draws are equal. Killed or
    stopped, it loses the chains under way.

    Parameters
    ----------
    options
        Whose coefficient is estimated, on which data, and how.
    """

    options: Annotated[EstimateOptions, tyro.conf.arg(name="")]


Command = (
    Annotated[CalibrateCommand, tyro.conf.subcommand("calibrate")]
    | Annotated[EstimateCommand, tyro.conf.subcommand("estimate")]
    | Annotated[LLCPlotOptions, tyro.conf.subcommand("plot")]
)


def llc(command: Annotated[OmitSubcommandPrefixes[Command], tyro.conf.arg(name="")]) -> int:
    """The local learning coefficient over training: calibrate, estimate, plot.

    Parameters
    ----------
    command
        What to do.
    """
    if isinstance(command, LLCPlotOptions):
        return plot_llc(command)
    with needing_torch("llc"):
        from dvis.kinds.llc.estimation import calibrate_llc, estimate_llc

    if isinstance(command, EstimateCommand):
        return _print_estimate(estimate_llc(command.options, progress=True), command)
    return _print_calibration(calibrate_llc(command.options, progress=True), command)


def _print_estimate(report: "LLCReport", command: EstimateCommand) -> int:
    _print_sampled(report)
    wanted = {
        PARAMETERS: list(report.parameters),
        EPSILON: list(report.epsilon),
        GAMMA: list(report.gamma),
    }
    traces = llc_traces(report.store, report.run, report.name).sel(wanted)
    estimates = llc_of(traces).load()
    print(_table(_COLUMNS, _rows_of_estimates(estimates)))
    print(_burn_in_line(command, report, traces.sizes[DRAW]))
    print("MALA, R-hat and ESS are those of the checkpoint where they are worst")
    if _is_unconverged(estimates).any():
        print(
            f"not converged: at so many checkpoints R-hat is above {MAX_RHAT:g}, or fewer than "
            f"{_LEAST_ESS} samples are effective; take more draws or chains, or calibrate"
        )
    for line in doubts_of(estimates, traces.sizes[DRAW] - report.burn_in):
        print(line)
    if estimates.sizes[GAMMA] == 1:
        print(_of_one_gamma(float(estimates[GAMMA].item())))
    if not estimates["llc"].notnull().any():
        print(_why_none(estimates))
        return 1
    return 1 if report.n_failed else 0


def _burn_in_line(command: EstimateCommand, report: "LLCReport", n_draws: int) -> str:
    """How many draws the table leaves out, as all readers do unless told otherwise."""
    line = f"burn-in: {report.burn_in} of {counted(n_draws, 'draw')}"
    asked = command.options.settings.burn_in
    if asked == report.burn_in or command.options.settings.draws == AUTO:
        return line
    return (
        f"{line}, as the store has it, not {asked}: its chains have not become longer. Read them "
        f"with dvis.llc(..., burn_in={asked}) or llc plot --burn-in {asked}"
    )


def _of_one_gamma(gamma: float) -> str:
    other = _LARGER_PULL * gamma or DEFAULT_GAMMA
    return (
        f"one gamma: an LLC that another one changes is in part the pull's; for figures to be "
        f"shown add a second, --gamma {gamma:g} {other:g}"
    )


def _is_unconverged(estimates: xr.Dataset) -> xr.DataArray:
    """Where the chains do not agree, or are too short to tell."""
    is_doubtful = (estimates["rhat"] > MAX_RHAT) | ~(estimates["ess"] >= _LEAST_ESS)
    return is_doubtful & estimates["llc"].notnull()


def _why_none(estimates: xr.Dataset) -> str:
    if (estimates["n_diverged"] > 0).any() and not (estimates["n_missing"] > 0).any():
        epsilon = float(estimates[EPSILON].min())
        return f"no LLC: all chains diverged; take epsilon below {epsilon:g}"
    return "no LLC: no chain is done"


def _rows_of_estimates(estimates: xr.Dataset) -> Iterator[list[str]]:
    """A line for each set of weights, epsilon and gamma."""
    is_unconverged = _is_unconverged(estimates)
    for place in _places(estimates, (PARAMETERS, EPSILON, GAMMA)):
        cell = estimates.isel(place)
        known = cell.isel({CHECKPOINT: cell["llc"].notnull().values})
        n_known = known.sizes[CHECKPOINT]
        ends = [_with_error(known.isel({CHECKPOINT: at})) for at in ((0, -1) if n_known else ())]
        yield [
            str(cell[PARAMETERS].item()),
            *(f"{cell[name].item():g}" for name in (EPSILON, GAMMA)),
            *(ends or ["none", "none"]),
            _number(cell["mala"].min(), ".2f"),
            _number(cell["rhat"].max(), ".3f"),
            _number(cell["ess"].min(), ".0f"),
            str(int(cell["n_diverged"].sum())),
            f"{int(is_unconverged.isel(place).sum())} of {n_known}",
            f"{int(known['is_settled'].sum())} of {n_known}",
        ]


def _number(value: xr.DataArray, form: str) -> str:
    return f"{float(value):{form}}" if np.isfinite(value) else "-"


def _print_calibration(report: "CalibrationReport", command: CalibrateCommand) -> int:
    _print_sampled(report.sampled)
    recommendation = report.recommendation
    print(_table(_CELL_COLUMNS, _rows_of_cells(recommendation.table)))
    if (recommendation.table["verdict"] == NOT_SETTLED).any():
        print(
            f"not settled: burn-in is shorter than {BURN_IN_RELAXATIONS}, or the draws after it "
            f"than {DRAW_RELAXATIONS} relaxation times of the pull, 2 / (epsilon gamma) draws"
        )
    print(recommendation.reason)
    for path in _draw_calibration(report, command):
        print(path)
    if report.pick is not None:
        print(_pick_line(report.pick))
    if not recommendation.is_found:
        return 1
    print("for all checkpoints:")
    print(f"  {estimate_command(command.options, recommendation)}")
    return 1 if report.sampled.n_failed else 0


def _pick_line(traces: xr.Dataset) -> str:
    """What the chains of the recommended cell came to."""
    estimate = llc_of(traces).load()
    rhat, ess, mala = (float(estimate[name]) for name in ("rhat", "ess", "mala"))
    epsilon, gamma = (float(estimate[name]) for name in (EPSILON, GAMMA))
    return (
        f"{counted(int(estimate['n_chains']), 'chain')} at epsilon {epsilon:g}, gamma {gamma:g}: "
        f"LLC {_with_error(estimate)}, R-hat {rhat:.3f}, ESS {ess:.0f}, "
        f"MALA acceptance {mala:.2f}, {int(estimate['n_diverged'])} diverged"
    )


def _rows_of_cells(table: xr.Dataset) -> Iterator[list[str]]:
    for place in _places(table, (EPSILON, GAMMA)):
        cell = table.isel(place)
        yield [
            *(f"{cell[name].item():g}" for name in (EPSILON, GAMMA)),
            _with_error(cell),
            *(_number(cell[name], ".2f") for name in ("mala", "rhat")),
            *(_number(cell[name], ".0f") for name in ("ess", "relaxation")),
            str(cell["verdict"].item()),
        ]


def _draw_calibration(report: "CalibrationReport", command: CalibrateCommand) -> list[Path]:
    """Draw the grid, and the chains of the pick; the paths of the pictures."""
    import matplotlib

    matplotlib.use("agg")
    from dvis.kinds.llc import pictures as llc_pictures

    name = f"llc-{report.sampled.name}"
    paths = [command.out / f"{name}.png"]
    llc_pictures.llc_calibration(report.cells, recommendation=report.recommendation, path=paths[0])
    if report.pick is not None:
        paths.append(command.out / f"{name}-chains.png")
        llc_pictures.llc_chains(report.pick, path=paths[1])
    return paths


def estimate_command(options: CalibrateOptions, pick: Recommendation) -> str:
    """The command that estimates at all checkpoints beside the one that was calibrated at.

    Chains that were too short to settle are asked to be as long as they must: `--draws auto`.
    """
    settings = options.settings
    if _is_to_be_longer(pick) and settings.method == "sgld":
        settings = replace(settings, draws=AUTO)
    called_as = sys.argv[0]
    words = ["python", called_as] if called_as.endswith(".py") else ["dvis", "llc"]
    words += ["estimate", "--model", str(options.model)]
    if options.checkpoint is not None:
        words += ["--checkpoint-path", str(options.checkpoint.parent)]
    words += ["--epsilon", f"{pick.epsilon:g}", "--gamma", f"{pick.gamma:g}"]
    shared = {item.name for item in fields(ChainOptions)} - {"model", "settings"}
    words += _flags(options, shared)
    words += _flags(settings, {item.name for item in fields(settings)})
    return shlex.join(words)


def _is_to_be_longer(pick: Recommendation) -> bool:
    """Whether the recommended cell passes but is not settled, and a longer chain would be."""
    cell = pick.table.sel({EPSILON: pick.epsilon, GAMMA: pick.gamma})
    return str(cell["verdict"].item()) == NOT_SETTLED and bool(np.isfinite(cell["relaxation"]))


def _flags(options: Any, names: set[str]) -> list[str]:
    """Flags of those options that differ from their defaults."""
    words = []
    for item in (item for item in fields(options) if item.name in names):
        value, flag = getattr(options, item.name), item.name.replace("_", "-")
        if item.default is MISSING or value == item.default or item.name == "overwrite":
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def _print_sampled(report: "LLCReport") -> None:
    for line in report.lines():
        print(line)
    if np.isfinite(report.hmax):
        print(f"largest curvature {report.hmax:.3g}")


def _places(dataset: xr.Dataset, dims: Sequence[str]) -> Iterator[dict[str, int]]:
    """Every place along some dims, the last one fastest."""
    for place in np.ndindex(*(dataset.sizes[dim] for dim in dims)):
        yield dict(zip(dims, place, strict=True))


def _with_error(cell: xr.Dataset) -> str:
    llc, error = (float(cell[name]) for name in ("llc", "llc_se"))
    return with_error(llc, error) if np.isfinite(llc) else "none"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of words, each as wide as its widest."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True))
        for line in lines
    )
