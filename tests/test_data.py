import json
import pickle
import shutil
import struct
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader

from dvis.models.data import DATASETS, ImageSet, InputTransform, augmented, load_images
from dvis.models.data import folders as folders_module
from dvis.models.data.drawing import BACKGROUNDS, DRAWING_VERSION, SHAPES
from dvis.models.data.dsprites import FILE_NAME

HALF = InputTransform(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


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


# The transform


def test_transform_equals_torchvisions_for_its_own_weights(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (300, 401, 3), np.uint8)
    presets = torchvision.transforms._presets.ImageClassification(crop_size=224)
    transform = InputTransform(
        size=224, resize=256, mean=folders_module.IMAGENET_MEAN, std=folders_module.IMAGENET_STD
    )
    image = Image.fromarray(levels)
    torch.testing.assert_close(transform(image), presets(image), rtol=0, atol=1e-5)
    assert torch.equal(transform(image), transform(levels))


def test_transform_survives_a_checkpoint_and_json(tmp_path: Path) -> None:
    transform = InputTransform(size=5, resize=7, mean=(0.1,), std=(0.2,), channels=1)
    torch.save({"input": transform.to_dict()}, tmp_path / "checkpoint.pt")
    loaded = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["input"]
    assert InputTransform.from_dict(loaded) == transform
    assert InputTransform.from_dict(json.loads(json.dumps(loaded))) == transform


@pytest.mark.parametrize(
    ("changed", "helps"),
    [
        ({"meen": [0.0]}, "Did you mean 'mean'"),
        ({"size": 0}, "Give a size from 1"),
        ({"resize": 4}, "does not fit"),
        ({"channels": 2}, "Give 3 or 1"),
        ({"mean": [0.5]}, "one of each a channel"),
        ({"std": [1.0, 0.0, 1.0]}, "above 0"),
    ],
)
def test_impossible_transforms_are_refused(changed: dict[str, object], helps: str) -> None:
    with pytest.raises(ValueError, match=helps):
        InputTransform.from_dict({**HALF.to_dict(), **changed})
    with pytest.raises(ValueError, match="lacks size, std"):
        InputTransform.from_dict({"mean": [0.5]})


def test_pictures_of_any_mode_become_rgb() -> None:
    grey = Image.fromarray(np.full((8, 8), 128, np.uint8))
    expected = HALF(grey)
    assert expected.shape == (3, 8, 8)
    deep = Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))
    palette = grey.convert("P")
    palette.info["transparency"] = b"\xff\x80"
    for image in (grey.convert("RGB"), grey.convert("LA"), grey.convert("RGBA"), palette, deep):
        torch.testing.assert_close(HALF(image), expected)
    with pytest.raises(ValueError, match="uint8, 0 to 255"):
        HALF(np.zeros((8, 8), np.float32))


# Drawn shapes


def test_shapes_are_the_same_whatever_their_number() -> None:
    few, many = load_images("shapes", n_samples=5), load_images("shapes", n_samples=50)
    for index in range(5):
        assert np.array_equal(few.picture(index), many.picture(index))
        assert few.labels[index] == many.labels[index]
    assert all(np.array_equal(few.factors[n], many.factors[n][:5]) for n in few.factors)
    backwards = many.take(np.arange(50)[::-1])
    assert np.array_equal(backwards.picture(49), many.picture(0))


def test_shapes_of_other_seeds_and_splits_differ() -> None:
    sets = [
        load_images("shapes", n_samples=20, split=split, seed=seed)
        for split in ("train", "val")
        for seed in (0, 1)
    ]
    assert len({images.fingerprint for images in sets}) == 4
    assert len({np.asarray(image.picture(0)).tobytes() for image in sets}) == 4


def test_drawing_is_that_of_its_version() -> None:
    # Means and not pixels: another processor may round a pixel otherwise. Where this fails, the
    # drawing changed: raise DRAWING_VERSION, for stores and checkpoints name it by fingerprint.
    images = load_images("shapes", n_samples=40)
    means = [np.asarray(images.picture(index)).mean() for index in (0, 1, 2, 39)]
    assert DRAWING_VERSION == 1
    np.testing.assert_allclose(means, (175.28, 80.06, 145.07, 106.94), atol=0.05)


def test_shapes_know_their_factors() -> None:
    images = load_images("shapes", n_samples=2000)
    factors = images.factors
    assert images.classes == SHAPES
    assert np.array_equal(factors["shape"], images.labels)
    assert np.bincount(images.labels, minlength=10).min() > 150
    assert np.bincount(factors["background"], minlength=len(BACKGROUNDS)).min() > 400
    for name in ("x", "y"):
        assert (factors[name] - factors["size"]).min() > 0
        assert (factors[name] + factors["size"]).max() < 1


def test_a_drawn_disc_lies_where_its_factors_say() -> None:
    images = load_images("shapes", n_samples=400, size=48)
    plain = (images.labels == SHAPES.index("circle")) & (images.factors["background"] == 0)
    assert plain.sum() >= 5
    y, x = np.mgrid[:48, :48] + 0.5
    for index in np.flatnonzero(plain):
        picture = np.asarray(images.picture(index), float)
        away = np.abs(picture - picture[0, 0]).sum(2) > 110
        assert x[away].mean() == pytest.approx(48 * images.factors["x"][index], abs=1)
        assert y[away].mean() == pytest.approx(48 * images.factors["y"][index], abs=1)
        area = np.pi * (48 * images.factors["size"][index]) ** 2
        assert away.sum() == pytest.approx(area, rel=0.15)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_built_in_sets_are_normalised_by_their_own_statistics(name: str) -> None:
    images = load_images(name, n_samples=500)
    values = torch.stack([images[index][0] for index in range(500)])
    assert values.shape == (500, 3, 64, 64)
    assert values.dtype == torch.float32
    assert values.mean().item() == pytest.approx(0, abs=0.05)
    assert values.std().item() == pytest.approx(1, abs=0.05)


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


