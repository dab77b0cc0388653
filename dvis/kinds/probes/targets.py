"""What is read off images: classes of a set, its factors, and labels from a file.

An image set and names in, a target for each name out: classes or numbers of its samples.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from dvis.analysis.linear_probes import Splits, accuracies, determinations
from dvis.kinds.probes.words import ACCURACY, R_SQUARED
from dvis.schema import counted, did_you_mean, nearest

LABEL = "label"
# What sets call the same thing each by another name.
_ALIASES = {
    "position_x": ("x", "posX"),
    "position_y": ("y", "posY"),
    "size": ("scale",),
    "scale": ("size",),
}
_SHOWN = 5
_MOST_CLASSES = 100  # of whole numbers in a column
_UNKNOWN = -1


class LabelledSamples(Protocol):
    """Samples with classes and factors, as an `ImageSet` has them."""

    @property
    def name(self) -> str:
        """What the set is called."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Ids of the samples."""

    @property
    def labels(self) -> np.ndarray:
        """Index into the classes of each."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def factors(self) -> Mapping[str, np.ndarray]:
        """Other values of the samples, by name."""

    @property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the values of those factors that are classes."""

    @property
    def periods(self) -> Mapping[str, float]:
        """Of factors that run in a circle, by how much until they are the same again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What is read off samples: a class, or numbers.

    Attributes
    ----------
    name : str
        What it is called.
    values : ndarray, (sample,) int64 or (sample, output) float64
        Class of each sample, -1 where it is not known; or its numbers: of a circle its sine and
        cosine.
    classes : tuple of str
        Names of the classes, by their numbers.
    """

    name: str
    values: np.ndarray
    classes: tuple[str, ...] = ()

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return self.values.ndim == 1

    @property
    def metric(self) -> str:
        """What its score is: accuracy, or R^2."""
        return ACCURACY if self.is_class else R_SQUARED

    @property
    def is_known(self) -> np.ndarray:
        """Whether each sample has it, (sample,) bool."""
        known = self.values != _UNKNOWN if self.is_class else np.isfinite(self.values).all(1)
        return np.asarray(known)

    @property
    def n_classes(self) -> int:
        """Classes that samples have; 0 of numbers."""
        return len(np.unique(self.values[self.is_known])) if self.is_class else 0

    @property
    def n_outputs(self) -> int:
        """Classes that there might be, or numbers."""
        return int(self.values.max()) + 1 if self.is_class else self.values.shape[1]

    @property
    def chance(self) -> float:
        """Score of guessing: each class alike, or the mean."""
        return 1 / self.n_classes if self.is_class else 0.0

    def majority(self, splits: Splits) -> np.ndarray:
        """Scores, (split,), of the commonest class of the training split, or of its mean."""
        of_train = self.values[splits.train]
        if self.is_class:
            classes, n_each = np.unique(of_train, return_counts=True)
            return accuracies(self.values == classes[n_each.argmax()], splits)
        mean = np.broadcast_to(of_train.mean(0), self.values.shape)
        return determinations(mean, self.values, splits)

    def shuffled(self, n_shuffles: int, seed: int) -> np.ndarray:
        """Values exchanged among the samples that have them, (shuffle, sample, ...)."""
        generator = np.random.default_rng((seed, n_shuffles))
        places = np.flatnonzero(self.is_known)
        drawn = np.repeat(self.values[None], n_shuffles, 0)
        for values in drawn:
            values[places] = self.values[generator.permutation(places)]
        return drawn

    def require_learnable(self, splits: Splits) -> None:
        """Raise where there is nothing to tell apart.

        Raises
        ------
        ValueError
            When the training split has fewer than two classes or values, or another split none.
        """
        lengths = [len(places) for places in splits]
        if min(lengths) < 2:
            raise ValueError(
                f"target {self.name!r} is known of {sum(lengths)} images: {lengths[0]} to train "
                f"on, {lengths[1]} for validation, {lengths[2]} held out. Each takes two or more; "
                "give more --n-images"
            )
        n_values = len(np.unique(self.values[splits.train], axis=0))
        if n_values < 2:
            what = "classes" if self.is_class else "values"
            raise ValueError(
                f"target {self.name!r} has fewer than two {what} among the {lengths[0]} images to "
                "train on, so that there is nothing to tell apart; take another target, or more "
                "--n-images"
            )


def targets_of(
    images: LabelledSamples, names: Sequence[str], labelled: Mapping[str, Target]
) -> list[Target]:
    """Targets by their names; by default the columns of labels, or the class.

    Parameters
    ----------
    images : LabelledSamples
        The samples.
    names : sequence of str
        What is asked for.
    labelled : mapping of str to Target
        Those of the columns of a file.

    Raises
    ------
    KeyError
        When there is no such target.
    ValueError
        When the set has no labels, and nothing else is there.
    """
    there = {**_of_set(images), **labelled}
    if not there:
        raise ValueError(
            f"{images.name} has no labels, so that there is nothing to read off. Give a --dataset "
            "with classes, or --labels FILE.csv with sample ids and labels"
        )
    asked = list(dict.fromkeys(names)) or list(labelled) or [LABEL]
    found = []
    for name in asked:
        known = next((n for n in (name, *_ALIASES.get(name, ())) if n in there), None)
        if known is None:
            raise KeyError(did_you_mean("target", name, there, images.name))
        found.append(replace(there[known], name=name))
    return found


