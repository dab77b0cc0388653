"""Does damage go unnoticed: random flips, cuts and deletions of a store's files.

    python scripts/bench/damage.py [--n 1000] [--seed 0] [--store stores/mine.zarr]

One file at a time is damaged in a copy of a store; all that it may touch is read, and `dvis check`
looks at the store. By default the store is a small one with many kinds, made here in a minute.
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
from pathlib import Path

import xarray as xr

import dvis
from dvis.progress import progress_bar

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


def read(store: Path, touched: str) -> Iterator[tuple[str, xr.Dataset]]:
    """All groups that a file may belong to, loaded: all of them for a file of none."""
    found = dvis.contents(store)
    of_file = [entry for entry in found.entries if touched.startswith(f"{entry.group}/")]
    for entry in of_file or found.entries:
        opened = dvis.open(store, entry.run, kind=entry.kind, name=entry.name)
        yield entry.group, opened.load()


def damaged(data: bytes, way: str, rng: random.Random) -> bytes | None:
    """A file's bytes after damage; None where it is deleted."""
    if way == "delete":
        return None
    if way == "cut":
        return data[: rng.randrange(len(data))]
    flipped = bytearray(data)
    flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def outcome(store: Path, touched: str, whole: dict[str, xr.Dataset]) -> str:
    """What reading makes of a damaged store."""
    try:
        for group, dataset in read(store, touched):
            if not dataset.identical(whole[group]):
                return "wrong"
    except NOTICED:
        return "error"
    return "equal"


def is_named(store: Path) -> bool:
    """Whether `dvis check` has something to say."""
    try:
        return bool(dvis.check_store(store))
    except NOTICED:
        return True


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
        whole = dict(read(store, ""))
        counts: Counter[tuple[str, str]] = Counter()
        unnamed: Counter[str] = Counter()
        wrong = []
        with progress_bar(options.n, "files", "damage", shown=True) as bar:
            for _ in range(options.n):
                path, way = rng.choice(files), rng.choice(WAYS)
                before, touched = path.read_bytes(), str(path.relative_to(store))
                after = damaged(before, way, rng)
                path.unlink() if after is None else path.write_bytes(after)
                found = outcome(store, touched, whole)
                counts[way, found] += 1
                if found == "wrong":
                    wrong.append(f"{way} of {touched}")
                if not is_named(store):
                    unnamed[f"{way} of {touched}, read: {found}"] += 1
                path.write_bytes(before)
                bar.update()
    print(f"{len(files)} files of {len(whole)} groups, {options.n} damages")
    for way in WAYS:
        print(
            f"  {way:7}", *(f"{each} {counts[way, each]:5}" for each in ("error", "equal", "wrong"))
        )
    print(f"not named by check: {sum(unnamed.values())}")
    for text, n in unnamed.most_common(30):
        print(f"  {n} x {text}")
    for text in wrong[:30]:
        print(f"WRONG {text}")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
