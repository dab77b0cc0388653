"""Image sets in files: read without running anything, and known by their content."""

import pickle
import shutil
import struct
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader

from dvis.models.data import folders as folders_module
from dvis.models.data import load_images
from dvis.models.data.dsprites import FILE_NAME

pytestmark = pytest.mark.usefixtures("one_thread")


def _photographs(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            levels = generator.integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(levels).save(root / name / f"{name}_{number}.JPEG")
    return root


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    _photographs(tmp_path / "ILSVRC" / "train", {"n01": 3, "n02": 2, "n03": 2})
    _photographs(tmp_path / "ILSVRC" / "val", {"n01": 1, "n03": 2}, seed=1)
    return tmp_path / "ILSVRC"


def _write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def _write_dsprites(path: Path, n_samples: int = 60, white: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    classes = np.stack([generator.integers(0, 3, n_samples) for _ in range(6)], axis=1)
    arrays = {
        "imgs": generator.integers(0, 2, (n_samples, 64, 64), np.uint8) * np.uint8(white),
        "latents_classes": classes,
        "latents_values": classes + 0.25,
        # The real file holds a pickled dictionary here.
        "metadata": np.array({"run": _Bomb()}, dtype=object),
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its stubs have allow_pickle
    return arrays


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('the pickle ran')",))


# Folders


def test_imagenet_layout_is_read_with_the_training_classes(imagenet: Path) -> None:
    train = load_images("imagenet1k", imagenet)
    val = load_images("imagenet1k", imagenet, split="val", size=16)
    assert train.classes == val.classes == ("n01", "n02", "n03")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert val.labels.tolist() == [0, 2, 2]
    assert val.sample_ids == ("n01/n01_0.JPEG", "n03/n03_0.JPEG", "n03/n03_1.JPEG")
    assert train.transform.resize == 256
    image, label = train[3]
    assert (image.shape, label) == ((3, 224, 224), 1)
    assert val[0][0].shape == (3, 16, 16)
    assert torch.equal(val[-1][0], val[2][0])
    with pytest.raises(IndexError, match="which has 3"):
        val[3]


def test_folder_without_splits_is_split_by_class_and_seed(tmp_path: Path) -> None:
    root = _photographs(tmp_path / "pets", {"cat": 12, "dog": 3, "eel": 1})
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / "._cat_0.JPEG").write_bytes(b"made by a file manager")
    (root / ".cache").mkdir()
    train, val = (load_images("folder", root, split=split) for split in ("train", "val"))
    assert train.classes == val.classes == ("cat", "dog", "eel")
    assert np.bincount(val.labels, minlength=3).tolist() == [1, 1, 0]
    assert not set(train.sample_ids) & set(val.sample_ids)
    assert len(train) + len(val) == 16
    assert load_images("folder", root, split="val").sample_ids == val.sample_ids
    others = {load_images("folder", root, split="val", seed=seed).sample_ids for seed in range(9)}
    assert len(others) > 1


def test_unreadable_image_is_named_when_it_is_read(imagenet: Path) -> None:
    cut = imagenet / "val" / "n03" / "n03_0.JPEG"
    cut.write_bytes(cut.read_bytes()[:400])
    text = imagenet / "val" / "n03" / "n03_1.JPEG"
    text.write_text("not an image")
    images = load_images("imagenet1k", imagenet, split="val")
    assert images[0][1] == 0
    for index, path in ((1, cut), (2, text)):
        with pytest.raises(OSError, match=f"{path} cannot be read"):
            images[index]
    with pytest.raises(OSError, match=f"{cut} cannot be read"):
        list(DataLoader(images, batch_size=3, num_workers=1))


def test_wrong_folders_say_what_is_there(imagenet: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Did you mean 'ILSVRC'"):
        load_images("imagenet1k", tmp_path / "ILSVRC2012")
    with pytest.raises(FileNotFoundError, match=r"No folder 'train' in .*n01, n02, n03"):
        load_images("imagenet1k", imagenet / "train")
    with pytest.raises(NotADirectoryError, match="is a file"):
        load_images("folder", imagenet / "val" / "n01" / "n01_0.JPEG")
    with pytest.raises(FileNotFoundError, match=r"n01_0\.JPEG.*CLASS/IMAGE"):
        load_images("folder", imagenet / "val" / "n01")
    shutil.rmtree(imagenet / "train")
    with pytest.raises(FileNotFoundError, match="No folder 'train'"):
        load_images("folder", imagenet)
    _photographs(imagenet / "train", {"n01": 1})
    with pytest.raises(ValueError, match=r"1 class folders .*: n03"):
        load_images("imagenet1k", imagenet, split="val")


# Sets in files of their own


def test_dsprites_are_read_without_its_pickle(tmp_path: Path) -> None:
    arrays = _write_dsprites(tmp_path / FILE_NAME)
    train, val = (load_images("dsprites", tmp_path, split=split) for split in ("train", "val"))
    positions = sorted(int(name) for images in (train, val) for name in images.sample_ids)
    assert positions == list(range(60))
    for images in (train, val):
        for index, name in enumerate(images.sample_ids):
            assert np.array_equal(images.picture(index), arrays["imgs"][int(name)] * 255)
            assert images.labels[index] == arrays["latents_classes"][int(name), 1]
            assert images.factors["posY"][index] == arrays["latents_values"][int(name), 5]
    few = load_images("dsprites", tmp_path / FILE_NAME, n_samples=7)
    assert len(few) == 7
    place = train.sample_ids.index(few.sample_ids[3])
    assert torch.equal(few[3][0], train[place][0])
    assert set(np.unique(few[0][0])) == {-1.0, 1.0}


def test_bad_dsprites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=FILE_NAME):
        load_images("dsprites", tmp_path)
    file = tmp_path / FILE_NAME
    _write_dsprites(file, white=255)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        load_images("dsprites", file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no dSprites file"):
        load_images("dsprites", file)
    np.savez(file, imgs=np.zeros((2, 64, 64), np.uint8))
    with pytest.raises(ValueError, match="latents_classes"):
        load_images("dsprites", file)


def test_mnist_and_emnist_are_read_from_their_files(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    labels = np.array([3, 1, 0, 9])
    for stem in ("train", "t10k"):
        _write_idx(tmp_path / f"MNIST/raw/{stem}-images-idx3-ubyte", levels)
        _write_idx(tmp_path / f"MNIST/raw/{stem}-labels-idx1-ubyte", labels)
    stem = "EMNIST/raw/emnist-balanced-test"
    _write_idx(tmp_path / f"{stem}-images-idx3-ubyte", levels.transpose(0, 2, 1))
    _write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", labels)
    for name, split, n_classes in (("mnist", "train", 10), ("emnist", "val", 47)):
        images = load_images(name, tmp_path, split=split)
        assert len(images.classes) == n_classes
        assert images.labels.tolist() == labels.tolist()
        assert np.array_equal(images.picture(2), levels[2])
        assert images[0][0].shape == (3, 28, 28)
    assert load_images("mnist", tmp_path, size=32)[0][0].shape == (3, 32, 32)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small batches in CIFAR-10's format, whose sums torchvision is told to expect."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    kind = torchvision.datasets.CIFAR10
    for files in ("train_list", "test_list"):
        sums = []
        for name, _ in getattr(kind, files):
            data = generator.integers(0, 256, (2, 3072), np.uint8)
            (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [1, 8]}))
            sums.append([name, md5((folder / name).read_bytes()).hexdigest()])
        monkeypatch.setattr(kind, files, sums)
    meta = pickle.dumps({"label_names": ["plane", *"bcdefghij"]})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta).hexdigest()})
    return tmp_path


