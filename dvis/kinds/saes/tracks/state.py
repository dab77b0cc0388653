"""What was found on the way to tracks, kept beside the store until they are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dvis.disk import inside, write_atomically

Arrays = dict[str, NDArray[Any]]


def remembered(folder: Path, name: str, find: Callable[[], Arrays]) -> Arrays:
    """Arrays that were found before a kill, else found now and kept.

    Parameters
    ----------
    folder : Path
        Where they lie; of one tracking alone.
    name : str
        Of what they are.
    find : callable
        Finds them.

    Raises
    ------
    ValueError
        When a symbolic link lies in the folder.
    DiskFullError
        When there is no space left.
    """
    path = inside(folder, f"{name}.safetensors")
    try:
        return load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        found = find()
    whole = {each: np.array(values, order="C") for each, values in found.items()}
    write_atomically(path, save(whole), root=folder)
    return found
