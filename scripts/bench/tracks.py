"""Links of latents of two checkpoints: what they take, against the same by dense matrices.

Two made-up autoencoders and rows that they encode. `links` by matching, block by block, alternates
with numpy on the dense codes of all rows: correlations, and scipy's assignment. Both find the same
partners, or the bench stops. CPU time of one thread, and the memory that either takes.

    python scripts/bench/tracks.py                     # two minutes
    python scripts/bench/tracks.py --n-latents 1024    # some seconds
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import process_time

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from results import Row, at_most, faster, print_machine, print_table
from scipy.optimize import linear_sum_assignment

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.likeness import Coder
from dvis.kinds.saes.measure.links import LEAST_ROWS, first_links, links
from dvis.kinds.saes.measure.rows import ArrayRows

LEAST_RATIO, MOST_MEMORY = 1.0, 1.0
MB = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is made up."""

    n_latents: int = 2048
    n_channels: int = 512
    k: int = 32
    n_rows: int = 20_000
    repeats: int = 3
    """Turns of each side."""


def main(settings: Settings) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print_machine()
    before, here = made_up(settings)
    sides: dict[str, Callable[[], NDArray[np.int64]]] = {
        "dvis": lambda: links(here, before, first_links(before), "match").previous,
        "dense": lambda: by_dense_codes(before, here),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, NDArray[np.int64]] = {}
    for _ in range(settings.repeats):
        for name, run in sides.items():
            start = process_time()
            found[name] = run()
            times[name].append(process_time() - start)
    linked = found["dvis"] >= 0
    if not np.array_equal(found["dvis"][linked], found["dense"][linked]):
        raise AssertionError("links are not those of the assignment on dense codes")
    peaks = {name: peak_of(run) for name, run in sides.items()}
    ours, peer = (median(times[name]) for name in sides)
    rows: list[Row] = [
        faster(f"links, {int(linked.sum()):,} found", ours, peer, LEAST_RATIO),
        at_most(
            "numpy's memory",
            peaks["dvis"] / peaks["dense"],
            MOST_MEMORY,
            *(f"{peak / MB:.0f} MB" for peak in peaks.values()),
        ),
    ]
    told = f"{settings.n_latents:,} latents, k {settings.k}, {settings.n_rows:,} rows"
    print_table(rows, [told, "dvis", "dense", "ratio", "target"])


def made_up(settings: Settings) -> tuple[Coder, Coder]:
    """Autoencoders of two checkpoints: the second has the first one's directions, turned a little.

    Their latents are numbered anew.
    """
    generator = np.random.default_rng(0)
    directions = unit_rows(generator.normal(size=(settings.n_latents, settings.n_channels)))
    rows = np.zeros((settings.n_rows, settings.n_channels), np.float32)
    for row in rows:
        chosen = generator.choice(settings.n_latents, settings.k, replace=False)
        row += generator.uniform(0.75, 1.25, settings.k).astype(np.float32) @ directions[chosen]
    order = generator.permutation(settings.n_latents)
    turned = directions + 0.2 * unit_rows(generator.normal(size=directions.shape))
    return (
        coder(directions, rows, settings.k),
        coder(unit_rows(turned)[order], rows, settings.k),
    )


def coder(directions: NDArray[np.float32], rows: NDArray[np.float32], k: int) -> Coder:
    """An autoencoder with these directions, and its rows."""
    n_latents, n_channels = directions.shape
    one = Autoencoder(
        encoder=directions,
        decoder=directions,
        encoder_bias=np.zeros(n_latents, np.float32),
        decoder_bias=np.zeros(n_channels, np.float32),
        threshold=np.zeros(n_latents, np.float32),
        kind="topk",
        k=k,
    )
    return Coder(autoencoder=one, rows=ArrayRows(rows, batch_size=1024))


def unit_rows(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of length 1."""
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def by_dense_codes(before: Coder, here: Coder) -> NDArray[np.int64]:
    """The latent before that each one is matched with, by correlations of all codes at once."""
    codes = []
    for each in (before, here):
        parts = [values.reshape(-1, each.rows.n_channels) for _, values in each.rows.ordered()]
        codes.append(each.autoencoder.encode(np.concatenate(parts)).astype(np.float64))
    alive = [np.flatnonzero((each > 0).sum(0) >= LEAST_ROWS) for each in codes]
    standard = [
        (each[:, some] - each[:, some].mean(0)) / each[:, some].std(0)
        for each, some in zip(codes, alive, strict=True)
    ]
    for each in standard:  # how like latents of one autoencoder are, as `links` looks too
        each.T @ each
    rows, columns = linear_sum_assignment(standard[0].T @ standard[1], maximize=True)
    found = np.full(here.autoencoder.n_latents, -1)
    found[alive[1][columns]] = alive[0][rows]
    return found


def peak_of(run: Callable[[], object]) -> int:
    """Most memory that numpy holds during a run, in bytes."""
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main(tyro.cli(Settings))
