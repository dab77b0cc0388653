"""Attributes by their command, as `dvis plot` draws them, and on the page."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tiny_models import write_checkpoints

import dvis
from dvis.cli import main
from dvis.kinds.attributes.parts import attribute_parts
from dvis.kinds.attributes.pictures.sheets import best_units
from dvis.kinds.parts import Asked, Unit
from dvis.store.contents import contents

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the command made."""
    folder = tmp_path_factory.mktemp("shown")
    write_checkpoints(folder / "run", 3)
    path = folder / "net.zarr"
    given = ["--model", "tiny_models:net", "--checkpoint-path", str(folder / "run")]
    given += ["--store", str(path), "--workers", "0", "--n-pairs", "12", "--n-random", "2"]
    given += ["--layers", "conv1", "conv2", "--attributes", "colour", "shape:ring:cross"]
    with pytest.raises(SystemExit, match="0"):
        main(["attributes", *given, "--n-shuffles", "3"])
    return path


@pytest.mark.parametrize("kind", ["attributes", "attribute-units", "attribute-pairs"])
def test_pictures_by_their_command(kind: str, store: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.png")
    with pytest.raises(SystemExit, match="0"):
        main(["plot", kind, str(store), "--out", out, "--target", "colour"])
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_curves_have_what_they_are_held_against(store: Path) -> None:
    found = dvis.attributes(store).load()
    figure = found.dvis.attributes_over_training(x="step")
    assert len(figure.axes) == 3 * 2
    titles = [axes.get_title("left") for axes in figure.axes[:2]]
    assert titles == ["colour", "shape:ring:cross"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["conv1", "conv2", "pixels", "response", "tells from", "uses from", "never"]
    at = found.sel(attribute="colour")
    tells, uses = figure.axes[0], figure.axes[2]
    np.testing.assert_allclose(tells.lines[0].get_ydata(), at.tells.sel(layer="conv1"))
    assert tells.lines[2].get_ydata()[0] == at.pixel_tells.item()
    np.testing.assert_allclose(uses.lines[2].get_ydata(), at.response.isel(layer=0))
    text = " ".join(each.get_text() for each in figure.texts).replace("\n", " ")
    said = (
        "sides of pairs exchanged (3 draws), random directions of a layer (2 draws), of any layer"
    )
    assert said in text
    plt.close(figure)


def test_dates_stand_where_they_are(store: Path) -> None:
    found = dvis.attributes(store).load()
    dates = found.dvis.attribute_dates().sel(attribute="colour", question="tells")
    figure = found.dvis.attributes_over_training("colour", x="step")
    drawn = {
        (float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 2))
        for line in figure.axes[-1].lines
        if line.get_marker() == "o"
    }
    expected = {
        (dates.from_step.values[row], row - 0.17)
        for row in range(2)
        if np.isfinite(dates.from_step.values[row])
    }
    assert expected
    assert drawn == expected
    plt.close(figure)


def test_units_are_the_best_and_marked_beyond_their_null(store: Path) -> None:
    found = dvis.attributes(store).load()
    figure = found.dvis.attribute_units(max_units=5)
    axes = figure.axes[0]
    assert len(axes.get_yticklabels()) == 5
    last = found.isel(checkpoint=-1)
    best = np.abs(last.score.sel(attribute="colour")).stack(unit=("layer", "channel"))
    layer, channel = best.unit.values[int(np.nanargmax(best.values))]
    assert f"{layer}, {channel}" in [text.get_text() for text in axes.get_yticklabels()]
    shown = np.abs(axes.images[0].get_array().filled(0))
    n_beyond = len(axes.lines[0].get_xdata())
    assert 0 < n_beyond < shown.size
    plt.close(figure)
    scores = np.array([[0.1, -0.9], [np.nan, np.nan], [0.8, 0.2], [-0.5, 0.3], [0.0, 0.0]])
    assert best_units(scores, 2).tolist() == [0, 2]
    assert best_units(scores, 3).tolist() == [0, 2, 3]
    assert best_units(scores, 99).tolist() == [0, 2, 3, 4]


def test_latents_are_drawn_below_channels_against_their_own_null(store: Path) -> None:
    found = dvis.attributes(store).load()
    scores = np.random.default_rng(0).uniform(-0.2, 0.2, (*found.tells.shape, 9))
    scores[-1, 1, :, 7] = 0.9
    scores[:, 0] = np.nan  # a layer without autoencoders
    dims = (*found.tells.dims, "latent")
    found = found.assign(
        latent_score=(dims, scores),
        null_latent_score=0.5 + 0 * found.null_score,
    ).assign_coords(latent=np.arange(9))
    figure = found.dvis.attribute_units(max_units=4)
    above, below, *_ = figure.axes
    assert len(above.get_yticklabels()) == len(below.get_yticklabels()) == 4
    called = [text.get_text() for text in below.get_yticklabels()]
    layer = str(found.layer.values[1])
    assert f"{layer}, latent 7" in called
    assert all(each.startswith(f"{layer}, latent ") for each in called)
    dots = below.lines[0].get_xydata()
    row = called.index(f"{layer}, latent 7")
    assert dots.tolist() == [[0, row], [1, row]]
    said = " ".join(text.get_text() for text in figure.texts)
    assert "4 of 9 latents" in said
    none = found.assign(latent_score=np.nan * found.latent_score)
    assert len(none.dvis.attribute_units(max_units=4).axes) == 2  # and the scale
    plt.close("all")


def test_pairs_are_shown_as_they_are_kept(store: Path) -> None:
    found = dvis.attributes(store).load()
    figure = found.dvis.attribute_pairs("shape:ring:cross")
    assert len(figure.axes) == 4
    (image,) = figure.axes[1].images
    first, second = found.picture.sel(attribute="shape:ring:cross").isel(example=1).values
    np.testing.assert_array_equal(image.get_array()[:, : first.shape[1]], first)
    np.testing.assert_array_equal(image.get_array()[:, -second.shape[1] :], second)
    assert figure.axes[0].get_ylabel() == "shape\nring, cross"
    plt.close(figure)


def test_pictures_of_some_and_errors(store: Path) -> None:
    found = dvis.attributes(store)
    figure = found.dvis.attributes_over_training("colour", layer="conv2", above="first")
    assert len(figure.axes) == 3
    plt.close(figure)
    with pytest.raises(ValueError, match=r"No attribute 'color'.*Did you mean 'colour'"):
        found.dvis.attribute_units("color")
    with pytest.raises(ValueError, match=r"No layer 'conv3'.*Did you mean 'conv"):
        found.dvis.attributes_over_training(layer="conv3")
    with pytest.raises(ValueError, match="No checkpoint 'last'"):
        found.dvis.attribute_units(checkpoint="last")
    with pytest.raises(ValueError, match="No unit has a score"):
        found.assign(score=found.score * np.nan).dvis.attribute_units()
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.attributes"):
        found.drop_vars("tells").dvis.attribute_pairs()
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "attribute-pairs", str(store), "--out", "a.png", "--layer", "conv1"])


