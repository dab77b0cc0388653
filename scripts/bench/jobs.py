"""What the benches run in fresh processes: imports, their peer, and reading a store."""

import json
import os
from concurrent.futures import ProcessPoolExecutor

import dvis
from dvis.kinds.features.tree.ingest import ingest_tree


def import_tree(tree: str, store: str, workers: int) -> None:
    """Import a tree into a store."""
    ingest_tree(tree, store=store, workers=workers)


def read_tree(tree: str, workers: int) -> None:
    """Read the bytes of all files of a tree and parse its jsons: the least an import has to do."""
    runs = os.path.join(tree, "checkpoints")
    folders = [os.path.join(runs, name) for name in sorted(os.listdir(runs))]
    if workers == 1:
        sizes = list(map(_read_folder, folders))
    else:
        with ProcessPoolExecutor(workers) as pool:
            sizes = list(pool.map(_read_folder, folders))
    assert all(sizes), "every checkpoint's folder has files"


def open_store(store: str) -> None:
    """Open a store."""
    dvis.open(store)


def open_responses(store: str, name: str) -> None:
    """Open responses."""
    dvis.responses(store, name=name)


def read_trajectory(store: str, name: str) -> None:
    """Open responses, and read those of one unit over training."""
    dvis.responses(store, name=name).response.isel(layer=-1, channel=-1).load()


def _read_folder(folder: str) -> int:
    n_bytes = 0
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        if name.endswith(".json"):
            json.loads(data)
        n_bytes += len(data)
    return n_bytes
