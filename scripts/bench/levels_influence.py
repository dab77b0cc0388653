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
from made_up_assembly import NOTHING, OF_EDGES, OF_ZEROS, PLANTED, World, found_in, naive

from dvis.kinds.influence.analysis.sizes import sizes_and_births

_LEVEL, _LEAST, _MOST = 0.05, 0.03, 0.07
_SHORT = {
    "born together": "together",
    "born together, first checkpoint": "together, first",
    "source before target": "before*",
    "influence rises at birth": "rises",
    "edge between": "between*",
    "edge first": "edge first*",
    "target first": "target first*",
}
_WORLDS = {"hubs": NOTHING, "edges": OF_EDGES, "zeros": OF_ZEROS, "planted": PLANTED}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs are made up."""

    runs: int = 400
    """Of each row."""
    quick: bool = False
    """60 runs a row."""
    tables: tuple[str, ...] = ("hubs", "edges", "zeros", "planted", "mrqap", "sizes")
    """Which tables."""


def main(options: Options) -> None:
    """Print the tables."""
    n = 60 if options.quick else options.runs
    print(f"{n} runs a row; share with p <= {_LEVEL:g}, in %. * if it had a p.")
    columns = (*_SHORT.values(), "together, interval off 0", "rises, interval off 0", "naive")
    for table in options.tables:
        if table in _WORLDS:
            print_rates(f"`assembly`: {table}", columns, rows(n, _WORLDS[table]))
    if "mrqap" in options.tables:
        of_births = ("together", "together, first", "before*")
        print_rates('`assembly(null="mrqap")`', of_births, rows_of_mrqap(n))
    if "sizes" in options.tables:
        print_rates("`sizes_and_births`", ("size and birth", "size and inputs"), size_rows(n))


def rows(n: int, worlds: Mapping[str, World]) -> Iterator[Rates]:
    """Rates of all statistics of some worlds; the verdict is of those that have a p."""
    for name, world in worlds.items():
        p_values, is_off, names = found_in(world, n)
        rate = dict(zip(names, (p_values <= _LEVEL).mean(0), strict=True))
        off = dict(zip(names, is_off.mean(0), strict=True))
        is_naive = np.mean([naive(world, seed) <= _LEVEL for seed in range(n)])
        others = off["born together"], off["influence rises at birth"], is_naive
        with_p = [rate[each] for each, short in _SHORT.items() if not short.endswith("*")]
        yield Rates(
            name=name,
            rates=[*map(float, (*(rate[each] for each in _SHORT), *others))],
            note="" if worlds is PLANTED else _verdict(with_p),
            is_null=worlds is not PLANTED,
        )


def rows_of_mrqap(n: int) -> Iterator[Rates]:
    """Rates of what is beyond strength at the first checkpoint."""
    first, planted = "hubs born early, targets of much influence late", next(iter(PLANTED))
    for name in ("units born at any time", first, planted):
        world = {**NOTHING, **PLANTED}[name]
        p_values, _, names = found_in(world, n, null="mrqap")
        rate = dict(zip(names, map(float, (p_values <= _LEVEL).mean(0)), strict=True))
        rates = [rate[each] for each in [*_SHORT][:3]]
        yield Rates(name=name, rates=rates, n_tests=2, is_null=name != planted)


def _verdict(rates: list[float]) -> str:
    """Whether tests hold their level, over all of them together."""
    mean = float(np.mean(rates))
    if np.isnan(mean):
        return "no p"
    if mean > _MOST:
        return "too often"
    return "holds" if mean >= _LEAST else "conservative"


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
