"""What a step of a chain costs in dvis, against a bare forward and backward pass and devinterp.

CPU: processor time of this process on one thread; all sides take turns. GPU: chains batched by vmap
against chains one after the other.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from statistics import median

import torch
import torchvision
import tyro
from results import Row, at_most, print_table, seconds
from torch import Tensor, nn
from torch.nn import functional

from dvis.kinds.llc.measure import ChainTask, LocalLearning, samples_of
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.llc.words import ALL_PARAMETERS

SEED = 0
N_CLASSES = 10
EPSILON, GAMMA = 1e-6, 100.0
PLAIN_TARGETS = {64: 1.15, 256: 1.05}  # without diagnostics, by batch size
DIAGNOSTICS_TARGET = 1.1  # norms and acceptance as often as by default, against a step without
BARE, OURS, PEER = "bare", "dvis", "devinterp 1.3 SGLD"
DEFAULT = "dvis with diagnostics, against without"
_INSTALL = "pip install --no-deps 'devinterp==1.3.2' && pip install einops cloudpickle"

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Processor time of a step of a chain, against a bare forward and backward pass."""

    model: str = "resnet18"
    """torchvision's name; its weights are random."""
    batch_sizes: tuple[int, ...] = (64, 256)
    """Samples in a minibatch."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    n_steps: int = 20
    """Steps of a chain in each turn, and bare passes; twenties, as diagnostics are."""
    n_turns: int = 3
    """Turns of each side."""
    quick: bool = False
    """One turn at the first batch size."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Steps of chains a second on a GPU: batched by vmap, and one after the other."""

    model: str = "resnet18"
    """torchvision's name; its weights are random."""
    batch_sizes: tuple[int, ...] = (64, 256)
    """Samples in a minibatch."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    n_chains: tuple[int, ...] = (2, 4, 8)
    """Chains that are batched."""
    n_steps: int = 50
    """Steps of each chain in a turn."""
    n_turns: int = 3
    """Turns of each side."""


def measure_cpu(options: Cpu) -> None:
    """Print a table of all batch sizes."""
    torch.set_num_threads(1)
    if options.quick:
        sizes = options.batch_sizes[:1]
        options = replace(options, batch_sizes=sizes, n_turns=1)
    print_machine()
    print(
        f"{options.model}, {options.image_size} px, {N_CLASSES} classes, CPU time a step; medians "
        f"of {options.n_turns} turns of {options.n_steps} steps"
    )
    model = random_model(options.model)
    rows: list[Row] = []
    for batch_size in options.batch_sizes:
        rows += time_batch_size(model, batch_size, options)
    print_table(rows, ("a step of a chain", "ms", "against", "ratio", "target"))
    print_load()


def time_batch_size(model: nn.Module, batch_size: int, options: Cpu) -> list[Row]:
    """Rows of one batch size: each way against the bare pass, diagnostics against none."""
    data = random_data(8 * batch_size, options.image_size)
    sides = _sides(model, data, batch_size)
    for side in sides.values():
        side(1)  # what is made when first used
    times: dict[str, list[float]] = defaultdict(list)
    for turn in range(options.n_turns):
        for name in _in_turn(list(sides), turn):
            times[name].append(_seconds_a_step(sides[name], options.n_steps))
    bare = times.pop(BARE)
    floors = {DEFAULT: times[OURS]}
    targets = {OURS: PLAIN_TARGETS.get(batch_size), DEFAULT: DIAGNOSTICS_TARGET}
    rows = []
    for name, of_side in times.items():
        floor = floors.get(name, bare)
        ratio = median(ours / least for ours, least in zip(of_side, floor, strict=True))
        rows.append(_row(f"batch {batch_size}, {name}", ratio, targets.get(name), of_side, floor))
    if PEER not in times:
        rows.append(Row(name=f"batch {batch_size}, {PEER}", ours="n/a"))
    return rows


def _row(
    name: str, ratio: float, target: float | None, times: list[float], bare: list[float]
) -> Row:
    ours, peer = seconds(median(times)), seconds(median(bare))
    if target is None:
        return Row(name=name, ours=ours, peer=peer, ratio=f"{ratio:.3g}x")
    return at_most(name, ratio, target, ours, peer)


def _seconds_a_step(side: Callable[[int], None], n_steps: int) -> float:
    """Processor time of a step, without what a chain costs once: copies, the weights' hash."""
    return (_cpu_seconds(partial(side, n_steps + 1)) - _cpu_seconds(partial(side, 1))) / n_steps


def _sides(model: nn.Module, data: Data, batch_size: int) -> dict[str, Callable[[int], None]]:
    """What is timed, by name; each takes so many steps."""
    settings = ChainSettings(burn_in=0, batch_size=batch_size, seed=SEED)
    sides: dict[str, Callable[[int], None]] = {
        BARE: lambda n_steps: bare_passes(model, data, batch_size, n_steps),
        OURS: chain_of(model, data, replace(settings, diagnostics_every=0)),
        DEFAULT: chain_of(model, data, settings),
    }
    try:
        from peers.devinterp_peer import sample_devinterp
    except ImportError as error:
        print(f"devinterp is not installed ({error}). {_INSTALL}")
        return sides
    nbeta = settings.resolve_nbeta(len(data[0]))
    sides[PEER] = lambda n_steps: sample_devinterp(
        model, data, n_steps, batch_size=batch_size, epsilon=EPSILON, gamma=GAMMA, nbeta=nbeta
    )
    return sides


