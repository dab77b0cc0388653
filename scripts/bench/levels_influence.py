"""How often the statistics of assembly find something where there is nothing, and where there is.

Made-up influence and births with the confounds of real ones in, a table of rates out, as
`docs/levels.md` has it. The naive share of top inputs that are born before their target, which dvis
does not have, is computed here alone, as the bad example.

    python scripts/bench/levels_influence.py          # 400 runs a row, some minutes
    python scripts/bench/levels_influence.py --quick  # 60
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from levels import Rates, print_rates
from made_up_assembly import NOTHING, OF_EDGES, PLANTED, World, found_in, naive

from dvis.kinds.influence.analysis.sizes import sizes_and_births

_LEVEL = 0.05
_SHORT = {
    "born together": "together",
    "born together, first checkpoint": "together, first",
    "source before target": "before*",
    "influence rises at birth": "rises",
    "edge between": "between*",
    "edge first": "edge first*",
    "target first": "target first*",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs are made up."""

    runs: int = 400
    """Of each row."""
    quick: bool = False
    """60 runs a row."""


def main(options: Options) -> None:
    """Print the tables."""
    n = 60 if options.quick else options.runs
    print(f"{n} runs a row; share with p <= {_LEVEL:g}, in %. * without a p: outside of its band.")
    columns = (*_SHORT.values(), "together, mrqap", "interval off 0", "naive")
    print_rates("`assembly`, layers of 20, 24 and 28 units", columns, rows(n, NOTHING))
    print_rates("`assembly`, edges born at like times", columns, rows(n, OF_EDGES))
    print_rates("`assembly`, planted", columns, rows(n, PLANTED))
    columns = ("size and birth", "size and inputs")
    print_rates("`sizes_and_births`", columns, size_rows(n))


def rows(n: int, worlds: Mapping[str, World]) -> Iterator[Rates]:
    """Rates of all statistics of some worlds; the verdict is of those that have a p."""
    for name, world in worlds.items():
        p_values, is_off, names = found_in(world, n)
        rate = dict(zip(names, (p_values <= _LEVEL).mean(0), strict=True))
        by_mrqap, _, _ = found_in(world, n, null="mrqap")
        together = names.index("born together")
        is_naive = np.mean([naive(world, seed) <= _LEVEL for seed in range(n)])
        told = [float(rate[each]) for each in _SHORT]
        others = (by_mrqap[:, together] <= _LEVEL).mean(), is_off[:, together].mean(), is_naive
        with_p = [rate[each] for each, short in _SHORT.items() if not short.endswith("*")]
        yield Rates(
            name=name,
            rates=[*told, *map(float, others)],
            note=_verdict([*with_p, float(others[0])]),
            is_null=worlds is not PLANTED,
        )


def _verdict(rates: list[float]) -> str:
    """Where rates of 400 runs lie, each by itself: within 3 standard errors of 3 to 7 %."""
    worst, least = max(rates), min(rates)
    if worst > 0.07:
        return f"up to {100 * worst:.1f}"
    return "holds" if least >= 0.03 else f"down to {100 * least:.1f}"


def size_rows(n: int) -> Iterator[Rates]:
    """Rates of `sizes_and_births`."""
    for name, slope, of_inputs in (
        ("sizes go with nothing", 0.0, 0.0),
        ("larger units are hubs, and hubs are born early", 0.0, 0.0),
        ("**planted: larger units born later, 0.3 sd a checkpoint**", 0.3, 0.0),
        ("**planted: large units have large inputs**", 0.0, 0.2),
    ):
        world = World(early_hubs=2 if "hubs" in name else 0)
        found = [
            sizes_and_births(
                *_sized(world, seed, slope, of_inputs, "hubs" in name),
                n_permutations=199,
                n_bootstrap=19,
                seed=seed,
            )
            for seed in range(n)
        ]
        rates = [
            float(np.mean([float(each[f"pooled_{what}_p_value"]) <= _LEVEL for each in found]))
            for what in ("birth", "input")
        ]
        note = "larger units are born early" if "hubs" in name else ""
        yield Rates(name=name, rates=rates, note=note, is_null=not name.startswith("**"))


def _sized(
    world: World, seed: int, slope: float, of_inputs: float, is_of_hubs: bool
) -> tuple[xr.DataArray, xr.Dataset, xr.Dataset]:
    """Sizes that go with births, with those of strong inputs, or with hubs."""
    influence, born = world.made(seed)
    rng = np.random.default_rng([seed, 9])
    size = slope * born["birth"] + rng.normal(size=born["birth"].shape)
    if is_of_hubs:
        for row, hubs in enumerate(world.hubs(seed)):
            size[row, : len(hubs)] += 2 * hubs
    centred = (size - size.mean("channel")).values
    product = of_inputs * centred[:, :, None, None] * centred
    scaled = influence["strength"].astype(float) * np.exp(product)
    return size.where(born["state"] == "born"), born, influence.assign(strength=scaled)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
