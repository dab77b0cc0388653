"""Does damage go unnoticed: random flips, cuts and deletions of a store's files.

    python scripts/bench/damage.py [--n 1000] [--seed 0] [--store stores/mine.zarr]

In a copy of a store, one file of each of several groups is damaged at a time: each of these groups
is read, and `dvis check` must name every one of them. A file of no group is damaged alone, and all
groups are read. By default the store is a small one with many kinds, made here in a minute.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

import dvis
from dvis.kinds.registry import KINDS
from dvis.progress import progress_bar
from dvis.store.contents import Contents, Entry

ROOT = Path(__file__).parents[2]
DVIS = Path(sys.executable).with_name("dvis")
NET = "scripts.digit_net:DigitNet"
WAYS = ("flip", "cut", "delete")
# What reading says of what it does not trust.
NOTICED = (ValueError, RuntimeError, OSError, KeyError)


def make_store(folder: Path) -> Path:
    """A small store with groups of many kinds."""
    run, store = folder / "run", folder / "digit_net.zarr"
    of_run = [
        "--model",
        NET,
        "--checkpoint-path",
        str(run),
        "--store",
        str(store),
        "--workers",
        "0",
    ]
    layers = ["--layers", "hidden1", "hidden2"]
    digits = ["--dataset", "digits", "--n-images", "64"]
    train = f"train --model {NET} --dataset digits --image-size 8 --steps 40 --n-checkpoints 3"
    sae = ["--layer", "hidden1", "--name", "digits-latents", "--checkpoints", "all", "--k", "2"]
    for command in (
        [
            *train.split(),
            "--batch-size",
            "64",
            "--no-epoch-ends",
            "--threads",
            "1",
            "--out",
            str(run),
        ],
        ["visualize", *of_run, *layers, "--max-iterations", "8", "--channels", "0", "1", "2"],
        ["respond", *of_run, *layers, *digits, "--name", "digits"],
        ["respond", *of_run, "--layers", "hidden1", "--feature-images", "all"],
        ["probe", *of_run, *layers, *digits, "--name", "digits"],
        ["activations", *of_run, *layers, *digits, "--keep", "values", "top:4", "--name", "digits"],
        ["sae", "train", str(store), *sae, "--expansion", "2", "--tokens", "20k"],
        ["llc", "estimate", *of_run, "--epsilon", "1e-4", "--draws", "20", "--burn-in", "10"],
        ["sizes", *of_run, *layers, *digits],
    ):
        subprocess.run([DVIS, *command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return store


@dataclass(frozen=True)
class Damage:
    """What is done to a file of a group; `entry` is None for a file of none."""

    path: Path
    way: str
    entry: Entry | None
    before: bytes
    after: bytes | None

    def do(self) -> None:
        """Damage the file."""
        self.path.unlink() if self.after is None else self.path.write_bytes(self.after)

    def undo(self) -> None:
        """Write what was there."""
        self.path.write_bytes(self.before)

    def is_named(self, faults: list[str]) -> bool:
        """Whether faults speak of the group; any fault does for a file of none."""
        if self.entry is None:
            return bool(faults)
        named = f"{self.entry.run}, {KINDS[self.entry.kind].noun} {self.entry.name}"
        return any(each.startswith((named, self.entry.group)) for each in faults)


def read(store: Path, entry: Entry) -> xr.Dataset:
    """A group, loaded."""
    return dvis.open(store, entry.run, kind=entry.kind, name=entry.name).load()


def entry_of(found: Contents, touched: str) -> Entry | None:
    """The group that a file is of."""
    of_file = [entry for entry in found.entries if touched.startswith(f"{entry.group}/")]
    return of_file[0] if of_file else None


def drawn(path: Path, entry: Entry | None, rng: random.Random) -> Damage:
    """A damage of a file: a flipped bit, a cut, a deletion."""
    way, before = rng.choice(WAYS), path.read_bytes()
    after: bytes | None = None
    if way == "cut":
        after = before[: rng.randrange(len(before))]
    elif way == "flip":
        flipped = bytearray(before)
        flipped[rng.randrange(len(before))] ^= 1 << rng.randrange(8)
        after = bytes(flipped)
    return Damage(path, way, entry, before, after)


def in_batches(damages: list[Damage]) -> Iterator[list[Damage]]:
    """Damages, each batch of groups that differ; one of no group is alone."""
    batches: list[dict[str, Damage]] = []
    for damage in damages:
        if damage.entry is None:
            yield [damage]
            continue
        group = damage.entry.group
        batch = next((b for b in batches if group not in b), None)
        if batch is None:
            batches.append(batch := {})
        batch[group] = damage
    yield from (list(batch.values()) for batch in batches)


def outcome(store: Path, damage: Damage, whole: list[tuple[Entry, xr.Dataset]]) -> str:
    """What reading makes of a damaged group, or of all where the file is of none."""
    try:
        for entry, dataset in whole:
            if damage.entry in (None, entry) and not read(store, entry).identical(dataset):
                return "wrong"
    except NOTICED:
        return "error"
    return "equal"


def checked(store: Path) -> list[str] | None:
    """What `dvis check` says; None where it refuses the store."""
    try:
        return [str(fault) for fault in dvis.check_store(store)]
    except NOTICED:
        return None


def unnamed(store: Path, batch: list[Damage]) -> list[Damage]:
    """The damages of a batch, which are done, that `dvis check` does not name."""
    faults = checked(store)
    if faults is not None:
        return [damage for damage in batch if not damage.is_named(faults)]
    if len(batch) == 1:
        return []  # refused with an error, which is said
    missed = []
    for each in batch:  # one of them hides the others
        for damage in batch:
            damage.undo()
        each.do()
        missed += unnamed(store, [each])
    return missed


def main() -> int:
    """Damage, read, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        source = options.store or make_store(Path(folder))
        store = Path(shutil.copytree(source, Path(folder) / "damaged.zarr"))
        files = [p for p in sorted(store.rglob("*")) if p.is_file() and p.stat().st_size]
        found = dvis.contents(store)
        whole = [(entry, read(store, entry)) for entry in found.entries]
        chosen = [rng.choice(files) for _ in range(options.n)]
        damages = [drawn(p, entry_of(found, str(p.relative_to(store))), rng) for p in chosen]
        counts: Counter[tuple[str, str]] = Counter()
        missed: list[str] = []
        wrong: list[str] = []
        with progress_bar(options.n, "files", "damage", shown=True) as bar:
            for batch in in_batches(damages):
                for damage in batch:
                    damage.do()
                for damage in batch:
                    reads = outcome(store, damage, whole)
                    counts[damage.way, reads] += 1
                    if reads == "wrong":
                        wrong.append(f"{damage.way} of {damage.path.relative_to(store)}")
                for damage in unnamed(store, batch):
                    missed.append(f"{damage.way} of {damage.path.relative_to(store)}")
                for damage in batch:
                    damage.undo()
                bar.update(len(batch))
    print(f"{len(files)} files of {len(whole)} groups, {options.n} damages")
    for way in WAYS:
        each = (f"{reads} {counts[way, reads]:5}" for reads in ("error", "equal", "wrong"))
        print(f"  {way:7}", *each)
    print(f"not named by check: {len(missed)}", *missed[:30], sep="\n  ")
    for text in wrong[:30]:
        print(f"WRONG {text}")
    return bool(wrong or missed)


if __name__ == "__main__":
    raise SystemExit(main())
