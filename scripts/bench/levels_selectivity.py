"""How often units are selective where no class drives them, and how often where one does.

Made-up responses of 100 images in 5 classes at 4 checkpoints, 20 channels, with the confounds of
real ones, in; a table of rates out, as `docs/levels.md` has it.

    python scripts/bench/levels_selectivity.py          # 400 runs a row, a few minutes
    python scripts/bench/levels_selectivity.py --quick  # 40
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tyro
import xarray as xr
from levels import Rates, print_rates

import dvis

N_CHECKPOINTS, N_CHANNELS, N_IMAGES, N_CLASSES = 4, 20, 100, 5
SHAPE = (N_CHECKPOINTS, N_CHANNELS, N_IMAGES)
COLUMNS = ("index above its null", "born", "called selective", "as untrained")
Made = Callable[[np.random.Generator, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many runs are made up."""

    runs: int = 400
    """Of each row."""
    quick: bool = False
    """40 runs a row."""


def main(options: Options) -> None:
    """Print the table."""
    n = 40 if options.quick else options.runs
    print(f"{n} runs of {N_CHANNELS} channels a row, in %")
    print_rates("`selectivity`", COLUMNS, rows(n))


def _noise(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    return generator.normal(size=SHAPE)


def _negative(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    return generator.normal(size=SHAPE) - 1.5


def _rare(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    return generator.exponential(size=SHAPE) ** 2 * (generator.random(SHAPE) < 0.05)


def _frozen(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    return np.repeat(generator.normal(size=(1, *SHAPE[1:])), N_CHECKPOINTS, 0)


def _shared(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Units of a layer answer the same images, as brightness makes them do."""
    return generator.normal(size=SHAPE) + 2 * generator.normal(size=N_IMAGES)


def _from(first: int, size: float) -> Made:
    """Each unit has a class that drives it, from a checkpoint on."""

    def made(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        own = generator.integers(N_CLASSES, size=N_CHANNELS)
        responses = generator.normal(size=SHAPE)
        responses[first:] += size * (labels == own[:, None])
        return responses

    return made


NOTHING: dict[str, Made] = {
    "noise": _noise,
    "noise, most of it below 0": _negative,
    "heavy tails, 95 % zeros": _rare,
    "the same responses at all checkpoints": _frozen,
    "units share what they answer": _shared,
}
PLANTED: dict[str, Made] = {
    "planted: 1 sd from the third checkpoint on": _from(2, 1.0),
    "planted: 2 sd from the third checkpoint on": _from(2, 2.0),
    "planted: 2 sd at all checkpoints, also untrained": _from(0, 2.0),
}


def rows(n: int) -> Iterator[Rates]:
    """Rates of all made-up responses, classes of equal size and of unequal ones."""
    for is_null, made in ((True, NOTHING), (False, PLANTED)):
        for name, make in made.items():
            yield _row(name, make, n, np.full(N_CLASSES, 1 / N_CLASSES), is_null)
    unequal = np.array([0.45, 0.3, 0.15, 0.06, 0.04])
    yield _row("noise, classes of 4 to 45 images", _noise, n, unequal, is_null=True)


def _row(name: str, make: Made, n: int, shares: np.ndarray, is_null: bool) -> Rates:
    found = np.array([_found(make, shares, seed) for seed in range(n)])
    return Rates(name=name, rates=[*map(float, found.mean(0))], n_tests=1, is_null=is_null)


def _found(make: Made, shares: np.ndarray, seed: int) -> list[float]:
    """Shares of units above their null at the end, born, selective and as untrained."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(N_CLASSES), (shares * N_IMAGES).astype(int)))
    values = make(generator, labels)[:, None]
    dims = ("checkpoint", "layer", "channel", "image")
    given = xr.Dataset(
        {"response": (dims, values)},
        {
            "checkpoint": [f"step_{k}" for k in range(N_CHECKPOINTS)],
            "step": ("checkpoint", np.arange(N_CHECKPOINTS, dtype=float)),
            "layer": ["layer"],
            "channel": np.arange(N_CHANNELS),
            "image": np.arange(N_IMAGES).astype(str),
            "image_class": ("image", labels.astype(str)),
        },
    )
    found = dvis.selectivity(given, seed=seed)
    last, born = found.isel(checkpoint=-1), dvis.selectivity_births(found)
    shares_found = (
        last.selectivity > last.selectivity_high,
        born.state == "born",
        last.state == "selective",
        last.state == "as untrained",
    )
    return [float(each.mean()) for each in shares_found]


if __name__ == "__main__":
    main(tyro.cli(Options))
