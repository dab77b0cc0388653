"""What `analysis.py` runs in fresh processes: drift of a store, and the script that it replaces.

Each writes its distances to a file, so that both can be seen to be the same.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import dvis
from dvis.analysis.drift import drift


def drift_of_store(store: str, metric: str, workers: int, out: str) -> None:
    """Drift of every unit of a store, by dask in threads."""
    lazy = drift(dvis.open(store), metric=metric)  # type: ignore[arg-type]  # it checks the name
    found = lazy.compute(scheduler="threads", num_workers=workers)
    np.savez(out, to_previous=found.to_previous, to_last=found.to_last)


def drift_of_tree(tree: str, metric: str, workers: int, out: str) -> None:
    """The same as one writes it over the files: Pillow, scikit-image, a pool of processes."""
    folders = sorted((Path(tree) / "checkpoints").iterdir())
    names = [path.name for path in folders[0].glob("*.jpg")]
    layers = sorted({name.split("_")[1] for name in names})
    channels = sorted({int(name.split("_")[3]) for name in names})
    units = [(layer, channel) for layer in layers for channel in channels]
    shape = (len(folders), len(layers), len(channels))
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(partial(_drift_of_unit, folders, metric), units))
    distances = np.array(found, np.float32).transpose(2, 1, 0).reshape(shape[0], 2, *shape[1:])
    np.savez(out, to_previous=distances[:, 0], to_last=distances[:, 1])


def _drift_of_unit(
    folders: list[Path], metric: str, unit: tuple[str, int]
) -> tuple[list[float], list[float]]:
    layer, channel = unit
    name = f"layer_{layer}_channel_{channel}_average.jpg"
    images = [_pixels(folder / name) for folder in folders]
    if metric == "cosine":
        images = [_normalised(image) for image in images]
    distance = {"cosine": _cosine_distance, "ssim": _structural_distance}[metric]
    to_previous = [distance(*pair) for pair in pairwise(images)]
    return [np.nan, *to_previous], [distance(image, images[-1]) for image in images]


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _normalised(image: np.ndarray) -> np.ndarray:
    centred = image.astype(np.float32).ravel()
    centred -= centred.mean()
    return centred / np.linalg.norm(centred)


def _cosine_distance(one: np.ndarray, other: np.ndarray) -> float:
    return 1 - float(one @ other)


def _structural_distance(one: np.ndarray, other: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    similarity = structural_similarity(
        one,
        other,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    return 1 - float(similarity)
