"""Thumbnails of an image set in the store: what the model sees, and what a kill leaves."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_activations import N_IMAGES, fixed_images, loaded, options_of, store_of

import dvis
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations
from dvis.models.data.transform import InputTransform
from dvis.store import thumbnails
from dvis.store.datasets import open_dataset, thumbnails_of

pytestmark = pytest.mark.usefixtures("one_thread")
JPEG_ERROR = 6  # mean of levels, of jpgs at 90; shapes have hard edges


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivationOptions:
    monkeypatch.setattr(thumbnails, "_SAMPLES", 5)  # so that a small set has several files
    return options_of(tmp_path, 1, layers=("fc",))


def set_of(options: ActivationOptions) -> tuple[Path, str]:
    return store_of(options), str(loaded(options, "fc").attrs["dataset"])


def test_thumbnails_are_the_resized_pictures(options: ActivationOptions) -> None:
    keep_activations(options)
    store, name = set_of(options)
    found = open_dataset(store, name)
    assert found["thumbnail"].dims == ("sample", "y", "x", "colour")
    assert found["thumbnail"].shape == (N_IMAGES, 64, 64, 3)
    assert not isinstance(found["thumbnail"].variable._data, np.ndarray)
    images = fixed_images().images
    for place in (0, 7, N_IMAGES - 1):
        picture = Image.fromarray(np.asarray(images.picture(place))).convert("RGB")
        expected = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR), int)
        shown = found["thumbnail"].isel(sample=place).values.astype(int)
        assert np.abs(shown - expected).mean() < JPEG_ERROR
    assert len(list((store / "datasets" / name / "thumbnail/c").glob("*/0/0/0"))) == 5
    assert dvis.check_store(store) == []


def test_some_thumbnails_come_by_their_ids(options: ActivationOptions) -> None:
    keep_activations(options)
    store, name = set_of(options)
    all_of_them = open_dataset(store, name)["thumbnail"].values
    ids = open_dataset(store, name)["sample"].values
    found = thumbnails_of(store, name, [ids[9], "nobody", ids[2], ids[9]])
    assert found is not None
    np.testing.assert_array_equal(found[[0, 2, 3]], all_of_them[[9, 2, 9]])
    assert (found[1] == 128).all()
    assert thumbnails_of(store, name, ["nobody"]).shape == (1, 64, 64, 3)


def test_pictures_of_all_modes_are_shown_as_the_model_sees_them() -> None:
    from dvis.kinds.activations.samples import thumbnail

    transform = InputTransform(size=8, resize=16, mean=(0.5,), std=(0.5,), channels=1)
    levels = np.zeros((40, 20), np.uint8)
    levels[11:29, 1:19] = 200  # the centre that the transform crops, and what blurs into it
    assert (thumbnail(levels, transform, 4) == 200).all()
    rgba = Image.fromarray(np.dstack([levels] * 4), "RGBA")
    deep = Image.fromarray(levels.astype(np.uint16) * 256)
    for picture in (rgba, deep, Image.fromarray(levels).convert("P")):
        assert thumbnail(picture, transform, 4).shape == (4, 4, 3)
        assert (thumbnail(picture, transform, 4) == 200).all()


def test_a_set_without_thumbnails_opens_and_stays_as_it_is(options: ActivationOptions) -> None:
    keep_activations(replace(options, thumbnail_size=0))
    store, name = set_of(options)
    keep_activations(replace(options, layers=("conv2",), thumbnail_size=32))
    assert "thumbnail" not in open_dataset(store, name)
    assert thumbnails_of(store, name, ["0"]) is None
    with pytest.raises(ValueError, match="thumbnail_size is -1; it must be at least 0"):
        replace(options, thumbnail_size=-1)


def test_the_plan_tells_what_thumbnails_take(options: ActivationOptions) -> None:
    said = [line for line in keep_activations(replace(options, plan=True)).notes if "thumb" in line]
    assert said[0].startswith("thumbnails of 23 samples, 64 x 64 px: ")
    assert (
        not keep_activations(replace(options, plan=True, thumbnail_size=0)).notes[0].count("thumb")
    )


def _die(options: ActivationOptions) -> None:
    torch.set_num_threads(1)
    write, left = thumbnails.write_atomically, [2]

    def dying(*arguments: object, **named: object) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        write(*arguments, **named)  # type: ignore[arg-type]

    thumbnails.write_atomically = dying  # type: ignore[assignment]  # this process ends
    keep_activations(options)


def test_a_set_that_was_cut_off_is_made_again(options: ActivationOptions) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die, args=(options,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(store_of(options).glob("datasets/*/thumbnail/c/*"))) == 2
    keep_activations(replace(options, thumbnail_size=16))
    store, name = set_of(options)
    assert open_dataset(store, name)["thumbnail"].shape == (N_IMAGES, 16, 16, 3)
    assert (open_dataset(store, name)["thumbnail"].values.std((1, 2, 3)) > 0).all()
    assert dvis.check_store(store) == []


def test_images_that_cannot_be_read_leave_nothing(
    options: ActivationOptions, tmp_path: Path
) -> None:
    for number in range(12):
        path = tmp_path / f"pets/train/cats/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), number * 9, np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:50])
    changes = {"dataset": "folder", "data_path": tmp_path / "pets", "split": "train"}
    with pytest.raises(ValueError, match=r"11\.png cannot be read"):
        keep_activations(replace(options, n_images=None, **changes))
    assert not any(store_of(options).glob("datasets/*"))
