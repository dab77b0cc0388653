"""Sparse autoencoders trained on the activations that a store keeps, into the same store.

Options in; groups `{run}/saes/{layer}/{name}` grow, an autoencoder at a time. What is there is
skipped, and a training that was killed goes on where it was last saved.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.disk import remove_tree, write_lock
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import activations, entry_of, name_of
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.measure.stored import autoencoder_at, committed
from dvis.kinds.saes.measure.training import Trained, train
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.kinds.saes.read import saes
from dvis.kinds.saes.store_options import BATCH_SIZE, TrainOptions
from dvis.kinds.saes.words import BEGAN_FROM, KIND, LOG_STEP, group_name, sae_words
from dvis.models.devices import find_device
from dvis.names import parse_checkpoint
from dvis.schema import CHANNEL, CHECKPOINT, SOURCE, TEXT, Status, counted, did_you_mean
from dvis.store.contents import Entry, contents, open_group
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing
from dvis.sweep.record import OTHER_WEIGHTS
from dvis.sweep.runner import Report

_ALL, _LAST = "all", "last"


def train_saes(options: TrainOptions, *, progress: bool = False) -> Report:
    """Train the sparse autoencoders that a store lacks.

    Parameters
    ----------
    options : TrainOptions
        Which, on which activations.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many were trained; what is there of other weights under a label is kept, and said.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or it keeps no activations.
    KeyError
        When it has no such run, layer, activations or checkpoint.
    ValueError
        When activations are missing or not finite, an option is out of its range, or the store has
        autoencoders of other options under the name.
    StoreLockedError
        When another process trains autoencoders of the name.
    DiskFullError
        When there is no space left; what was trained before is safe, and a second run goes on.
    """
    find_device(options.device)
    store = options.store.expanduser()
    found = contents(store)
    entry = entry_of(found, options.layer, options.activations, options.run, with_values=True)
    kept = activations(store, options.layer, name_of(entry), entry.run, allow_partial=True)
    labels = chosen_checkpoints(kept, options.checkpoints)
    wanted = dict(options.autoencoders())
    shown = "/".join([options.layer, options.name or ", ".join(wanted)])
    report = Report(store=store, run=entry.run, name=shown, unit="autoencoder")
    weights = weights_of(store, entry)
    model = str(found.attrs.get("model", ""))
    options = _with_batches(options, _rows(options, entry, labels[0]).n_rows)
    _rows(options, entry, labels[0]).batch(0)  # raises before anything is written
    with _alone(store, entry.run, options.layer, wanted):
        groups = {
            name: _opened(store, model, entry, options, name, each, kept)
            for name, each in wanted.items()
        }
        n_others = 0
        for label in labels:
            at = _Place(store, model, entry.run, label, weights[label])
            starts = {name: _start(groups[name], at, options, weights) for name in wanted}
            lacking, others = _lacking(groups, at, starts, options.overwrite)
            n_others += len(others)
            folder = of_all = _state_folder(at, options, entry.name, starts)
            if lacking:
                # A pass that was killed when some of its autoencoders were kept is of all of them.
                begun = starts if of_all.exists() else {name: starts[name] for name in lacking}
                folder = _state_folder(at, options, entry.name, begun)
                trained = _trained(options, entry, at, begun, wanted, folder, progress)
                for name in lacking:
                    _keep(groups[name], at, trained[name], starts[name])
                report.n_measured += len(lacking)
            for each in {folder, of_all}:
                forget_state(store, each)
    report.kept = {OTHER_WEIGHTS: n_others}
    if left_out := [label for label in not_whole(kept) if label not in labels]:
        report.notes.append(
            f"{counted(len(left_out), 'checkpoint')} left out, whose activations are not all there "
            f"(`dvis info` says why): {', '.join(left_out[:5])}"
        )
    return report


@dataclass(frozen=True)
class _Place:
    """Where an autoencoder goes: a checkpoint of a run of a model's store."""

    store: Path
    model: str
    run: str
    label: str
    weights: int


def chosen_checkpoints(kept: xr.Dataset, wanted: Sequence[str]) -> list[str]:
    """Checkpoints that are asked for, in training order.

    Raises
    ------
    KeyError
        When there is no such checkpoint.
    """
    there = [str(label) for label in kept[CHECKPOINT].values]
    if tuple(wanted) == (_ALL,):
        return [label for label in there if label not in not_whole(kept)] or there
    asked = [there[-1] if each == _LAST and _LAST not in there else each for each in wanted]
    for each in asked:
        if each not in there:
            raise KeyError(did_you_mean(CHECKPOINT, each, there, "the activations"))
    return [label for label in there if label in asked]


