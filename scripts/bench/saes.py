"""What a training step of a sparse autoencoder costs, against dense steps and their products.

Processor time of this process on one thread; all sides take turns on the same batches. A dense step
has forward and backward passes and Adam; ours also clips, and keeps decoder rows at unit length.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

import torch
import tyro
from results import Row, at_most, faster, print_table
from torch import Tensor, nn
from torch.nn import functional

from dvis.kinds.saes.measure.learner import Learner
from dvis.kinds.saes.options import SaeKind, SaeOptions

SEED = 0
DENSE_TARGET, PRODUCTS_TARGET = 3.5, 0.9
OURS, BATCH, SAMPLED = "topk", "batchtopk", "batchtopk, sampled"
PRODUCTS, PLAIN, PEER = "five dense products", "plain torch", "overcomplete"
_INSTALL = (
    "pip install --no-deps overcomplete==0.3.0 && pip install einops opencv-python-headless timm"
)

Step = Callable[[Tensor], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Size of the autoencoder and of its batches."""

    n_channels: int = 512
    n_latents: int = 4096
    k: int = 32
    """Active latents a row."""
    batch_size: int = 4096
    """Rows of a step."""
    n_turns: int = 5
    """Steps of each side that are timed, after a first one."""
    quick: bool = False
    """Two turns of an eighth of the batch."""


def main(options: Options) -> None:
    """Measure all sides and print the table."""
    torch.set_num_threads(1)
    n_rows = options.batch_size // 8 if options.quick else options.batch_size
    n_turns = 2 if options.quick else options.n_turns
    _print_machine()
    print(
        f"{options.n_channels} channels, {options.n_latents} latents, k {options.k}, "
        f"{n_rows} rows; processor time a step, medians of {n_turns} turns"
    )
    generator = torch.Generator().manual_seed(SEED)
    batches = [
        torch.randn(n_rows, options.n_channels, generator=generator) for _ in range(n_turns + 1)
    ]
    print_table(_rows(time_sides(_sides(options, batches[0]), batches)), _COLUMNS)


_COLUMNS = ("a step", "dvis", "against", "ratio", "target")


def time_sides(sides: dict[str, Step], batches: list[Tensor]) -> dict[str, list[float]]:
    """Seconds of each side on each batch but the first."""
    for step in sides.values():
        step(batches[0])  # what is made when first used
    times: dict[str, list[float]] = defaultdict(list)
    for turn, batch in enumerate(batches[1:]):
        for name in _in_turn(list(sides), turn):
            started = time.process_time()
            sides[name](batch)
            times[name].append(time.process_time() - started)
    return times


def _rows(times: dict[str, list[float]]) -> list[Row]:
    middle = {name: median(values) for name, values in times.items()}
    rows = []
    for name in (PLAIN, PEER):
        if name in middle:
            rows.append(faster(f"topk against {name}", middle[OURS], middle[name], DENSE_TARGET))
        else:
            rows.append(Row(name=f"topk against {name}", ours="n/a"))
    floor = middle[PRODUCTS]
    for name in (OURS, BATCH, SAMPLED):
        own, products = (f"{1e3 * value:.0f} ms" for value in (middle[name], floor))
        label = f"{name} against {PRODUCTS}"
        rows.append(at_most(label, middle[name] / floor, PRODUCTS_TARGET, own, products))
    return rows


def _sides(options: Options, sample: Tensor) -> dict[str, Step]:
    """What is timed, by name; each takes a step on a batch."""
    sides = {
        PRODUCTS: dense_products(options),
        PLAIN: plain_step(options),
        OURS: own_step(options, sample, "topk"),
        BATCH: own_step(options, sample, "batchtopk"),
        SAMPLED: own_step(options, sample, "batchtopk", is_sampled=True),
    }
    try:
        from peers.overcomplete_peer import overcomplete_step
    except ImportError as error:
        print(f"{PEER} is not installed ({error}). {_INSTALL}")
        return sides
    sides[PEER] = overcomplete_step(options.n_channels, options.n_latents, options.k)
    return sides


def own_step(options: Options, sample: Tensor, kind: SaeKind, *, is_sampled: bool = False) -> Step:
    """A step of dvis."""
    mean = sample.mean(0)
    learner = Learner.start(
        SaeOptions(
            kind=kind,
            k=options.k,
            n_latents=options.n_latents,
            select="sampled" if is_sampled else "exact",
        ),
        sample,
        mean,
        1.0,
        n_steps=10_000,
        batch_size=len(sample),
    )
    return lambda batch: learner.learn(batch, mean, 100)


def plain_step(options: Options) -> Step:
    """A step as one writes it down: the codes' zeros are stored, multiplied and differentiated."""
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn(options.n_latents, options.n_channels, generator=generator)
    start = functional.normalize(start, dim=1)
    encoder, decoder = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    bias = nn.Parameter(torch.zeros(options.n_latents))
    decoder_bias = nn.Parameter(torch.zeros(options.n_channels))
    adam = torch.optim.Adam([encoder, decoder, bias, decoder_bias], lr=1e-4)

    def step(batch: Tensor) -> None:
        adam.zero_grad()
        pre_codes = functional.linear(batch - decoder_bias, encoder, bias)
        best = pre_codes.topk(options.k, dim=1)
        codes = torch.zeros_like(pre_codes).scatter(1, best.indices, best.values.relu())
        loss = (codes @ decoder + decoder_bias - batch).square().mean()
        loss.backward()
        adam.step()

    return step


def dense_products(options: Options) -> Step:
    """The five products of a dense step, and nothing else."""
    generator = torch.Generator().manual_seed(SEED)
    encoder, decoder = (
        torch.randn(options.n_latents, options.n_channels, generator=generator) for _ in range(2)
    )

    def step(batch: Tensor) -> None:
        codes = batch @ encoder.t()
        out = codes @ decoder
        of_codes = out @ decoder.t()
        codes.t() @ out
        of_codes.t() @ batch

    return step


def _in_turn(names: list[str], turn: int) -> Iterator[str]:
    """All names, each turn from another one on."""
    for i in range(len(names)):
        yield names[(turn + i) % len(names)]


def _print_machine() -> None:
    cores = len(os.sched_getaffinity(0))
    print(f"python {platform.python_version()} torch {version('torch')}, {platform.platform()}")
    print(f"{torch.get_num_threads()} of {cores} cores", end="; ")
    print("load of the last 1, 5, 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
