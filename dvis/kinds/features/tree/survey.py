"""What a jpg/json tree holds, from the names in its folders: the plan of an import.

Folders in, runs, variants, layers and units out. No file is opened, and links are not followed.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from dvis.kinds.features.tree.lookalikes import Lookalikes
from dvis.kinds.features.tree.problems import Problem, problem_at
from dvis.kinds.features.tree.tree_names import (
    FeatureName,
    ModelTree,
    form_of_suffix,
    parse_stem,
    split_feature_file,
    stem_of,
)
from dvis.kinds.features.words import MAX_CHANNELS, Form, Variant
from dvis.models.image_files import is_passed_over
from dvis.names import CheckpointName, fits, place_in_run
from dvis.schema import run_group


@dataclass
class VariantSurvey:
    """A variant as its names show it: layers with their channels, and some of its pictures."""

    n_channels: dict[str, int] = field(default_factory=dict)
    samples: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


@dataclass
class RunSurvey:
    """A run as its folders and names show it."""

    run: str
    folders: dict[str, Path] = field(default_factory=dict)
    variants: dict[str, VariantSurvey] = field(default_factory=dict)
    n_units: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def checkpoints(self) -> list[CheckpointName]:
        """Its checkpoints in training order, as far as their names tell."""
        return list(place_in_run(self.folders).names)


@dataclass(frozen=True)
class UnitFiles:
    """A unit's files in a folder: their form, and a hash of their sizes and times."""

    channel: int
    form: int
    fingerprint: int
    note: str = ""


def survey(tree: ModelTree, patterns: Sequence[str] = ()) -> tuple[list[RunSurvey], list[Problem]]:
    """Runs of a model's tree, and what in its folders cannot be taken.

    Where there are patterns, checkpoints that none of them fits are only named.
    """
    runs: dict[str, RunSurvey] = {}
    problems: list[Problem] = []
    lookalikes = Lookalikes(tree.root)
    for folder, names in _walk(tree.start, tree.root, problems):
        read = {name: found for name in names if (found := _read_name(name))}
        lookalikes.look(folder, (name for name in names if name not in read), read)
        files = [(of[0], name, of[1]) for name, of in read.items() if not of[2]]
        if not files:
            if read:
                list_units(folder, tree.root, problems)
            continue
        if not _is_text(str(folder.relative_to(tree.root))):
            problems.append(problem_at(tree.root, folder, "its name is not UTF-8; rename it"))
            continue
        if folder == tree.root:
            problems.append(
                problem_at(tree.root, folder, "holds features, but belongs to no checkpoint")
            )
            continue
        name = tree.run_of(folder)
        try:
            run_group(name)
        except ValueError as err:
            problems.append(problem_at(tree.root, folder, str(err)))
            continue
        run = runs.setdefault(name, RunSurvey(name))
        if not fits(folder.name, patterns):
            run.left_out.append(folder.name)
            continue
        if folder.name in run.folders:
            where = run.folders[folder.name].relative_to(tree.root.parent)
            problems.append(
                problem_at(tree.root, folder, f"the run has this checkpoint already, in {where}")
            )
            continue
        _add_folder(run, folder, files)
    return [runs[name] for name in sorted(runs)], problems + lookalikes.problems()


def _add_folder(run: RunSurvey, folder: Path, files: list[tuple[FeatureName, str, str]]) -> None:
    """Take up a checkpoint's folder, of whose files units, names and suffixes are given."""
    run.folders[folder.name] = folder
    run.n_units += len({(unit.layer, unit.channel, unit.variant) for unit, *_ in files})
    sampled: dict[tuple[str, str], list[str]] = {}
    for unit, file, suffix in files:
        variant = run.variants.setdefault(unit.variant, VariantSurvey())
        wide = variant.n_channels.get(unit.layer, 0)
        variant.n_channels[unit.layer] = max(wide, unit.channel + 1)
        if form_of_suffix(suffix) & Form.HAS_IMAGE:
            sampled.setdefault((unit.variant, unit.layer), []).append(file)
    for name in {unit.variant for unit, *_ in files}:
        run.variants[name].labels.append(folder.name)
    for (name, _), pictures in sampled.items():
        run.variants[name].samples += [folder / each for each in {min(pictures), max(pictures)}]