def not_whole(kept: xr.Dataset) -> list[str]:
    """Checkpoints of which not all blocks of samples are there, of activations."""
    status = kept["status"]
    is_whole = (status == Status.COMPLETE).all([dim for dim in status.dims if dim != CHECKPOINT])
    return [str(label) for label in kept[CHECKPOINT].values[~is_whole.values]]


def weights_of(store: Path, entry: Entry) -> dict[str, int]:
    """What tells the weights of checkpoints apart whose activations are kept, by label."""
    group: Any = open_group(store, entry)
    labels = np.asarray(group[CHECKPOINT][:]).tolist()
    weights = np.asarray(group[f"{SOURCE}/weights"][:]).max(1, initial=0)
    return dict(zip(labels, weights.tolist(), strict=True))


@contextmanager
def _alone(store: Path, run: str, layer: str, names: Iterable[str]) -> Iterator[None]:
    """Train autoencoders of these names in no other process."""
    with ExitStack() as stack:
        for name in sorted(names):
            part = f"{run}/{KIND}/{group_name(layer, name)}"
            stack.enter_context(write_lock(store, part, wait=False))
        yield


def _opened(
    store: Path,
    model: str,
    entry: Entry,
    options: TrainOptions,
    name: str,
    wanted: SaeOptions,
    kept: xr.Dataset,
) -> Group:
    """The group of an autoencoder, with room for all that it will have."""
    n_channels = kept.sizes[CHANNEL]
    n_latents = wanted.width(n_channels)
    settings = {
        "layer": options.layer,
        "activations": name_of(entry),
        "dataset": entry.attrs["dataset"],
        "fingerprint": entry.attrs["fingerprint"],
        "n_steps": options.n_steps,
        "batch_size": options.batch_size,
        "log_every": options.log_every,
        "warm_start": options.warm_start,
        **asdict(wanted),
    }
    n_logged = -(-options.n_steps // options.log_every)
    steps = [min((i + 1) * options.log_every, options.n_steps) for i in range(n_logged)]
    labels = chosen_checkpoints(kept, options.checkpoints)
    with writing(store, model, entry.run, KIND) as path, restructuring(path):
        group = Group.open(
            path,
            sae_words(n_latents=n_latents, n_channels=n_channels),
            entry.run,
            group_name(options.layer, name),
            settings,
            overwrite=options.overwrite,
        )
        dims = {LATENT: range(n_latents), CHANNEL: range(n_channels), LOG_STEP: steps}
        is_there = np.asarray(group.array("status")[:]) == Status.COMPLETE
        if options.warm_start and not is_there.any():  # of others it is not known
            group.add_arrays([BEGAN_FROM])
        group.grow([parse_checkpoint(label) for label in labels], dims)
        group.write_column("step", known_steps(kept))
    return group


def known_steps(kept: xr.Dataset) -> dict[str, int]:
    """Training steps of a Dataset's checkpoints, by label, of those whose is known."""
    labels = [str(label) for label in kept[CHECKPOINT].values]
    steps = zip(labels, kept["step"].values.tolist(), strict=True)
    return {label: int(step) for label, step in steps if step >= 0}


def _made_of(group: Group, label: str) -> int | None:
    """Of which weights of the network a checkpoint's autoencoder is; None where there is none."""
    row = group.rows[CHECKPOINT][label]
    is_complete = int(group.array("status")[row]) == Status.COMPLETE
    return int(group.array(f"{SOURCE}/weights")[row]) if is_complete else None


def _start(group: Group, at: _Place, options: TrainOptions, weights: Mapping[str, int]) -> str:
    """The last checkpoint before that has an autoencoder, "" where one begins afresh.

    One of other weights of the network than the activations' is none.
    """
    if not options.warm_start:
        return ""
    name = str(group.attrs["name"]).removeprefix(group_name(options.layer, ""))
    labels = saes(at.store, options.layer, name, at.run)[CHECKPOINT].values.tolist()
    for label in reversed(labels[: labels.index(at.label)]):
        made_of = _made_of(group, label)
        if made_of is not None and made_of in (0, weights.get(label, made_of)):
            return str(label)
    return ""


def _lacking(
    groups: Mapping[str, Group], at: _Place, starts: Mapping[str, str], overwrite: bool
) -> tuple[list[str], list[str]]:
    """Names to train at a checkpoint, and those that are kept of other weights."""
    states = {name: _made_of(group, at.label) for name, group in groups.items()}
    lacking = [name for name, of in states.items() if of is None]
    others = [name for name, of in states.items() if of not in (None, 0, at.weights)]
    if not overwrite:
        return lacking, others
    began = {name: _began_from(group, at.label) for name, group in groups.items()}
    apart = [name for name, label in began.items() if label not in (None, starts[name])]
    return [name for name in groups if name in {*lacking, *others, *apart}], []


def _began_from(group: Group, label: str) -> str | None:
    """From which checkpoint's autoencoder that of a checkpoint began, None where it is not told."""
    if BEGAN_FROM not in group.words.arrays:
        return None
    return str(group.array(BEGAN_FROM)[group.rows[CHECKPOINT][label]])


def _trained(
    options: TrainOptions,
    entry: Entry,
    at: _Place,
    starts: Mapping[str, str],
    wanted: dict[str, SaeOptions],
    state: Path,
    progress: bool,
) -> dict[str, Trained]:
    """Autoencoders of a checkpoint, trained over one pass of its rows from where each starts."""
    rows = _rows(options, entry, at.label)
    warm = [
        autoencoder_at(saes(at.store, options.layer, name, at.run), label) if label else None
        for name, label in starts.items()
    ]
    over = PassOptions(
        n_steps=options.n_steps,
        log_every=options.log_every,
        save_every=options.save_every,
        device=options.device,
        progress=progress,
    )
    told = [wanted[name] for name in starts]
    trained = train(rows, told, over, state=state, warm=warm if any(warm) else None)
    return dict(zip(starts, trained, strict=True))


def _rows(options: TrainOptions, entry: Entry, label: str) -> ActivationRows:
    """The rows that are trained on at a checkpoint."""
    return ActivationRows.open(
        options.store.expanduser(),
        options.layer,
        label,
        name=name_of(entry),
        run=entry.run,
        batch_size=options.batch_size or BATCH_SIZE,
    )


def _with_batches(options: TrainOptions, n_rows: int) -> TrainOptions:
    """Options with rows of a step: as told, else as many as usual, or as there are."""
    return replace(options, batch_size=options.batch_size or min(BATCH_SIZE, n_rows))


def _keep(group: Group, at: _Place, trained: Trained, start: str) -> None:
    """Write a trained autoencoder, and its status after everything else."""
    result = committed(trained.autoencoder, at.label).assign(
        {
            "scale": (CHECKPOINT, np.array([trained.scale])),
            f"{SOURCE}/weights": (CHECKPOINT, np.array([at.weights], np.uint64)),
            **{name: ((CHECKPOINT, LOG_STEP), log[None]) for name, log in trained.log.items()},
        }
    )
    with writing(at.store, at.model, at.run, KIND):
        if BEGAN_FROM in group.words.arrays:
            result[BEGAN_FROM] = (CHECKPOINT, np.array([start], TEXT))
            # Those that began from the one that is replaced begin from none that is there.
            labels = [
                each for each in group.rows[CHECKPOINT] if _began_from(group, each) == at.label
            ]
            group.write_column(BEGAN_FROM, dict.fromkeys(labels, ""))
        group.commit(result)


def _state_folder(
    at: _Place, options: TrainOptions, activations_name: str, starts: Mapping[str, str]
) -> Path:
    """Where the state of a training lies, beside the store: of its options, rows and starts."""
    told = {name: asdict(each) for name, each in options.autoencoders()}
    steps = [options.n_steps, options.batch_size, options.log_every, options.warm_start]
    facts = [at.run, at.label, at.weights, activations_name, steps, told, starts]
    number = blake2b(json.dumps(facts, default=str).encode(), digest_size=12).hexdigest()
    return states_beside(at.store) / number


def states_beside(store: Path) -> Path:
    """Folder of the states of trainings, beside the store."""
    return store.with_name(f".{store.name}.training")


def forget_state(store: Path, folder: Path) -> None:
    """Remove the state of a training that is done, and the folder of states once it is empty."""
    if folder.exists():
        remove_tree(folder, root=states_beside(store))
    if states_beside(store).is_dir() and not any(states_beside(store).iterdir()):
        states_beside(store).rmdir()
