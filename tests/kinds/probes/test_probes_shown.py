"""Probes by their command, as `dvis plot` draws them, and on the page."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tiny_models import write_checkpoints
from tiny_probes import made_up_probes

import dvis
from dvis.cli import main
from dvis.kinds.parts import Asked, Unit
from dvis.kinds.probes.parts import probe_parts
from dvis.store.contents import contents

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the command made."""
    folder = tmp_path_factory.mktemp("shown")
    write_checkpoints(folder / "run", 3)
    path = folder / "net.zarr"
    given = ["--model", "tiny_models:net", "--checkpoint-path", str(folder / "run")]
    given += ["--store", str(path), "--workers", "0", "--dataset", "shapes", "--n-images", "60"]
    given += ["--layers", "conv1", "conv2", "--targets", "background", "position_x"]
    with pytest.raises(SystemExit, match="0"):
        main(["probe", *given, "--n-shuffles", "2"])
    return path


@pytest.mark.parametrize("kind", ["accuracy-over-training", "accuracy-by-layer"])
def test_pictures_by_their_command(kind: str, store: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.png")
    with pytest.raises(SystemExit, match="0"):
        main(["plot", kind, str(store), "--out", out, "--target", "position_x"])
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_pictures_have_every_baseline(store: Path) -> None:
    found = dvis.probes(store)
    for figure in (found.dvis.accuracy_over_training(), found.dvis.accuracy_by_layer()):
        assert [axes.get_title("left") for axes in figure.axes] == [
            "background: accuracy",
            "position_x: R²",
        ]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names[-3:] == ["untrained", "pixels", "majority"]
        (notes,) = [t.get_text() for t in figure.texts if "grey" in t.get_text()]
        assert "95 % of the null, targets of samples" in notes.replace("\n", " ")
        at = found.sel(target="background", split="held-out")
        heights = [line.get_ydata() for line in figure.axes[0].lines]
        constant = [float(h[0]) for h in heights if np.ptp(np.asarray(h, float)) == 0]
        assert any(np.isclose(at.pixel_score.item(), constant))
        assert any(np.isclose(at.majority_score.item(), constant))
        plt.close(figure)


def test_pictures_say_that_nothing_untrained_was_measured() -> None:
    made = made_up_probes(np.array([[0.1, 0.2], [0.3, 0.8]]), 0.02)
    made["untrained_score"] = made.untrained_score * np.nan
    for figure in (made.dvis.accuracy_over_training(), made.dvis.accuracy_by_layer()):
        text = " ".join(t.get_text() for t in figure.texts).replace("\n", " ")
        assert "no baseline of the network untrained" in text
        names = [each.get_text() for each in figure.legends[0].get_texts()]
        assert "untrained" not in names
        plt.close(figure)


def test_pictures_of_some_and_errors(store: Path) -> None:
    found = dvis.probes(store)
    figure = found.isel(checkpoint=-1).dvis.accuracy_by_layer("background")
    assert len(figure.axes) == 1
    plt.close(figure)
    figure = found.dvis.accuracy_over_training("background", layer="conv2", x="step")
    assert figure.legends[0].get_texts()[0].get_text() == "conv2"
    plt.close(figure)
    with pytest.raises(ValueError, match=r"No target 'positon_x'.*Did you mean 'position_x'"):
        found.dvis.accuracy_over_training("positon_x")
    with pytest.raises(ValueError, match=r"No layer 'conv3'.*Did you mean 'conv"):
        found.dvis.accuracy_over_training(layer="conv3")
    with pytest.raises(ValueError, match="No checkpoint 'last'"):
        found.dvis.accuracy_by_layer(checkpoint="last")
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.probes"):
        found.drop_vars("pixel_score").dvis.accuracy_by_layer()


def test_curves_of_the_page(store: Path) -> None:
    found = contents(store)
    of_run = list(probe_parts(Asked(store=store, contents=found, run="checkpoints")))
    assert [curves.title for curves in of_run] == [
        "What layers tell of background, accuracy · shapes-val",
        "What layers tell of position_x, R² · shapes-val",
    ]
    at = dvis.probes(store).sel(split="held-out", target="background").load()
    labels = [line.label for line in of_run[0].lines]
    assert labels[:2] == ["conv1", "conv2"]
    assert labels[-1] == "pixels"
    assert labels[-2].startswith("untrained, best of layers")
    np.testing.assert_allclose(of_run[0].lines[0].values, at.score.sel(layer="conv1"))
    np.testing.assert_allclose(of_run[0].null_high, at.null_score.sel(bound="upper").max("layer"))
    unit = Unit(layer="conv1", channel=0)
    assert not list(probe_parts(Asked(store=store, contents=found, run="checkpoints", unit=unit)))


def test_faults_are_found(store: Path, tmp_path: Path) -> None:
    import shutil

    import zarr

    copy = tmp_path / "net.zarr"
    shutil.copytree(store, copy)
    group = zarr.open_group(copy, mode="r+")["checkpoints/probes/shapes-val"]
    scores = group["score"][:]
    scores[0, 0, 0, 2], scores[1, 1, 1, 0] = np.nan, 1.5
    group["score"][:] = scores
    band = group["null_score"][:]
    band[2, 0, 0, 1] = band[2, 0, 0, 1, ::-1]
    group["null_score"][:] = band
    said = [str(fault) for fault in dvis.check_store(copy)]
    assert sum("is complete, but has no score" in text for text in said) == 1
    assert sum("has a score above 1" in text for text in said) == 1
    assert sum("lower end is above its upper" in text for text in said) == 1