def bare_passes(model: nn.Module, data: Data, batch_size: int, n_steps: int) -> None:
    """Forward and backward passes over minibatches in order."""
    images, labels = data
    for step in range(n_steps):
        first = step * batch_size % len(images)
        batch = slice(first, first + batch_size)
        model.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images[batch]), labels[batch]).backward()
    model.zero_grad(set_to_none=True)


def chain_of(
    model: nn.Module, data: Data, settings: ChainSettings, n_chains: int = 1, **options: bool
) -> Callable[[int], None]:
    """Samples some chains of so many steps, as a sweep does, without losses at the start."""
    samples = samples_of(data)
    task = ChainTask(
        parameters=ALL_PARAMETERS, epsilon=EPSILON, gamma=GAMMA, chains=tuple(range(n_chains))
    )

    def run(n_steps: int) -> None:
        of_length = replace(settings, draws=n_steps)
        measurement = LocalLearning(samples=samples, settings=of_length, **options)
        result = measurement.measure(model, task, None)
        assert bool(result["loss"].notnull().all()), "a chain that diverges ends early"

    return run


def measure_gpu(options: Gpu) -> None:
    """Print a table of batch sizes and numbers of chains."""
    if not torch.cuda.is_available():
        raise SystemExit("no GPU is in reach of torch; run the bench without `gpu`")
    print_machine()
    print(
        f"{options.model}, {options.image_size} px, steps of chains a second; medians of "
        f"{options.n_turns} turns of {options.n_steps} steps"
    )
    model = random_model(options.model).cuda()
    rows = []
    for batch_size in options.batch_sizes:
        data = random_data(8 * batch_size, options.image_size)
        for n_chains in options.n_chains:
            rows.append(time_chains(model, data, batch_size, n_chains, options))
    print_table(rows, ("chains at once", "vmap", "sequential", "ratio", "target"))


def time_chains(model: nn.Module, data: Data, batch_size: int, n_chains: int, options: Gpu) -> Row:
    """Row of some chains, batched against one after the other."""
    settings = ChainSettings(burn_in=0, batch_size=batch_size, seed=SEED, diagnostics_every=0)
    sides = {
        name: chain_of(model, data, settings, n_chains, batched=is_batched)
        for name, is_batched in (("vmap", True), ("sequential", False))
    }
    rates = _rates(sides, n_chains, options)
    return Row(
        name=f"batch {batch_size}, {n_chains} chains",
        ours=f"{rates['vmap']:.1f}/s",
        peer=f"{rates['sequential']:.1f}/s",
        ratio=f"{rates['vmap'] / rates['sequential']:.2f}x",
    )


def _rates(
    sides: Mapping[str, Callable[[int], None]], n_chains: int, options: Gpu
) -> dict[str, float]:
    """Steps of chains a second of each side."""
    rates: dict[str, list[float]] = defaultdict(list)
    for side in sides.values():
        side(2)  # kernels are chosen when first used
    for turn in range(options.n_turns):
        for name in _in_turn(list(sides), turn):
            torch.cuda.synchronize()
            started = time.perf_counter()
            sides[name](options.n_steps)
            torch.cuda.synchronize()
            elapsed = time.perf_counter() - started
            rates[name].append(n_chains * options.n_steps / elapsed)
    return {name: median(values) for name, values in rates.items()}


def random_model(name: str) -> nn.Module:
    """A torchvision model in eval mode with random weights of a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=N_CLASSES
        ).eval()
    return model


def random_data(n_samples: int, size: int) -> Data:
    """Images of noise, and labels."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(n_samples, 3, size, size, generator=generator)
    return images, torch.randint(N_CLASSES, (n_samples,), generator=generator)


def print_machine() -> None:
    """Print what the numbers depend on."""
    packages = " ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    cores = len(os.sched_getaffinity(0))
    print(f"python {platform.python_version()} {packages}, {platform.platform()}")
    print(f"{torch.get_num_threads()} of {cores} cores", end="")
    print(f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "")
    print_load()


def print_load() -> None:
    """Print how busy the machine is with everything that runs on it."""
    print("load of the last 1, 5, 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


def _cpu_seconds(function: Callable[[], None]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def _in_turn(names: list[str], turn: int) -> Iterator[str]:
    """All names, each turn from another one on."""
    for i in range(len(names)):
        yield names[(turn + i) % len(names)]


def main(options: Cpu | Gpu) -> None:
    """Measure what is asked for."""
    if isinstance(options, Cpu):
        measure_cpu(options)
    else:
        measure_gpu(options)


if __name__ == "__main__":
    main(tyro.cli(Cpu | Gpu, default=Cpu(), description=__doc__))
