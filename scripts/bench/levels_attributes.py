"""How often attributes of pairs are found where there are none, and where there are.

Made-up layers before pairs in, a table of rates out, as `docs/levels.md` has it: how often the
highest score of a layer's channels, what it tells, what a linear output uses of it, and the last
two together, are beyond their nulls.

    python scripts/bench/levels_attributes.py          # 400 runs a row, about five minutes
    python scripts/bench/levels_attributes.py --quick  # 60
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from levels import Rates, print_rates
from made_up_pairs import Layer, found_in

_CHANNELS = (8, 32, 128)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs are made up."""

    runs: int = 400
    """Of each row."""
    quick: bool = False
    """60 runs a row."""


def main(options: Options) -> None:
    """Print the table."""
    n = 60 if options.quick else options.runs
    columns = ("score", "tells", "uses", "tells and uses")
    print_rates(f"Attributes of pairs, {n} runs a row", columns, rows(n))


def rows(n: int) -> Iterator[Rates]:
    """Rates of layers in which sides differ by chance, by a direction, and by one of no use."""
    for n_channels in _CHANNELS:
        for falls_by, how in ((4.0, "few dimensions"), (float(n_channels), "many dimensions")):
            layer = Layer(n_channels=n_channels, falls_by=falls_by)
            yield _rates(f"{n_channels} channels of {how}, nothing", layer, n)
    for n_channels in _CHANNELS:
        told = Layer(n_channels=n_channels, step=0.7, is_used=False)
        yield _rates(f"{n_channels} channels, told but of no use to the output", told, n)
    for n_channels in _CHANNELS:
        planted = Layer(n_channels=n_channels, step=0.7)
        yield _rates(f"**planted: {n_channels} channels, told and used**", planted, n)


def _rates(name: str, layer: Layer, n: int) -> Rates:
    found = [[*found_in(layer, seed).values()] for seed in range(n)]
    rates = [float(rate) for rate in np.mean(found, axis=0)]
    return Rates(name=name, rates=rates, is_null=False)


if __name__ == "__main__":
    main(tyro.cli(Options))
