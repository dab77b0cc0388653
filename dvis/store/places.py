"""Steps and epochs that a user told of a run's checkpoints, and all that a store knows of them.

They lie in the run's attributes, `told_places`, where one atomic write changes them for the groups
of every kind, those that a sweep is writing among them; readers put them over what the arrays say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import explain_full_disk
from dvis.names import (
    CheckpointName,
    Steps,
    Told,
    check_told,
    is_placed,
    merged,
    parse_checkpoint,
    read_told,
    repeated_steps,
    source_words,
    step_sources,
    training_order,
    whole_number,
)
from dvis.schema import CHECKPOINT, SchemaError, counted, is_forgotten, run_group
from dvis.store.contents import Contents, Entry, StoreLike, contents, open_group
from dvis.store.damage import NamedArray
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring

_TOLD, _NOTES = "told_places", "place_notes"


def set_steps(store: str | Path, steps: Steps, run: str | None = None) -> str:
    """Tell a store the training steps, and epochs, of checkpoints of a run.

    From then on every opening has them and shows the checkpoints in their order, whatever was
    measured; what was told before of other checkpoints stays.

    Parameters
    ----------
    store : str or Path
        A store's folder.
    steps : str, Path or mapping
        A csv file (`name,step` or `name,step,epoch` in each line), a json file, or a mapping of
        labels to steps, or to `{"step": 100, "epoch": 1}`.
    run : str, optional
        The run; by default the only one.

    Returns
    -------
    str
        Where the steps of the run's checkpoints come from now, in words, and which repeat.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or no file.
    KeyError
        When there is no such run.
    ValueError
        When the run is not named and there are several, or the steps are no numbers, or name a
        checkpoint twice or one that is not there.
    """
    path = Path(store).expanduser()
    found = contents(path)
    run = found.only_run(run)
    told = read_told(steps)
    names = stored_names(path, found, run)
    check_told(told, [name.label for name in names], f"{store}, run {run!r}")
    try:
        keep_places(path, run, told)
    except OSError as err:
        raise explain_full_disk(err, path) from err
    names = stored_names(path, contents(path), run)
    return ". ".join([sources_of(names, _attrs_of(path, run)), *repeated_steps(names)])


def keep_places(
    store: Path, run: str, told: Mapping[str, Told], notes: Sequence[str] | None = None
) -> None:
    """Keep what a user told of a run beside what is told already, and what is to be said of it.

    Parameters
    ----------
    store : Path
        The store, which is there.
    run : str
        The run.
    told : mapping of str to Told
        By label.
    notes : sequence of str, optional
        What was not believed of the places of its checkpoints; by default as before.
    """

    def changes() -> dict[str, Any]:
        attrs = _attrs_of(store, run)
        known = told_places(attrs)
        all_told = merged(known, told)
        of_told = {_TOLD: {label: list(place) for label, place in all_told.items()}}
        of_notes = {_NOTES: [*notes] if notes is not None else place_notes(attrs)}
        return {
            **(of_told if all_told != known else {}),
            **(of_notes if of_notes[_NOTES] != place_notes(attrs) else {}),
        }

    if changes():
        with restructuring(store):
            group = zarr.open_group(GuardedStore(store), path=run_group(run), mode="a")
            group.update_attributes({"run": run, **changes()})


def stored_places(store: Path, run: str) -> dict[str, Told]:
    """What a user told of a run before, by label; nothing where there is no store yet."""
    return told_places(_attrs_of(store, run))


def told_places(run_attrs: Mapping[str, Any]) -> dict[str, Told]:
    """What a user told, by label, out of a run's attributes.

    Raises
    ------
    SchemaError
        When that is no table of steps and epochs.
    """
    stored = run_attrs.get(_TOLD, {})
    try:
        return {label: Told(*map(_number, place)) for label, place in stored.items()}
    except (AttributeError, TypeError) as err:
        raise SchemaError(
            f"The run {run_attrs.get('run')!r} has an attribute {_TOLD} that tells no steps: "
            f"{str(stored)[:80]}. Remove it from the run's zarr.json"
        ) from err


def _number(value: Any) -> int | None:
    number = whole_number(value)
    if value is not None and number is None:
        raise TypeError(f"{value!r} is no whole number")
    return number


def place_notes(run_attrs: Mapping[str, Any]) -> list[str]:
    """What was not believed of the places of a run's checkpoints, out of its attributes."""
    return list(run_attrs.get(_NOTES, []))


def stored_names(store: StoreLike, found: Contents, run: str) -> list[CheckpointName]:
    """Checkpoints of a run that any of its groups has, with what the store knows of them."""
    told = told_places(found.run_attrs.get(run, {}))
    names: dict[str, CheckpointName] = {}
    for entry in found.entries:
        if entry.run != run:
            continue
        for label, epoch, step in _columns_of(store, entry):
            if is_forgotten(label):
                continue
            parsed = parse_checkpoint(label)
            name = names.get(label, replace(parsed, epoch=-1, step=-1))
            name = replace(name, epoch=max(epoch, name.epoch), step=max(step, name.step))
            names[label] = told.get(label, Told()).applied_to(name)
    return list(names.values())


def sources_of(names: Iterable[CheckpointName], run_attrs: Mapping[str, Any]) -> str:
    """Where the steps of a run's checkpoints come from, in words."""
    told = {label for label, place in told_places(run_attrs).items() if place.step is not None}
    sources = step_sources(
        names,
        told,
        run_attrs.get("batches_per_epoch"),
        is_estimated=bool(run_attrs.get("is_estimated")),
    )
    return source_words(sources)


def describe_places(store: StoreLike, found: Contents, run: str) -> list[str]:
    """Where the steps of a run come from, what has no place in it, and what was not believed."""
    attrs = found.run_attrs.get(run, {})
    names = stored_names(store, found, run)
    if not names:
        return []
    sources = sources_of(names, attrs)
    lines = [f"run {run}: steps of {counted(len(names), 'checkpoint')}: {sources}"]
    if any(name.step < 0 for name in names):
        lines[0] += f"; `dvis steps {found.name} FILE` tells them"
    counted_plainly = [n for n in names if n.is_counted and n.epoch >= 0]
    if counted_plainly:
        lines.append(
            f"run {run}: epochs of {counted(len(counted_plainly), 'checkpoint')} are plain numbers "
            f"in their names, such as {counted_plainly[0].label}"
        )
    without = [names[i].label for i in training_order(names) if not is_placed(names[i])]
    if without:
        shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        n_without = counted(len(without), "checkpoint")
        lines.append(f"run {run}: {n_without} without a place in training, at the end: {shown}")
    notes = dict.fromkeys([*place_notes(attrs), *repeated_steps(names)])
    return lines + [f"run {run}: {note}" for note in notes]


def _attrs_of(store: Path, run: str) -> dict[str, Any]:
    path = run_group(run)
    if not (store / path / "zarr.json").is_file():
        return {}
    return dict(zarr.open_group(store, path=path, mode="r", use_consolidated=False).attrs)


def _columns_of(store: StoreLike, entry: Entry) -> list[tuple[str, int, int]]:
    """Label, epoch and step of each checkpoint of a group, as its arrays have them."""
    group = open_group(store, entry)
    columns: list[Any] = [
        np.asarray(NamedArray(group[name])[:]) for name in (CHECKPOINT, "epoch", "step")
    ]
    return list(zip(*(column.tolist() for column in columns), strict=False))
