"""dSprites: white shapes on black with their latent factors, from its npz file.

Matthey et al., dSprites: Disentanglement testing Sprites dataset, 2017. A path goes in; an ImageSet
in memory comes out, of the chosen samples only.
"""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvis.models.data.image_set import ImageSet, Split, chosen, in_split
from dvis.models.data.transform import InputTransform

FILE_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"

_CLASSES = ("square", "ellipse", "heart")
# The columns of the file's latents. They are also named in its metadata, which is a pickle and so
# is never opened.
_LATENTS = ("color", "shape", "scale", "orientation", "posX", "posY")
_SIDE = 64
_MEAN, _STD = 0.5, 0.5  # black and white become -1 and 1
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class BinaryPictures:
    """Pictures of black and white, eight pixels a byte: (sample, byte) uint8, and (y, x)."""

    packed: np.ndarray
    shape: tuple[int, int]

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture of a sample, (y, x), uint8 0 or 255."""
        pixels = np.unpackbits(self.packed[index], count=self.shape[0] * self.shape[1])
        return (pixels * np.uint8(255)).reshape(self.shape)

    def take(self, positions: np.ndarray) -> "BinaryPictures":
        """The pictures at these positions."""
        return BinaryPictures(self.packed[positions], self.shape)

    def content(self) -> tuple[str, Iterable[bytes]]:
        """Shape and pixels of every picture."""
        shape = repr(self.shape).encode()
        return "pixels", (shape + picture.tobytes() for picture in self.packed)


def dsprites_images(
    path: Path,
    split: Split,
    size: int | None = None,
    *,
    n_samples: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """DSprites with its shape as label; a tenth of each shape, at random, is for validation.

    Parameters
    ----------
    path : Path
        The npz file, or the folder that holds it.
    split : "train" or "val"
    size : int, optional
        Side of the images in pixels, 64 unless told otherwise.
    n_samples : int, optional
        As many at random; all of them, in about 400 MB, where it is left out.
    seed : int
        Seed of the split and of the choice.

    Returns
    -------
    ImageSet
        `factors` has the latents under the file's own names, as its values (shape as the label).

    Raises
    ------
    FileNotFoundError
        When the file is not there.
    ValueError
        When it is no dSprites file, or has fewer samples.
    """
    file = _find_file(path)
    name = f"dsprites/{split}"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            labels = archive["latents_classes"][:, _LATENTS.index("shape")].astype(np.int64)
            values = archive["latents_values"]
        positions = in_split(labels, split, seed)
        positions = positions[chosen(n_samples, len(positions), name, seed)]
        pictures = _read_pictures(file, positions)
    except (KeyError, IndexError, OSError, EOFError, ValueError, zipfile.BadZipFile) as err:
        reason = "it holds no arrays" if "allow_pickle" in str(err) else err
        raise ValueError(
            f"{file} is no dSprites file, or is damaged: {reason}. It is to have imgs, "
            "latents_values and latents_classes; download it again"
        ) from err
    factors = {name: values[positions, column] for column, name in enumerate(_LATENTS)}
    return ImageSet(
        name=name,
        classes=_CLASSES,
        transform=InputTransform(size=size or _SIDE, mean=(_MEAN,) * 3, std=(_STD,) * 3),
        sample_ids=tuple(str(position) for position in positions),
        labels=labels[positions],
        pictures=pictures,
        factors={**factors, "shape": labels[positions]},
        categories={"shape": _CLASSES},
        periods={"orientation": 2 * np.pi},
    )


def _find_file(path: Path) -> Path:
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"No dSprites file {file}. Give the path of {FILE_NAME}, or the folder that holds it"
        )
    return file


def _read_pictures(file: Path, positions: np.ndarray) -> BinaryPictures:
    """Pictures at these places of the file, which is never unpacked whole (it would be 3 GB)."""
    with zipfile.ZipFile(file) as archive, archive.open("imgs.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(stream)
        if dtype != np.uint8 or len(shape) != 3 or is_fortran:
            raise ValueError(
                f"{file} has imgs of shape {shape} and dtype {dtype}. dSprites has (sample, y, x) "
                "of uint8; download it again"
            )
        height, width = shape[1:]
        parts = []
        for start in range(0, shape[0], _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, shape[0] - start)
            data = stream.read(n_rows * height * width)
            rows = np.frombuffer(data, np.uint8).reshape(n_rows, height * width)
            inside = positions[(positions >= start) & (positions < start + n_rows)] - start
            if rows[inside].max(initial=0) > 1:
                raise ValueError(
                    f"{file} has pixels other than 0 and 1, which dSprites has not; "
                    "download it again"
                )
            parts.append(np.packbits(rows[inside], axis=1))
    return BinaryPictures(np.concatenate(parts), (height, width))
