"""Where the chains of a sweep go: a group of traces, open for the one process that writes it.

Labelled Datasets in, committed chains out: `status` is written last, and a chain that has none is
sampled again.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from dvis.kinds.llc.settings import ChainStatus
from dvis.kinds.llc.words import (
    COORDINATE_NAMES,
    IS_STARTED,
    PROBLEM,
    START_WEIGHTS,
    WEIGHTS,
    LLCArrays,
    array_specs,
    create,
    llc_group,
)
from dvis.names import CheckpointName
from dvis.schema import (
    ALL_PARAMETERS,
    CHAIN,
    CHECKPOINT,
    DRAW,
    EPSILON,
    GAMMA,
    LLC,
    PARAMETERS,
    TRACE_DIMS,
    run_group,
)
from dvis.store.growth import settle
from dvis.store.replaced import retracting, settle_replaced
from dvis.store.writer import restructuring, writing

_TRACES = ("loss", "distance", "grad_norm", "noise_norm")
_OF_CHAINS = ("mala", "n_draws", "n_finite")
_LOSS_FINGERPRINT = "loss_fingerprint"
_MEASURED = (ChainStatus.DONE, ChainStatus.DIVERGED)


class LLCRecorder:
    """A group of chains, open for sweeps of starts and of chains; made by `recording_llc`.

    `n_draws_before` tells of how many draws the longest chain was before it was prepared.
    """

    def __init__(
        self, store: Path, run: str, name: str, settings: Mapping[str, Any], *, overwrite: bool
    ) -> None:
        self.store, self.run, self.name, self.overwrite = store, run, name, overwrite
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings)))  # as a store has it
        self.n_of_other_weights = 0
        self._fingerprints: dict[str, int] = {}
        self._of_other_weights: set[str] = set()
        self.n_draws_before: int | None = None
        self._n_draws_asked = 0
        self._group: zarr.Group | None = None

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        fingerprints: Mapping[str, int],
        parameters: Sequence[str],
        epsilons: Sequence[float],
        gammas: Sequence[float],
        n_chains: int,
        n_draws: int,
    ) -> None:
        """Make room for checkpoints and chains, and see what there is of them.

        It can be called again: for the starts alone first, without epsilons, gammas and chains.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        steps : mapping of str to int
            Training step by checkpoint, of those whose is known.
        fingerprints : mapping of str to int
            What tells the weights of checkpoints apart, of those that have a file.
        parameters : sequence of str
            What is sampled, in words.
        epsilons, gammas : sequence of float
            Step sizes and strengths of localisation.
        n_chains, n_draws : int
            Chains of each cell, and steps of each chain.

        Raises
        ------
        ValueError
            When the group was sampled with other settings, and is not to be overwritten.
        """
        self._fingerprints = dict(fingerprints)
        self._n_draws_asked = n_draws
        labels: dict[str, Sequence[Any]] = {
            PARAMETERS: list(parameters),
            EPSILON: [float(epsilon) for epsilon in epsilons],
            GAMMA: [float(gamma) for gamma in gammas],
            CHAIN: range(n_chains),
            DRAW: range(n_draws),
        }
        with restructuring(self.store):
            self._group = self._open()
            self._arrays = LLCArrays(self._group)
            if self.n_draws_before is None:
                self.n_draws_before = len(self._arrays.rows[DRAW])
            self._arrays.grow(checkpoints, labels)
            self._write_steps(steps)
            self._choose_shown(labels)
        self._status, self._n_draws = (self._arrays.read(name) for name in ("status", "n_draws"))
        self._is_started, self._hmax = (self._arrays.read(name) for name in (IS_STARTED, "hmax"))
        self._see_weights()

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the group; it must be prepared."""
        return dict(self._opened.attrs)

    def note(self, **attrs: Any) -> None:
        """Keep attributes with the group, and show them to readers."""
        with restructuring(self.store):
            self._opened.update_attributes(attrs)

    def hmax(self) -> xr.DataArray:
        """Largest curvature, (checkpoint, parameters), NaN where it is not known."""
        dims = TRACE_DIMS[:2]
        coords = {dim: list(self._arrays.rows[dim]) for dim in dims}
        return xr.DataArray(self._hmax.copy(), coords, dims, "hmax")

    def missing(self, label: str, task: Any) -> tuple[int, ...]:
        """Parts of a task that a checkpoint lacks: places of parameters, or numbers of chains.

        A checkpoint whose chains are of other weights lacks nothing: it is kept as it is.
        """
        if label in self._of_other_weights:
            return ()
        row = self._arrays.rows[CHECKPOINT][label]
        if _is_start(task):
            places = self._places_of([task.parameters[part] for part in task.parts])
            is_started = self._is_started[row, places] > 0
            return tuple(np.array(task.parts)[~is_started].tolist())
        *cell, chains = self._place(label, task)
        is_measured = np.isin(self._status[(*cell, chains)], _MEASURED)
        is_long_enough = self._n_draws[(*cell, chains)] >= self._n_draws_asked
        return tuple(np.array(task.chains)[~(is_measured & is_long_enough)].tolist())

    def record(self, label: str, task: Any, result: xr.Dataset) -> list[str]:
        """Put a task's result into the group; return what is to be said of it."""
        if _is_start(task):
            return self._record_start(label, result)
        place = self._place(label, task)
        errors = result["error"].values
        is_good = errors == ""
        status = np.where(is_good, result["status"].values, int(ChainStatus.FAILED))
        values = {name: self._as_wide(name, result) for name in _TRACES}
        values |= {name: result[name].values for name in _OF_CHAINS}
        values[WEIGHTS] = np.full(len(status), self._fingerprints.get(label, 0), np.uint64)
        if not is_good.all() or (self._status[place] == ChainStatus.FAILED).any():
            values[PROBLEM] = np.array([f"failed: {error}" if error else "" for error in errors])
        self._n_draws[place] = values["n_draws"]
        self._commit(place, values, status)
        return list(_said(label, task, result, status))

    def fail(self, label: str, task: Any, error: str) -> None:
        """Mark a task's chains failed, with the error; those that are measured are kept."""
        if _is_start(task):
            return  # it has no loss then, and is measured again
        *cell, chains = self._place(label, task)
        is_open = ~np.isin(self._status[(*cell, chains)], _MEASURED)
        place = (*cell, chains[is_open])
        n_open = int(is_open.sum())
        if n_open:
            problems = {PROBLEM: np.full(n_open, f"failed: {error}")}
            self._commit(place, problems, np.full(n_open, int(ChainStatus.FAILED)))

    def _record_start(self, label: str, result: xr.Dataset) -> list[str]:
        row = self._arrays.rows[CHECKPOINT][label]
        places = self._places_of(result[PARAMETERS].values.tolist())
        n_parameters = self._arrays.read("n_parameters")
        n_parameters[places] = result["n_parameters"].values
        self._arrays["n_parameters"][:] = n_parameters
        self._hmax[row, places] = result["hmax"].values
        self._arrays["hmax"][row] = self._hmax[row]
        if not self._is_started[row].any():  # else chains are held against what is there
            self._arrays[START_WEIGHTS][row] = self._fingerprints.get(label, 0)
            for name in ("init_loss", "init_loss_se"):
                self._arrays[name][row] = result[name].item()
        self._is_started[row, places] = 1
        self._arrays[IS_STARTED][row] = self._is_started[row]
        return []

    def _commit(
        self, place: tuple[Any, ...], values: Mapping[str, np.ndarray], status: np.ndarray
    ) -> None:
        """Write what there is of chains, retracted until their status follows all else."""
        if (self._status[place] != ChainStatus.TO_DO).any():
            with retracting(self._opened):
                self._put("status", place, np.full(len(status), int(ChainStatus.TO_DO)))
        for name, of_chains in values.items():
            self._put(name, place, of_chains)
        self._put("status", place, status)
        self._status[place] = status

    def _put(self, name: str, place: tuple[Any, ...], values: np.ndarray) -> None:
        array = self._arrays[name]
        array.oindex[place] = values.astype(array.dtype)

    def _as_wide(self, name: str, result: xr.Dataset) -> np.ndarray:
        """Values of chains (chain, draw), to the end of the group's draws."""
        n_draws = self._arrays[name].shape[-1]
        values = np.full((result.sizes[CHAIN], n_draws), np.nan)
        if name in result:
            values[:, : result.sizes[DRAW]] = result[name].transpose(CHAIN, DRAW).values
        return values

    def _place(self, label: str, task: Any) -> tuple[Any, ...]:
        """Indices of a task's chains in an array of chains."""
        rows = self._arrays.rows
        chains = np.array([rows[CHAIN][chain] for chain in task.chains], int)
        cell = (rows[CHECKPOINT][label], rows[PARAMETERS][task.parameters])
        return *cell, rows[EPSILON][float(task.epsilon)], rows[GAMMA][float(task.gamma)], chains

    def _places_of(self, parameters: Sequence[str]) -> list[int]:
        return [self._arrays.rows[PARAMETERS][name] for name in parameters]

    def _open(self) -> zarr.Group:
        """The group, which is made where there is none; anew where it has other settings."""
        path = llc_group(self.run, self.name)
        if (self.store / path / "zarr.json").exists():
            group = zarr.open_group(self.store, path=path, mode="r+", use_consolidated=False)
            if group.attrs.get("dvis_kind") == LLC:
                differing = [
                    key for key, value in self.settings.items() if group.attrs.get(key) != value
                ]
                if not differing:
                    settle(group, array_specs())
                    settle_replaced(group)
                    return group
                if not self.overwrite:
                    raise ValueError(self._other_settings(group, differing))
        shutil.rmtree(self.store / path, ignore_errors=True)
        zarr.open_group(self.store, path=run_group(self.run), mode="a").update_attributes(
            {"run": self.run}
        )
        group = zarr.open_group(self.store, path=path, mode="a")
        create(group)
        named = {"run": self.run, "name": self.name, "coordinates": COORDINATE_NAMES}
        group.update_attributes({**named, **self.settings})
        group.update_attributes({"dvis_kind": LLC})
        return group

    def _other_settings(self, group: zarr.Group, differing: Sequence[str]) -> str:
        theirs, ours = dict(group.attrs), self.settings
        texts = []
        for key in differing:
            there, asked = theirs.get(key), ours[key]
            if key == _LOSS_FINGERPRINT:
                if "loss" not in differing:
                    texts.append(
                        f"the loss {ours['loss']} is another one of the same name: its code, its "
                        "arguments or values that it uses have changed, or Python has"
                    )
            elif isinstance(there, dict) and isinstance(asked, dict):
                parts = [part for part in asked if there.get(part) != asked[part]]
                texts.append(f"{key}'s {', '.join(parts)}")
            else:
                texts.append(f"{key} ({there} there, {asked} asked for)")
        return (
            f"The chains {self.name!r} of {self.store}, run {self.run!r}, were sampled with other "
            f"settings: {'; '.join(texts)}. Give another --name, or --overwrite to replace them"
        )

    def _choose_shown(self, labels: Mapping[str, Sequence[Any]]) -> None:
        """What `dvis.open` is to show, where nobody has said so."""
        if "shown" in self._opened.attrs or not all(labels.values()):
            return
        shown = {dim: labels[dim][0] for dim in (PARAMETERS, EPSILON, GAMMA)}
        if ALL_PARAMETERS in labels[PARAMETERS]:
            shown[PARAMETERS] = ALL_PARAMETERS
        self._opened.update_attributes({"shown": shown})

    def _write_steps(self, steps: Mapping[str, int]) -> None:
        rows = self._arrays.rows[CHECKPOINT]
        values = self._arrays.read("step")
        known = {label: step for label, step in steps.items() if label in rows}
        values[[rows[label] for label in known]] = list(known.values())
        self._arrays["step"][:] = values

    def _see_weights(self) -> None:
        """Count chains of other weights under an old label; to overwrite them, retract them."""
        self.n_of_other_weights, self._of_other_weights = 0, set()
        of_chains, of_starts = (self._arrays.read(name) for name in (WEIGHTS, START_WEIGHTS))
        for label, weights in self._fingerprints.items():
            row = self._arrays.rows[CHECKPOINT][label]
            is_other = np.isin(self._status[row], _MEASURED) & ~np.isin(
                of_chains[row], (0, weights)
            )
            if is_other.any() and not self.overwrite:
                self.n_of_other_weights += int(is_other.sum())
                self._of_other_weights.add(label)
                continue
            if is_other.any():
                self._status[row][is_other] = ChainStatus.TO_DO
                with retracting(self._opened):
                    self._arrays["status"][row] = self._status[row]
            if of_starts[row] not in (0, weights):
                self._is_started[row], self._hmax[row] = 0, np.nan
                for name, values in ((IS_STARTED, 0), ("init_loss", np.nan), ("hmax", np.nan)):
                    self._arrays[name][row] = values

    @property
    def _opened(self) -> zarr.Group:
        assert self._group is not None
        return self._group


