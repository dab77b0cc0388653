"""Small pictures of a set's samples: jpgs, a thousand in a file, of which any can be read alone.

Pictures in, one after the other, files of an array `thumbnail` (sample, y, x, colour) out.
"""

from pathlib import Path

import numpy as np
import zarr

from dvis.disk import write_atomically
from dvis.store.picture_codec import JpegCodec, pack
from dvis.store.picture_files import encode_jpeg

THUMBNAIL = "thumbnail"
COLOUR = "colour"
GREY = 128  # of what is not there
_QUALITY = 90
_SAMPLES = 1024  # of a file


def encoded(pixels: np.ndarray) -> bytes:
    """A thumbnail, (y, x, colour) uint8, as a store keeps it."""
    return encode_jpeg(pixels, _QUALITY)


class ThumbnailFiles:
    """The files of a set's thumbnails while it is made; of one file's pictures in memory.

    Parameters
    ----------
    folder : Path
        Of the set, in the store.
    store : Path
        The store.
    n_samples : int
        Samples of the set.
    size : int
        Side of the thumbnails in pixels.
    """

    def __init__(self, folder: Path, store: Path, n_samples: int, size: int) -> None:
        self.size = size
        self._folder, self._store = folder / THUMBNAIL, store
        self._n_samples, self._of_file = n_samples, max(1, min(_SAMPLES, n_samples))
        self._waiting: dict[int, bytes] = {}
        self._n_added = 0

    def add(self, pixels: np.ndarray) -> None:
        """Take up the thumbnail of the next sample, (y, x, colour) uint8."""
        self._waiting[self._n_added % self._of_file] = encoded(pixels)
        self._n_added += 1
        if len(self._waiting) == self._of_file:
            self._write()

    def finish(self, group: zarr.Group, shown: str) -> None:
        """Write the rest, and the array of them all into the set's group.

        Parameters
        ----------
        group : Group
            The set's.
        shown : str
            What part of a picture a thumbnail shows.
        """
        if self._n_added != self._n_samples:
            raise ValueError(f"{self._n_added} thumbnails for {self._n_samples} samples")
        if self._waiting:
            self._write()
        group.create_array(
            THUMBNAIL,
            shape=(self._n_samples, self.size, self.size, 3),
            dtype="uint8",
            chunks=(self._of_file, self.size, self.size, 3),
            serializer=JpegCodec(),
            filters=None,
            compressors=None,
            fill_value=GREY,
            dimension_names=("sample", "y", "x", COLOUR),
            attributes={"long_name": "thumbnail", "comment": shown},
        )

    def _write(self) -> None:
        number = (self._n_added - 1) // self._of_file
        path = self._folder / "c" / str(number) / "0" / "0" / "0"
        write_atomically(path, pack(self._waiting, self._of_file), root=self._store)
        self._waiting.clear()