# Asking


@pytest.mark.parametrize(
    ("name", "options", "helps"),
    [
        ("shape", {}, "Did you mean 'shapes'"),
        ("shapes", {"split": "valid"}, "Did you mean 'val'"),
        ("shapes", {"n_samples": 0}, "Ask for 1 or more"),
        ("shapes", {"size": 0}, "Ask for 1 px or more"),
        ("shapes", {"size": 100_000}, "Give a size from 1 to"),
        ("shapes", {"seed": -1}, "Give 0 or more"),
        ("digits", {"download": True}, "cifar10, mnist, emnist can"),
        ("digits", {"data_path": "somewhere"}, "Leave the path out"),
        ("digits", {"n_samples": 2000}, "digits/train were asked for, which has 16"),
        ("imagenet1k", {}, "without a path. Give the folder that holds 'train'"),
    ],
)
def test_impossible_requests_say_what_is_possible(
    name: str, options: dict[str, object], helps: str
) -> None:
    with pytest.raises(ValueError, match=helps):
        load_images(name, **options)  # type: ignore[arg-type]


def test_fewer_samples_are_a_part_of_more() -> None:
    some, more = (set(load_images("digits", n_samples=n).sample_ids) for n in (20, 200))
    assert some < more
    assert set(load_images("digits", n_samples=20, seed=1).sample_ids) != some


def test_digits_are_split_without_overlap() -> None:
    train, val = load_images("digits"), load_images("digits", split="val")
    assert len(train) + len(val) == 1797
    assert not set(train.sample_ids) & set(val.sample_ids)
    assert np.bincount(val.labels).min() >= 17


def test_every_named_set_can_be_asked_for(tmp_path: Path) -> None:
    for name in DATASETS:
        if name in ("digits", "shapes"):
            assert len(load_images(name, n_samples=2)) == 2
        else:
            with pytest.raises(FileNotFoundError, match=str(tmp_path)):
                load_images(name, tmp_path)


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


# Augmentation


def _all_images(images: ImageSet | object, n_workers: int) -> torch.Tensor:
    loader = DataLoader(images, batch_size=4, num_workers=n_workers)  # type: ignore[arg-type]
    return torch.cat([batch for batch, _ in loader])


def test_augmentation_does_not_depend_on_loader_processes() -> None:
    images = load_images("shapes", n_samples=10, size=16)
    crops = augmented(images, seed=3)
    alone = _all_images(crops, 0)
    assert torch.equal(alone, _all_images(crops, 2))
    assert not torch.equal(alone, _all_images(images, 0))
    assert not torch.equal(alone, _all_images(augmented(images, seed=4), 0))
    assert [label for _, label in (crops[i] for i in range(10))] == images.labels.tolist()


def test_loader_processes_that_live_on_see_the_next_epoch() -> None:
    crops = augmented(load_images("shapes", n_samples=8, size=16))
    alone = []
    for epoch in (0, 1):
        crops.set_epoch(epoch)
        alone.append(_all_images(crops, 0))
    loader = DataLoader(crops, batch_size=4, num_workers=2, persistent_workers=True)
    for epoch in (0, 1):
        crops.set_epoch(epoch)
        assert torch.equal(torch.cat([batch for batch, _ in loader]), alone[epoch])
    assert not torch.equal(*alone)


def test_photographs_are_mirrored_and_digits_are_not(tmp_path: Path) -> None:
    # Left half black, right half white: a mirror image is bright on the left.
    half = np.zeros((32, 32), np.uint8)
    half[:, 16:] = 255
    for name in ("a", "b"):
        (tmp_path / "half" / name).mkdir(parents=True)
        Image.fromarray(half).save(tmp_path / "half" / name / "0.png")
    photographs = augmented(load_images("folder", tmp_path / "half", size=8))
    digits = augmented(load_images("digits", n_samples=1, size=8))
    digit = digits.images.transform(digits.images.picture(0))
    mirrored, mirrored_digits = 0, 0
    for epoch in range(40):
        for crops in (photographs, digits):
            crops.set_epoch(epoch)
        image = photographs[0][0][0]
        mirrored += bool(image[:, 0].mean() > image[:, -1].mean())
        crop = digits[0][0]
        nearer = (crop - digit.flip(-1)).abs().mean() < (crop - digit).abs().mean()
        mirrored_digits += bool(nearer)
    assert 8 < mirrored < 32
    assert mirrored_digits < 8


def test_very_long_images_can_be_cropped(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    Image.new("RGB", (400, 3), "red").save(tmp_path / "set" / "a" / "0.png")
    images = load_images("folder", tmp_path / "set", size=8)
    crops = augmented(images)
    for epoch in range(5):
        crops.set_epoch(epoch)
        torch.testing.assert_close(crops[0][0], images[0][0])