@contextmanager
def recording_llc(
    store: str | Path,
    model: str,
    run: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Iterator[LLCRecorder]:
    """Hold the right to write a run's chains.

    Parameters
    ----------
    store : str or Path
        The store's folder; it is made where there is none.
    model, run, name : str
        Whose chains they are, and what they are called.
    settings : mapping of str to plain values
        What all chains of the group must share to compare.
    overwrite : bool
        Replace chains of other settings, and those of other weights under the same label.

    Raises
    ------
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was recorded before is safe.
    """
    with writing(store, model, f"{run}/{LLC}") as path:
        yield LLCRecorder(path, run, name, settings, overwrite=overwrite)


def _is_start(task: Any) -> bool:
    """Whether a task is the start of a checkpoint, with several parameters, not some chains."""
    return not isinstance(task.parameters, str)


def _said(label: str, task: Any, result: xr.Dataset, status: np.ndarray) -> Iterator[str]:
    for i, chain in enumerate(result[CHAIN].values.tolist()):
        where = (
            f"{label}, {task.parameters}, epsilon {task.epsilon:g}, gamma {task.gamma:g}, "
            f"chain {chain}"
        )
        if status[i] == ChainStatus.FAILED:
            yield f"{where}: failed: {result['error'].values[i]}"
        if status[i] == ChainStatus.DIVERGED:
            n_finite, n_draws = (int(result[name].values[i]) for name in ("n_finite", "n_draws"))
            yield f"{where}: diverged, {n_finite} of {n_draws} losses are finite"