def _of_set(images: LabelledSamples) -> dict[str, Target]:
    """The class and the factors of a set, by name."""
    found = {}
    if len(images.classes):
        values = images.labels.astype(np.int64)
        found[LABEL] = Target(name=LABEL, values=values, classes=images.classes)
    for name, values in images.factors.items():
        classes = images.categories.get(name, ())
        if classes:
            values = values.astype(np.int64)
        elif name in images.periods:
            angles = 2 * np.pi * values.astype(float) / images.periods[name]
            values = np.stack([np.sin(angles), np.cos(angles)], 1)
        else:
            values = values.astype(float)[:, None]
        found[name] = Target(name=name, values=values, classes=classes)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelFile:
    """Labels of samples from a csv file.

    Attributes
    ----------
    columns : mapping of str to Target
        Classes of the samples, in the order of their names; -1 where there is none.
    fingerprint : str
        What tells the file's content from others.
    notes : list of str
        What is to be said of it.
    """

    columns: Mapping[str, Target]
    fingerprint: str
    notes: list[str]

    @classmethod
    def read(cls, path: Path, images: LabelledSamples, *, is_part: bool) -> "LabelFile":
        """Labels of the samples of a set.

        Parameters
        ----------
        path : Path
            A header, of which the first column is the sample's id, and a line for each sample.
        images : LabelledSamples
            The samples.
        is_part : bool
            Whether they are a part of their set, so that the file may have others.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When it has no such layout, an id twice, or ids that the set does not have.
        """
        path = path.expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"No labels at {path}. Give a csv file: a header, then sample id and label"
            )
        header, lines = _lines(path)
        notes = _check_ids(path, [line[0] for line in lines], images, is_part=is_part)
        texts = {line[0]: line[1:] for line in lines}
        columns = {}
        for place, name in enumerate(header[1:]):
            known = {each: of[place] for each, of in texts.items() if of[place] != ""}
            numbers = _numbers(known)
            if numbers is not None:
                own = np.array([numbers.get(each, np.nan) for each in images.sample_ids])
                columns[name] = Target(name=name, values=own[:, None])
                notes.append(f"{path.name}: {name} is read as numbers, whose score is R²")
                continue
            classes = {text: number for number, text in enumerate(sorted(set(known.values())))}
            of_samples = [classes.get(known.get(each, ""), _UNKNOWN) for each in images.sample_ids]
            values = np.array(of_samples, np.int64)
            columns[name] = Target(name=name, values=values, classes=tuple(classes))
        content = blake2b(path.read_bytes(), digest_size=16).hexdigest()
        return cls(columns=columns, fingerprint=content, notes=notes)


def _numbers(known: Mapping[str, str]) -> dict[str, float] | None:
    """A column as numbers, where all are finite ones and some not whole; None where it has classes.

    Whole numbers are classes, unless there are more than are told apart as such.
    """
    try:
        numbers = {each: float(text) for each, text in known.items()}
    except ValueError:
        return None
    values = np.array([*numbers.values()])
    if not len(values) or not np.isfinite(values).all():
        return None
    is_whole = bool((values == np.rint(values)).all())
    return None if is_whole and len(np.unique(values)) <= _MOST_CLASSES else numbers


def _lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the other lines of a csv file, as texts without space around them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream) if line]
    except (UnicodeDecodeError, csv.Error) as err:
        raise ValueError(f"{path} is no csv file of UTF-8 text: {err}") from err
    if len(lines) < 2 or len(lines[0]) < 2 or not all(lines[0][1:]):
        raise ValueError(
            f"{path} has {counted(len(lines), 'line')} of {len(lines[0]) if lines else 0} columns; "
            "give a header such as sample,striped and a line for each sample"
        )
    header = lines[0]
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}, line {number} has {counted(len(line), 'column')}, the header "
                f"{len(header)}: {','.join(line)!r}"
            )
    if len(set(header)) < len(header):
        raise ValueError(f"{path} has a column twice: {', '.join(header)}. Name each once")
    return header, lines[1:]


def _check_ids(
    path: Path, ids: Sequence[str], images: LabelledSamples, *, is_part: bool
) -> list[str]:
    """What is to be said of the ids of a file; raises where they are not the set's."""
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if list(ids).count(each) > 1)
        raise ValueError(f"{path} has the sample {twice!r} twice; give each once")
    there = set(images.sample_ids)
    strange = [each for each in ids if each not in there]
    n_matched = len(ids) - len(strange)
    if strange and not (is_part and n_matched):
        close = nearest(strange[0], images.sample_ids)
        hint = "" if close is None else f" Did you mean {close!r}?"
        raise ValueError(
            f"{path}: {len(strange)} of {counted(len(ids), 'id')} are no samples of {images.name}: "
            f"{', '.join(strange[:_SHOWN])}{', ...' if len(strange) > _SHOWN else ''}. Its "
            f"{counted(len(there), 'sample')} are called {', '.join(images.sample_ids[:_SHOWN])}, "
            f"...{hint}"
        )
    n_lacking = len(there) - n_matched
    said = []
    if n_lacking:
        said.append(f"{path.name} has no label of {counted(n_lacking, 'image')}, left out")
    return said