def test_cifar10_is_read_from_its_files(cifar: Path) -> None:
    train, val = (load_images("cifar10", cifar, split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (10, 2)
    assert train.classes[0] == "plane"
    assert train[1][1] == 8
    assert train[0][0].shape == (3, 32, 32)


def test_tampered_cifar10_is_refused_unopened(cifar: Path) -> None:
    (cifar / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(FileNotFoundError, match="missing or damaged"):
        load_images("cifar10", cifar)


@pytest.mark.parametrize("name", ["cifar10", "mnist", "emnist"])
def test_missing_set_says_what_to_give_and_downloads_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not there.*--download"):
        load_images(name, tmp_path)
    assert not any(tmp_path.rglob("*.gz"))


def test_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["file:///no/such/mirror/"])
    with pytest.raises(OSError, match=r"could not be downloaded.*copy that folder"):
        load_images("mnist", tmp_path, download=True)


# Fingerprints


def test_fingerprint_is_of_the_content_and_nothing_else(imagenet: Path, tmp_path: Path) -> None:
    images = load_images("imagenet1k", imagenet)
    copy = shutil.copytree(imagenet, tmp_path / "elsewhere")
    assert images.fingerprint == load_images("imagenet1k", copy, size=32).fingerprint
    assert images.fingerprint.startswith("files-")
    assert images.take(np.arange(5)).fingerprint != images.fingerprint
    path = copy / "train" / "n02" / "n02_1.JPEG"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    assert load_images("imagenet1k", copy).fingerprint != images.fingerprint


def test_fingerprint_of_a_big_folder_reads_no_image(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders_module, "CONTENT_BYTES", 100)
    before = load_images("imagenet1k", imagenet).fingerprint
    assert before.startswith("sizes-")
    path = imagenet / "train" / "n02" / "n02_1.JPEG"
    size = path.stat().st_size
    path.write_bytes(bytes(size))
    assert load_images("imagenet1k", imagenet).fingerprint == before
    path.write_bytes(bytes(size + 1))
    assert load_images("imagenet1k", imagenet).fingerprint != before
    path.rename(path.with_name("n02_2.JPEG"))
    (path.with_name("n02_2.JPEG")).write_bytes(bytes(size))
    assert load_images("imagenet1k", imagenet).fingerprint != before


def test_one_changed_pixel_or_label_changes_the_fingerprint(cifar: Path) -> None:
    images = load_images("cifar10", cifar)
    assert images.fingerprint == load_images("cifar10", cifar).fingerprint
    assert images.fingerprint.startswith("pixels-")
    pixels = load_images("cifar10", cifar)
    pixels.pictures.values[7, 31, 0, 2] ^= 1  # type: ignore[attr-defined]
    labels = load_images("cifar10", cifar)
    labels.labels[4] = 3
    assert len({one.fingerprint for one in (images, pixels, labels)}) == 3


def test_fingerprints_stay_what_they_were() -> None:
    shapes, digits = (load_images(name, n_samples=30) for name in ("shapes", "digits"))
    assert shapes.fingerprint == "recipe-a0f2ea134cadb5190672cbbc1aae0ba6"
    assert digits.fingerprint == "pixels-4e0ea08d57ad3b085d8de8f744164c47"
