"""Which files of a folder are pictures: the same ones for every reader of folders."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import jpg_of

from dvis.kinds.features.measure.spectra import spectrum_of_images
from dvis.models.data import InputTransform
from dvis.models.data.fixed_images import images_of_files
from dvis.models.data.folders import folder_images
from dvis.models.image_files import folders_in, pictures_below

TRANSFORM = InputTransform(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
LEFT_BY_SYSTEMS = [
    "._a.jpg",
    "__MACOSX/._a.jpg",
    "__MACOSX/a.jpg",
    ".ipynb_checkpoints/a-checkpoint.jpg",
    ".Trash-1000/files/a.jpg",
    ".snapshot/hourly/a.jpg",
    "@eaDir/a.jpg/thumb.jpg",
    "$RECYCLE.BIN/a.jpg",
    "System Volume Information/a.jpg",
    "lost+found/a.jpg",
    ".stversions/a.jpg",
    ".sync/a.jpg",
    "Thumbs.db",
    "desktop.ini",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a folder that is called like one, and what systems leave beside them."""
    folder = tmp_path / "images"
    for name in ("a.jpg", "deep/_MG_1.JPG"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpg_of(len(name)))
    for name in (*LEFT_BY_SYSTEMS, "b.jpg/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    return folder


def test_what_systems_leave_is_passed_over(folder: Path) -> None:
    assert sorted(map(str, pictures_below(folder))) == ["a.jpg", "deep/_MG_1.JPG"]
    assert folders_in(folder) == ["b.jpg", "deep"]


def test_every_reader_of_folders_takes_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    assert images_of_files([folder], TRANSFORM).sample_ids == ("a.jpg", "deep/_MG_1.JPG")
    spectrum = spectrum_of_images(folder, 3, 8)
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (clean / "deep.jpg").write_bytes((folder / "deep" / "_MG_1.JPG").read_bytes())
    np.testing.assert_array_equal(spectrum, spectrum_of_images(clean, 3, 8))
    classes = tmp_path / "classes" / "train"
    for place in ("cat", "__MACOSX/cat", ".Trash"):
        (classes / place).mkdir(parents=True)
        (classes / place / "1.jpg").write_bytes(jpg_of(1))
    folder.rename(classes / "dog")
    images = folder_images("folder", classes.parent, "train")
    assert images.classes == ("cat", "dog")
    assert images.sample_ids == ("cat/1.jpg", "dog/a.jpg", "dog/deep/_MG_1.JPG")


def test_a_folder_of_hidden_pictures_alone_is_a_folder_without(tmp_path: Path) -> None:
    (tmp_path / "._a.jpg").write_bytes(b"\0")
    with pytest.raises(FileNotFoundError, match="there is a folder without"):
        images_of_files([tmp_path], TRANSFORM)
    with pytest.raises(FileNotFoundError, match="no pictures below"):
        spectrum_of_images(tmp_path, 3, 8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_told(folder: Path) -> None:
    (folder / "deep").chmod(0)
    with pytest.raises(PermissionError):
        list(pictures_below(folder))
    (folder / "deep").chmod(0o755)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_the_spectrum_takes_pictures_of_any_mode(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "a.png")
    assert np.isfinite(spectrum_of_images(tmp_path, 3, 8)).all()
