"""What a report tells of the run itself: checkpoints, what was measured, curves of training."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from dvis.kinds.parts import Asked
from dvis.kinds.registry import KINDS, OF_UNITS
from dvis.kinds.told import Caveat, Code, Section, ToldFigure, ToldTable, long_list, number
from dvis.kinds.told_births import axis_of, values_numbers
from dvis.models.input_options import ASSUMED
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, SchemaError, counted
from dvis.store.contents import Entry, open_group
from dvis.store.damage import NamedArray
from dvis.store.portable import nested
from dvis.store.tally import count_status

_MOST_ROWS = 24
_MOST_PROBLEMS = 10
_ODD = ("failed", "incomplete", "diverged")
# What training may have kept of checkpoints, in the order in which it is shown.
_CURVES = ("val_loss", "train_loss", "val_accuracy", "train_accuracy")


def run_section(asked: Asked) -> Section:
    """What the run is and what of it the store holds."""
    attrs, run_attrs = asked.contents.attrs, asked.contents.run_attrs.get(asked.run, {})
    model = str(attrs.get("model", "unknown"))
    entries = [entry for entry in asked.contents.entries if entry.run == asked.run]
    places = _places(asked)
    texts = [f"Model {model}, training run {asked.run}. {_moments_text(places)}"]
    others = sorted({entry.run for entry in asked.contents.entries} - {asked.run})
    if others:
        texts.append(
            f"The store holds {counted(len(others), 'other run')} too, which this report is not "
            f"of: {long_list(others)}. `dvis report --run` takes another one."
        )
    batches = run_attrs.get("batches_per_epoch")
    if batches:
        read = ", read off the checkpoints' times" if run_attrs.get("is_estimated") else ""
        texts.append(f"An epoch has {counted(batches, 'batch', 'batches')}{read}.")
    texts.append(
        "This is one training run. Intervals and nulls below are over images, units or chains, "
        "each as it says; none of them says what another seed of the training would give."
    )
    shown = [_measured_table(asked, entries)] if entries else []
    if places is not None:
        shown.append(_checkpoint_table(places))
    return Section(
        title="The run",
        finding=texts[0],
        texts=texts[1:],
        shown=shown,
        caveats=list(_caveats(asked, entries)),
    )


def _places(asked: Asked) -> xr.Dataset | None:
    """Checkpoints of the run's group that has most of them, with their places in training."""
    best = None
    for kind in KINDS.values():
        for _, dataset in asked.groups(kind.reader):
            if CHECKPOINT not in dataset.dims or "step" not in dataset.coords:
                continue
            if best is None or dataset.sizes[CHECKPOINT] > best.sizes[CHECKPOINT]:
                best = dataset
    if best is None or not best.sizes[CHECKPOINT]:
        return None
    names = [name for name, each in best.coords.items() if each.dims == (CHECKPOINT,)]
    return xr.Dataset(coords={name: best.coords[name] for name in names}).load()


def _moments_text(places: xr.Dataset | None) -> str:
    if places is None:
        return "No checkpoint is measured yet."
    names = moment_names(places)
    if len(names) == 1:
        return f"One checkpoint, {names[0]}: nothing can be said of what happened over training."
    return f"{len(names)} checkpoints, from {names[0]} to {names[-1]}."


def _measured_table(asked: Asked, entries: list[Entry]) -> ToldTable:
    rows = []
    for entry in entries:
        if entry.kind not in KINDS:
            rows.append([entry.kind, entry.name, "a kind that this dvis does not know", ""])
            continue
        counts = _counts(asked, entry)
        there = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n and name != "absent")
        rows.append([KINDS[entry.kind].noun, entry.name, there or "nothing yet", _images(entry)])
    return ToldTable(
        title="What was measured",
        columns=["what", "name", "parts by status", "images"],
        rows=rows,
    )


def _counts(asked: Asked, entry: Entry) -> dict[str, int]:
    try:
        group = open_group(asked.store, entry)
        return count_status(NamedArray(group["status"]))
    except (SchemaError, KeyError):
        return {}


def _images(entry: Entry) -> str:
    """Which images a group was measured of, where its attributes say so."""
    images = nested(entry.attrs.get("images", {}))
    if not isinstance(images, dict) or not images.get("name"):
        return ""
    n = images.get("n_images")
    return f"{n} of {images['name']}" if n else str(images["name"])


