"""What is read off images: classes, factors, and labels of a file, with errors that help."""

from pathlib import Path

import numpy as np
import pytest

from dvis.analysis.linear_probes import Splits
from dvis.kinds.probes.targets import LabelFile, Target, targets_of
from dvis.models.data import ImageSet, load_images
from dvis.models.data.dsprites import FILE_NAME


@pytest.fixture(scope="module")
def shapes() -> ImageSet:
    return load_images("shapes", split="val", n_samples=50)


def test_factors_of_drawn_shapes_by_their_names(shapes: ImageSet) -> None:
    names = ["label", "shape", "background", "position_x", "size", "scale", "colour"]
    found = {target.name: target for target in targets_of(shapes, names, {})}
    assert list(found) == names
    np.testing.assert_array_equal(found["label"].values, found["shape"].values)
    assert [found[name].metric for name in names] == ["accuracy"] * 3 + ["r2"] * 4
    np.testing.assert_array_equal(found["position_x"].values[:, 0], shapes.factors["x"])
    np.testing.assert_array_equal(found["scale"].values, found["size"].values)
    assert found["background"].n_classes == 4
    assert (found["background"].chance, found["size"].chance) == (0.25, 0.0)


def test_a_hue_is_a_circle(shapes: ImageSet) -> None:
    (hue,) = targets_of(shapes, ["colour"], {})
    np.testing.assert_allclose((hue.values**2).sum(1), 1)
    turned = np.arctan2(hue.values[:, 0], hue.values[:, 1]) / (2 * np.pi) % 1
    np.testing.assert_allclose(turned, shapes.factors["colour"], atol=1e-12)


def test_factors_of_dsprites_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.stack([np.zeros(90, int), *rng.integers(0, 3, (5, 90))], 1)
    values = classes / 3 + 0.1
    file = tmp_path / FILE_NAME
    images = rng.integers(0, 2, (90, 64, 64), np.uint8)
    np.savez(file, imgs=images, latents_values=values, latents_classes=classes)
    sprites = load_images("dsprites", file, split="train")
    names = ["label", "shape", "scale", "orientation", "position_x", "posY"]
    found = {target.name: target for target in targets_of(sprites, names, {})}
    places = np.array([int(each) for each in sprites.sample_ids])
    np.testing.assert_array_equal(found["shape"].values, classes[places, 1])
    np.testing.assert_array_equal(found["position_x"].values[:, 0], values[places, 4])
    np.testing.assert_allclose(found["orientation"].values[:, 0], np.sin(values[places, 3]))
    assert [found[name].n_classes for name in names] == [3, 3, 0, 0, 0, 0]
    (colour,) = targets_of(sprites, ["color"], {})
    with pytest.raises(ValueError, match="fewer than two values"):
        colour.require_learnable(Splits.drawn(80, validation=0.2, held_out=0.3, seed=0))


def test_shuffles_exchange_what_is_known_alone() -> None:
    target = Target(name="a", values=np.array([0, 1, 1, -1, 2, -1]))
    drawn = target.shuffled(30, 0)
    assert drawn.shape == (30, 6)
    np.testing.assert_array_equal(drawn[:, [3, 5]], -1)
    np.testing.assert_array_equal(
        np.sort(drawn, 1), np.broadcast_to(np.sort(target.values), (30, 6))
    )
    assert len(np.unique(drawn, axis=0)) > 5
    np.testing.assert_array_equal(target.values, [0, 1, 1, -1, 2, -1])


def test_fewer_than_two_classes_or_too_few_samples_are_refused() -> None:
    splits = Splits.drawn(40, validation=0.2, held_out=0.3, seed=0)
    with pytest.raises(ValueError, match="fewer than two classes among the 20 images"):
        Target(name="a", values=np.zeros(40, np.int64)).require_learnable(splits)
    with pytest.raises(ValueError, match="fewer than two values"):
        Target(name="a", values=np.ones((40, 1))).require_learnable(splits)
    few = Target(name="a", values=np.where(np.arange(40) < 3, 1, -1))
    with pytest.raises(ValueError, match=r"'a' is known of 3 images.*give more --n-images"):
        few.require_learnable(splits.among(few.is_known))


def test_labels_of_a_file(shapes: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    lines = [
        "sample,striped,kind",
        *(f"{i}, {'yes' if i % 2 else 'no'},k{i % 3}" for i in range(40)),
    ]
    path.write_text("\n".join([*lines, "40,,k0"]))
    found = LabelFile.read(path, shapes, is_part=False)
    assert found.notes == ["labels.csv has no label of 9 images, left out"]
    striped, kind = (found.columns[name].values for name in ("striped", "kind"))
    np.testing.assert_array_equal(striped[:40], np.arange(40) % 2)
    np.testing.assert_array_equal(kind[:41], np.arange(41) % 3 * (np.arange(41) < 40))
    np.testing.assert_array_equal(striped[40:], -1)
    assert found.columns["kind"].classes == ("k0", "k1", "k2")
    assert [target.name for target in targets_of(shapes, (), found.columns)] == ["striped", "kind"]
    (both, _) = targets_of(shapes, ("striped", "label"), found.columns)
    assert both.is_known.sum() == 40


def test_columns_of_numbers_are_numbers(shapes: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = [f"{i},{i / 3:.4f},{i % 4},{'' if i else 'x'}" for i in range(50)]
    path.write_text("\n".join(["sample,share,kind,text", *rows]))
    found = LabelFile.read(path, shapes, is_part=False)
    share, kind = found.columns["share"], found.columns["kind"]
    assert (share.metric, share.values.shape) == ("r2", (50, 1))
    np.testing.assert_allclose(share.values[:, 0], np.arange(50) / 3, atol=1e-4)
    assert (kind.metric, kind.classes) == ("accuracy", ("0", "1", "2", "3"))
    assert not found.columns["text"].is_known[1:].any()
    assert any("share is read as numbers" in note for note in found.notes)


def test_ids_that_do_not_match_are_named(shapes: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("sample,striped\n1,yes\n4x,no\n")
    with pytest.raises(ValueError, match=r"1 of 2 ids are no samples of shapes/val: 4x\. Its 50"):
        LabelFile.read(path, shapes, is_part=False)
    assert LabelFile.read(path, shapes, is_part=True).columns["striped"].values[1] == 1
    path.write_text("sample,striped\n001,yes\n002,no\n")
    with pytest.raises(ValueError, match="2 of 2 ids are no samples"):
        LabelFile.read(path, shapes, is_part=True)
    path.write_text("sample,striped\n1,yes\n1,no\n")
    with pytest.raises(ValueError, match="has the sample '1' twice"):
        LabelFile.read(path, shapes, is_part=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample,striped\n", "has 1 line of 2 columns; give a header"),
        ("sample\n1\n", "of 1 columns; give a header"),
        ("sample,striped\n1,yes,no\n", "line 2 has 3 columns, the header 2"),
        ("sample,a,a\n1,x,y\n", "has a column twice"),
    ],
)
def test_files_that_are_no_labels(text: str, said: str, shapes: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        LabelFile.read(tmp_path / "labels.csv", shapes, is_part=True)
    with pytest.raises(FileNotFoundError, match=r"No labels at .*nothing.csv"):
        LabelFile.read(tmp_path / "nothing.csv", shapes, is_part=True)