def list_units(
    folder: Path, root: Path, problems: list[Problem]
) -> dict[tuple[str, str], list[UnitFiles]]:
    """Units in a checkpoint's folder by variant and layer, with the stamps of their files."""
    found: dict[tuple[str, str, int], dict[bool, _Stamps]] = {}
    for entry in _entries(folder, root, problems):
        read = _read_name(entry.name)
        if read is None:
            continue
        name, suffix, fault = read
        if entry.is_symlink():
            fault = "is a symbolic link; links are not followed"
        elif not entry.is_file(follow_symlinks=False):
            fault = "is called like a feature file, but is none"
        if fault:
            problems.append(problem_at(root, Path(entry.path), fault))
            continue
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError as err:
            problems.append(problem_at(root, Path(entry.path), str(err.strerror)))
            continue
        unit = found.setdefault((name.variant, name.layer, name.channel), {})
        stamps = unit.get(name.is_numbered)
        if stamps is None:
            stamps = unit[name.is_numbered] = _Stamps(entry.name.removesuffix(suffix))
        stamps.add(suffix, stat.st_size, stat.st_mtime_ns)
    units: dict[tuple[str, str], list[UnitFiles]] = {}
    for (variant, layer, channel), forms in found.items():
        is_numbered, note = next(iter(forms)), ""
        if len(forms) == 2:
            is_numbered = max(forms, key=lambda numbered: (forms[numbered].newest, numbered))
            note = (
                f"{forms[is_numbered].stem}: the same unit is here with and without image number; "
                "this is newer"
            )
        units.setdefault((variant, layer), []).append(
            forms[is_numbered].unit(channel, is_numbered, note)
        )
    return units


class _Stamps:
    """Sizes and times of a unit's two files, the newest where one is there by several suffixes."""

    __slots__ = ("files", "notes", "stem")

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.files: dict[int, tuple[int, int, str]] = {}
        self.notes: list[str] = []

    def add(self, suffix: str, size: int, mtime_ns: int) -> None:
        kind = form_of_suffix(suffix) & (Form.HAS_IMAGE | Form.HAS_INFO)
        this, there = (mtime_ns, size, suffix), self.files.get(kind)
        self.files[kind] = this if there is None else max(this, there)
        if there is not None:
            newer, older = max(this, there)[2], min(this, there)[2]
            self.notes.append(f"{self.stem}{newer}: {older} is there too; this is newer")

    @property
    def newest(self) -> int:
        return max(mtime_ns for mtime_ns, *_ in self.files.values())

    def unit(self, channel: int, is_numbered: bool, note: str) -> UnitFiles:
        form = Form.NUMBERED_NAME if is_numbered else 0
        note = "; ".join(filter(None, [note, *sorted(self.notes)]))
        stamp = hashlib.blake2b(note.encode(), digest_size=8)
        # In this order, and by these letters, so that what was imported earlier is known again.
        for kind, letter in ((Form.HAS_INFO, b"i"), (Form.HAS_IMAGE, b"j")):
            if kind in self.files:
                mtime_ns, size, suffix = self.files[kind]
                form |= form_of_suffix(suffix)
                stamp.update(struct.pack("<cQq", letter, size, mtime_ns))
        stamp.update(bytes([form]))
        # 0 stands for no fingerprint, which never equals one.
        fingerprint = int.from_bytes(stamp.digest(), "little") or 1
        return UnitFiles(channel, form, fingerprint, note)


def _walk(start: Path, root: Path, problems: list[Problem]) -> Iterator[tuple[Path, list[str]]]:
    """Folders from one on, parents first, each with the names of its files."""
    left = [start]  # not by recursion: folders may be deeper than Python goes
    while left:
        folder = left.pop()
        names, below = _listed(folder, root, problems)
        yield folder, names
        left += sorted(below, reverse=True)


def _listed(folder: Path, root: Path, problems: list[Problem]) -> tuple[list[str], list[Path]]:
    """Names of the files in a folder, and the folders in it."""
    names, below = [], []
    for entry in _entries(folder, root, problems):
        if is_passed_over(entry.name):
            continue
        if entry.is_symlink():
            if entry.is_dir():
                message = "is a symbolic link to a folder; links are not followed"
                problems.append(problem_at(root, Path(entry.path), message))
        elif entry.is_dir(follow_symlinks=False):
            below.append(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            names.append(entry.name)
    return names, below


def _entries(folder: Path, root: Path, problems: list[Problem]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as err:
        problems.append(problem_at(root, folder, f"cannot be listed: {err.strerror}"))


# The same names recur in every checkpoint's folder.
@lru_cache(maxsize=32_768)
def _read_name(name: str) -> tuple[FeatureName, str, str] | None:
    """Unit and suffix that a feature file's name tells, and why it cannot be taken, or ""."""
    parts = split_feature_file(name)
    feature = parse_stem(parts[0]) if parts else None
    if feature is None or parts is None:
        return None
    form = Form.NUMBERED_NAME if feature.is_numbered else 0
    written = stem_of(feature.layer, feature.channel, Variant.parse(feature.variant), form)
    fault = ""
    if not _is_text(name):
        fault = "its name is not UTF-8; rename it"
    elif feature.channel >= MAX_CHANNELS:
        fault = f"channel {feature.channel} is beyond what a layer can have ({MAX_CHANNELS - 1})"
    elif written != parts[0]:
        fault = f"its name has zeros before a number; rename it to {written}{parts[1]}"
    return feature, parts[1], fault


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
