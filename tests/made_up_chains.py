"""Chains that nobody sampled, as a sweep hands them to a recorder; run as a program, it records."""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.llc.words import IS_STARTED, KIND, WORDS
from dvis.names import parse_checkpoint
from dvis.store.writer import restructuring, writing
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.record import OTHER_WEIGHTS, GroupRecorder

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
    mark: str = IS_STARTED

    @property
    def labels(self) -> dict[str, Any]:
        return {"parameters": [self.parameters[part] for part in self.parts]}

    @property
    def parts(self) -> tuple[int, ...]:
        return tuple(range(len(self.parameters))) if self.positions is None else self.positions


@dataclass(frozen=True)
class Chains:
    parameters: str = "all"
    epsilon: float = EPSILONS[0]
    gamma: float = GAMMAS[0]
    chains: tuple[int, ...] = (0,)
    mark: str = "status"

    @property
    def parts(self) -> tuple[int, ...]:
        return self.chains

    @property
    def labels(self) -> dict[str, Any]:
        cell = {name: getattr(self, name) for name in ("parameters", "epsilon", "gamma")}
        return {**cell, "chain": list(self.chains)}


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
            "note": ("chain", np.full(n, _note(n_finite, n_draws), object)),
        },
        {"chain": list(task.chains), "draw": np.arange(n_draws)},
    )


def _note(n_finite: int | None, n_draws: int) -> str:
    return "" if n_finite is None else f"diverged, {n_finite} of {n_draws} losses are finite"


def all_tasks(n_chains: int = N_CHAINS) -> list[Chains]:
    return [Chains(gamma=gamma, chains=(chain,)) for gamma in GAMMAS for chain in range(n_chains)]


class Recorder:
    """What a sweep of chains records with, prepared as often as a test likes."""

    def __init__(self, store: Path, run: str, name: str, settings: Any, overwrite: bool) -> None:
        self.store, self.name = store, name
        self._settings, self._place = settings, Place(run=run, overwrite=overwrite)

    def prepare(
        self,
        checkpoints: Any,
        steps: Any,
        fingerprints: Any,
        parameters: Any,
        epsilons: Any,
        gammas: Any,
        n_chains: int,
        n_draws: int,
    ) -> None:
        labels = {
            "parameters": parameters,
            "epsilon": epsilons,
            "gamma": gammas,
            "chain": range(n_chains),
            "draw": range(n_draws),
        }
        shown = {dim: labels[dim][0] for dim in ("parameters", "epsilon", "gamma") if epsilons}
        plan = Plan(
            model="net",
            words=WORDS,
            name=self.name,
            measurement=SimpleNamespace(),  # nothing is measured
            tasks=(),
            settings=self._settings,
            labels=labels,
            at_least={"n_draws": n_draws},
            noted=lambda group: {} if "shown" in group.attrs or not shown else {"shown": shown},
        )
        run = SimpleNamespace(
            checkpoints=[SimpleNamespace(name=name) for name in checkpoints],
            steps=steps,
            fingerprints=fingerprints,
        )
        self._recorder = GroupRecorder.open(plan, self.store, run, self._place)  # type: ignore[arg-type]
        self.missing, self.record = self._recorder.missing, self._recorder.record
        self.fail = self._recorder.fail

    @property
    def attrs(self) -> dict[str, Any]:
        return self._recorder.group.attrs

    @property
    def n_of_other_weights(self) -> int:
        return self._recorder.kept[OTHER_WEIGHTS]

    def hmax(self) -> xr.DataArray:
        group = self._recorder.group
        dims = ("checkpoint", "parameters")
        coords = {dim: list(group.rows[dim]) for dim in dims}
        return xr.DataArray(group.array("hmax")[:], coords, dims)

    def note(self, **attrs: Any) -> None:
        with restructuring(self.store):
            self._recorder.group.note(**attrs)


@contextmanager
def recording(
    store: Path,
    name: str = "llc",
    *,
    overwrite: bool = False,
    model: str = "net",
    run: str = "1",
    settings: Any = None,
    **changes: Any,
) -> Iterator[Recorder]:
    given = {**SETTINGS, **changes} if settings is None else settings
    with writing(store, model, run, KIND) as path:
        yield Recorder(path, run, name, given, overwrite)


def prepare(recorder: Recorder, **changes: Any) -> None:
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
    recorder: Recorder,
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
