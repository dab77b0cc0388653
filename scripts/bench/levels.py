"""How often the tests of `dvis.analysis` find something where there is nothing, and where there is.

Simulated runs with the confounds of real ones in, a table of rates out, as `docs/levels.md` has it.
A test at 5 % holds if it finds something in 3 to 7 % of runs without an effect; in fewer, it
is conservative.

    python scripts/bench/levels.py              # 400 runs a row, some minutes
    python scripts/bench/levels.py --quick      # 60
    python scripts/bench/levels.py --penalties  # the penalties of change points, simulated anew
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from made_up_nulls import (
    APART,
    NO_ORDER,
    OF_SCALE,
    PLANTED,
    TRENDS,
    UNTRAINED_STAND_OUT,
    WITHOUT_SCALE,
    Learnt,
    Trajectories,
    alignments,
    births_at_jumps,
    correlated_noise,
    false_alarms,
    one_a_layer,
    orders,
)

from dvis.analysis.depth_trend import depth_trend
from dvis.analysis.penalties import Shape

_LEVEL, _LEAST, _MOST = 0.05, 0.03, 0.07
_N_LAYERS = (5, 6, 12)
_CHAINS = ((3, 3), (3, 4), (5, 4), (8, 3))  # chains, and levels of each
_LENGTHS = (4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 60, 100, 200, 400)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs are made up."""

    runs: int = 400
    """Of each row; ten times as many series where these are looked for changes."""
    quick: bool = False
    """60 runs a row."""
    penalties: bool = False
    """Simulate the penalties that `dvis/analysis/penalties.py` has, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """A row: what was made up, and the share of runs in which something was found.

    `n_tests` of the rates are of p-values, by default all; `is_null` says that there is nothing to
    be found.
    """

    name: str
    rates: Sequence[float]
    n_tests: int | None = None
    note: str = ""
    is_null: bool = True

    @property
    def verdict(self) -> str:
        """Whether a test holds its level, over all columns of p-values together."""
        if self.note or not self.is_null:
            return self.note
        rate = float(np.mean(self.rates[: self.n_tests]))
        if rate > _MOST:
            return "too often"
        return "holds" if rate >= _LEAST else "conservative"


def main(options: Options) -> None:
    """Print the tables."""
    n = 60 if options.quick else options.runs
    if options.penalties:
        print_penalties(10 * n)
        return
    print(f"{n} runs a row; share with p <= {_LEVEL:g}, in %.")
    numbers = [f"{n_layers} layers" for n_layers in _N_LAYERS]
    columns = (*numbers, *(f"interval off 0, {number}" for number in numbers))
    print_rates("`birth_order`, 8 units a layer, 12 checkpoints", columns, order_rows(n))
    columns = ("20 checkpoints", "30", "60", "100")
    print_rates("`alignment` and `births_at_llc_changes`, 20 births", columns, alignment_rows(n))
    columns = tuple(f"{n_chains} chains of {n_depths}" for n_chains, n_depths in _CHAINS)
    print_rates("`depth_trend`", columns, trend_rows(n))
    columns = ("8 checkpoints", "12", "25", "50", "100")
    print_rates("`change_points`, share with some change", columns, change_rows(10 * n))


def order_rows(n: int) -> Iterator[Rates]:
    """Rates of `birth_order`."""
    for name, make in NO_ORDER.items():
        yield Rates(name=name, rates=_of_orders(make, n), n_tests=len(_N_LAYERS))
    for name, make in OF_SCALE.items():
        p_values, _ = orders(make, n, is_raw=True)
        note = "no p; this, if there were one" if np.isnan(p_values).all() else "WITH A P"
        yield Rates(name=f"{name}, raw activation", rates=_of_orders(make, n), note=note)
    for name, learnt in WITHOUT_SCALE.items():
        # Layers that lose an untrained answer later do come to their final ones later.
        note = "births differ" if name.startswith("untrained") else ""
        rates = _of_orders(learnt, n)
        yield Rates(name=name, rates=rates, n_tests=len(_N_LAYERS), note=note)
    p_values, _ = orders(UNTRAINED_STAND_OUT, n)
    name = "untrained layers stand out, deeper ones more, standardised"
    note = "no p" if np.isnan(p_values).all() else "WITH A P"
    yield Rates(name=name, rates=_of_orders(UNTRAINED_STAND_OUT, n), note=note)
    name = "**planted: a checkpoint a layer, units 1.5 about it**"
    yield Rates(name=name, rates=_of_orders(one_a_layer, n), is_null=False)
    for measure, planted in PLANTED.items():
        rates = _of_orders(planted, n)
        yield Rates(name=f"{name} **below gains, {measure}**", rates=rates, is_null=False)


def _of_orders(make: Trajectories | Learnt, n: int, **how: str) -> list[float]:
    """Shares with a small p, and of intervals off 0, by number of layers."""
    found = [orders(make, n, n_layers=n_layers, **how) for n_layers in _N_LAYERS]
    return [*(_share(p) for p, _ in found), *(float(is_off.mean()) for _, is_off in found)]


def alignment_rows(n: int) -> Iterator[Rates]:
    """Rates of `alignment`; no change of the series counts as nothing found."""
    lengths = (20, 30, 60, 100)
    for name, make in APART.items():
        rates = [_share(alignments(make, n, length)) for length in lengths]
        yield Rates(name=name, rates=rates)
    rates = [_share(alignments(births_at_jumps, n, length)) for length in lengths]
    yield Rates(name="**planted: four of five births at three jumps**", rates=rates, is_null=False)


def trend_rows(n: int) -> Iterator[Rates]:
    """Rates of `depth_trend`."""
    for name, make in TRENDS.items():
        made = [make(n, *shape) for shape in _CHAINS]
        rates = [_share(depth_trend(each, n_permutations=999)["p_value"].values) for each in made]
        is_null = not name.startswith("**")
        yield Rates(name=name, rates=rates, is_null=is_null)


def change_rows(n: int) -> Iterator[Rates]:
    """False alarms of `change_points`, and how often it finds a jump in the middle."""
    lengths = (8, 12, 25, 50, 100)
    for shape in ("level", "line"):
        for rho in (0.0, 0.3, 0.5, 0.8):
            for known in ({}, {"noise": 1.0}):
                rates = [
                    false_alarms(correlated_noise(rho, n, length), shape=shape, **known)
                    for length in lengths
                ]
                noise = "white noise" if rho == 0 else f"AR(1), {rho:g}"
                how = "its size known" if known else "estimated"
                yield Rates(name=f"{shape}: {noise}, {how}", rates=rates, is_null=rho == 0)
    for height in (2, 4):
        for known in ({}, {"noise": 1.0}):
            rates = [
                false_alarms(_with_jump(correlated_noise(0, n, length), height), **known)
                for length in lengths
            ]
            how = "known" if known else "estimated"
            name = f"**planted: a jump of {height} sd, noise {how}**"
            yield Rates(name=name, rates=rates, is_null=False)


def _with_jump(series: np.ndarray, height: float) -> np.ndarray:
    length = series.shape[1]
    return series + height * (np.arange(length) >= length // 2)


def _share(p_values: np.ndarray) -> float:
    return float((p_values <= _LEVEL).mean())


def print_rates(title: str, columns: tuple[str, ...], rows: Iterator[Rates]) -> None:
    """Print a table as markdown, row by row as they are there."""
    print(f"\n## {title}\n\n| | {' | '.join(columns)} | |")
    print(f"| --- |{' ---: |' * len(columns)} --- |")
    for row in rows:
        rates = " | ".join(f"{100 * rate:.1f}" for rate in row.rates)
        print(f"| {row.name} | {rates} | {row.verdict} |", flush=True)


def print_penalties(n: int) -> None:
    """Print the penalties at which 5 % of series of white noise have some change."""
    shapes: tuple[Shape, ...] = ("level", "line")
    for shape in shapes:
        for known in ({}, {"noise": 1.0}):
            found = {
                length: round(_penalty(correlated_noise(0, n, length), shape, known), 1)
                for length in _LENGTHS
                if length >= {"level": 4, "line": 8}[shape]
            }
            print(shape, "known" if known else "estimated", found, flush=True)


def _penalty(series: np.ndarray, shape: Shape, known: dict[str, float]) -> float:
    """The penalty of one change at which 5 % of series have some, by halving."""
    low, high = 1.0, 1000.0
    while high / low > 1.005:
        middle = float(np.sqrt(low * high))
        is_low = false_alarms(series, shape=shape, penalty=middle, **known) > _LEVEL
        low, high = (middle, high) if is_low else (low, middle)
    return float(np.sqrt(low * high))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