def _checkpoint_table(places: xr.Dataset) -> ToldTable:
    names, labels = moment_names(places), places[CHECKPOINT].values.tolist()
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST_ROWS)).round())
    rows = []
    for place in chosen.astype(int).tolist():
        epoch = float(places["epoch"].values[place]) if "epoch" in places.coords else np.nan
        rows.append([names[place], number(epoch) if epoch >= 0 else "–", str(labels[place])])
    left = len(names) - len(rows)
    return ToldTable(
        title="Checkpoints",
        columns=["called here", "epoch", "name in the store"],
        rows=rows,
        note=f"{left} others between these are not listed." if left else "",
    )


def _caveats(asked: Asked, entries: list[Entry]) -> Iterator[Caveat]:
    for entry in entries:
        if entry.kind not in KINDS:
            continue
        counts = _counts(asked, entry)
        n_all, noun = sum(counts.values()), KINDS[entry.kind].noun
        for name in _ODD:
            if counts.get(name):
                yield Caveat(
                    f"{noun}, {entry.name}: {counts[name]:,} of {n_all:,} parts are {name}; they "
                    f"do not count.{_first_problems(asked, entry)}",
                    "wrong",
                )
        if not counts:
            yield Caveat(f"{noun}, {entry.name}: half grown, and left out.", "wrong")
        if ASSUMED in str(entry.attrs.get("input_source", "")):
            yield Caveat(
                f"{noun}, {entry.name}: nobody told how the model takes images; what is usual for "
                "ImageNet was assumed."
            )


def _first_problems(asked: Asked, entry: Entry) -> str:
    problems = list(KINDS[entry.kind].problems(asked.store, entry))[:_MOST_PROBLEMS]
    return f" The first: {problems[0]}" if problems else ""


def training_section(asked: Asked) -> Section | None:
    """Loss and accuracy over training, where the training kept them."""
    entries = asked.contents.of(OF_UNITS, asked.run)
    if not entries:
        return None
    reader = KINDS[OF_UNITS].reader
    entry = reader.choose(asked.contents, asked.run, None)
    try:
        dataset = asked.group(reader, entry)
    except SchemaError:
        return None
    there = [name for name in _CURVES if name in dataset]
    if not there or dataset.sizes[CHECKPOINT] < 2:
        return None
    opened = Code().then("open", str(asked.store), asked.run, entry.name)
    values = dataset[there].load()
    shown = [
        ToldFigure(
            title=_word_of(name),
            caption=f"{_word_of(name)} at each checkpoint, as the training wrote it down. It has "
            "no error: one run, one number.",
            code=opened.then("dvis.trajectory", variable=name, x=axis_of(dataset)),
            numbers=partial(values_numbers, values, [name]),
        )
        for name in there
        if bool(values[name].notnull().any())
    ]
    sentences = [_curve_sentence(values, name) for name in there]
    return Section(
        title="Loss and accuracy",
        finding=" ".join(filter(None, sentences)),
        texts=["These numbers are those of the training itself; dvis did not measure them."],
        shown=shown,
    )


def _curve_sentence(values: xr.Dataset, name: str) -> str:
    """From where to where a number went, and where it was best."""
    numbers = values[name].values.astype(float)
    known = np.flatnonzero(np.isfinite(numbers))
    if not len(known):
        return ""
    names = moment_names(values)
    first, last = known[0], known[-1]
    is_loss = "loss" in name
    best = known[(numbers[known].argmin if is_loss else numbers[known].argmax)()]
    text = (
        f"{_word_of(name)}: {number(numbers[first])} at {names[first]}, "
        f"{number(numbers[last])} at {names[last]}"
    )
    if best != last:
        extreme = "lowest" if is_loss else "highest"
        text += f", {extreme} at {names[best]} with {number(numbers[best])}"
    return f"{text}."


def _word_of(name: str) -> str:
    """A number of training in words."""
    word = name.replace("_", " ").replace("val ", "validation ").replace("train ", "training ")
    return f"{word[:1].upper()}{word[1:]}"


def absent_table(asked: Asked) -> ToldTable:
    """Kinds of which the run has nothing, and the command that would measure each."""
    there = {entry.kind for entry in asked.contents.entries if entry.run == asked.run}
    rows = [[kind.noun, kind.reader.made_by] for name, kind in KINDS.items() if name not in there]
    return ToldTable(
        title="What the store does not hold of this run",
        columns=["what", "the command that measures it"],
        rows=rows,
    )
