"""Chains that nobody sampled, as a sweep hands them to a recorder; run as a program, it records."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.llc.record import LLCRecorder, recording_llc
from dvis.names import parse_checkpoint

LABELS = tuple(f"checkpoint_2024-03-25-00h{i:02d}_epoch_{i}_end.pth.tar" for i in (2, 9, 10))
SETTINGS = {
    "data": {"name": "shapes", "split": "train", "fingerprint": "1f", "n_samples": 100},
    "loss": "cross_entropy",
    "batch_size": 64,
    "nbeta": 10.0,
    "nbeta_rule": "given",
    "method": "sgld",
    "mode": "eval",
    "seed": 0,
}
EPSILONS, GAMMAS = (1e-4,), (1.0, 100.0)
N_CHAINS, N_DRAWS, BURN_IN = 3, 40, 20
DONE, DIVERGED = 1, 2


@dataclass(frozen=True)
class Start:
    parameters: tuple[str, ...] = ("all",)
    positions: tuple[int, ...] | None = None

    @property
    def parts(self) -> tuple[int, ...]:
        return tuple(range(len(self.parameters))) if self.positions is None else self.positions


@dataclass(frozen=True)
class Chains:
    parameters: str = "all"
    epsilon: float = EPSILONS[0]
    gamma: float = GAMMAS[0]
    chains: tuple[int, ...] = (0,)


def start_of(label: str, task: Start, shift: float = 0.0) -> xr.Dataset:
    n = len(task.parts)
    return xr.Dataset(
        {
            "init_loss": start_loss(label) + shift,
            "init_loss_se": 0.01,
            "hmax": ("parameters", np.arange(1.0, n + 1) + shift),
            "n_parameters": ("parameters", np.full(n, 7)),
        },
        {"parameters": [task.parameters[part] for part in task.parts]},
    )


def start_loss(label: str) -> float:
    return LABELS.index(label) + 1.0


def losses_of(label: str, task: Chains, chain: int, n_draws: int = N_DRAWS) -> np.ndarray:
    """Losses of a chain: the first ones are those of a shorter one."""
    key = f"{label}, {task.parameters}, {task.epsilon}, {task.gamma}, {chain}"
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_exponential(10_000)
    return start_loss(label) + 0.3 * noise[:n_draws]


def chains_of(
    label: str, task: Chains, n_draws: int = N_DRAWS, *, n_finite: int | None = None
) -> xr.Dataset:
    """What a sampler gives of a task; with `n_finite`, of chains that diverged after so many."""
    loss = np.stack([losses_of(label, task, chain, n_draws) for chain in task.chains])
    loss[:, n_finite:] = np.nan if n_finite is not None else loss[:, n_finite:]
    n = len(task.chains)
    return xr.Dataset(
        {
            "loss": (("chain", "draw"), loss),
            **{
                name: (("chain", "draw"), np.sqrt(loss).astype("float32"))
                for name in ("distance", "grad_norm", "noise_norm")
            },
            "mala": ("chain", np.full(n, 0.9, "float32")),
            "status": ("chain", np.full(n, DONE if n_finite is None else DIVERGED, "uint8")),
            "n_draws": ("chain", np.full(n, n_draws, "int32")),
            "n_finite": ("chain", np.isfinite(loss).sum(-1).astype("int32")),
            "error": ("chain", np.full(n, "", "<U40")),
        },
        {"chain": list(task.chains), "draw": np.arange(n_draws)},
    )


def all_tasks(n_chains: int = N_CHAINS) -> list[Chains]:
    return [Chains(gamma=gamma, chains=(chain,)) for gamma in GAMMAS for chain in range(n_chains)]


def recording(store: Path, name: str = "llc", *, overwrite: bool = False, **changes: Any) -> Any:
    return recording_llc(store, "net", "1", name, {**SETTINGS, **changes}, overwrite=overwrite)


def prepare(recorder: LLCRecorder, **changes: Any) -> None:
    """Room for everything above, but what is changed."""
    labels = changes.pop("labels", LABELS)
    given = {
        "checkpoints": [parse_checkpoint(label) for label in labels],
        "steps": {label: 100 * i for i, label in enumerate(labels)},
        "fingerprints": {label: 11 + i for i, label in enumerate(labels)},
        "parameters": ("all",),
        "epsilons": EPSILONS,
        "gammas": GAMMAS,
        "n_chains": N_CHAINS,
        "n_draws": N_DRAWS,
    }
    recorder.prepare(**{**given, **changes})


def record_all(
    recorder: LLCRecorder,
    *,
    n_chains: int = N_CHAINS,
    n_draws: int = N_DRAWS,
    after_each: Callable[[], None] = lambda: None,
) -> int:
    """Record what a recorder lacks, as a sweep would; return how many chains that was."""
    n_recorded = 0
    for label in LABELS:
        if recorder.missing(label, Start()):
            recorder.record(label, Start(), start_of(label, Start()))
        for task in all_tasks(n_chains):
            if recorder.missing(label, task):
                recorder.record(label, task, chains_of(label, task, n_draws))
                n_recorded += 1
                after_each()
    return n_recorded


def write_all(store: Path, name: str = "llc", **changes: Any) -> Path:
    """A store with all chains."""
    with recording(store, name) as recorder:
        prepare(recorder, **changes)
        record_all(
            recorder,
            n_chains=changes.get("n_chains", N_CHAINS),
            n_draws=changes.get("n_draws", N_DRAWS),
        )
        recorder.note(burn_in=BURN_IN, kind_of_run="estimate")
    return store


def record_until_killed(store: Path) -> None:
    """Record ever longer chains, for a test that kills this process."""

    def say() -> None:
        sys.stdout.write("recorded\n")
        sys.stdout.flush()

    n_draws = N_DRAWS
    with recording(store) as recorder:
        while True:
            prepare(recorder, n_draws=n_draws)
            record_all(recorder, n_draws=n_draws, after_each=say)
            n_draws += N_DRAWS


if __name__ == "__main__":
    record_until_killed(Path(sys.argv[1]))