def test_curves_of_the_page(store: Path) -> None:
    found = contents(store)
    of_run = list(attribute_parts(Asked(store=store, contents=found, run="checkpoints")))
    assert [curves.title for curves in of_run[:2]] == [
        "What layers tell of colour · pairs",
        "What the output uses of colour, by layer · pairs",
    ]
    assert len(of_run) == 4
    at = dvis.attributes(store).load().sel(attribute="colour")
    tells, uses = of_run[:2]
    assert [line.label for line in tells.lines] == ["conv1", "conv2", "pixels"]
    np.testing.assert_allclose(tells.lines[0].values, at.tells.sel(layer="conv1"))
    np.testing.assert_allclose(tells.null_high, at.null_tells.sel(bound="upper").max("layer"))
    np.testing.assert_allclose(uses.lines[1].values, at.uses.sel(layer="conv2"))
    unit = Unit(layer="conv1", channel=3)
    (scores,) = attribute_parts(Asked(store=store, contents=found, run="checkpoints", unit=unit))
    assert [line.label for line in scores.lines] == ["colour", "shape:ring:cross"]
    np.testing.assert_allclose(scores.lines[0].values, at.score.sel(layer="conv1", channel=3))
    assert (np.asarray(scores.null_high) >= at.null_score.sel(layer="conv1").max("shuffle")).all()
    for other in (
        Unit(layer="conv1", channel=12),
        Unit(layer="bn1", channel=0),
        Unit(layer="conv1", channel=3, list_name="wide"),
    ):
        asked = Asked(store=store, contents=found, run="checkpoints", unit=other)
        assert not list(attribute_parts(asked))
