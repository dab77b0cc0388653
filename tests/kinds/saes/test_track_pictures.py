"""Pictures of tracks: what is drawn is what was found, what is missing is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from planted_squares import LABELS, LAYER, keep_squares

import dvis
from dvis.cli import main
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.kinds.saes.tracks.plan import track_saes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    store = folder / "net.zarr"
    keep_squares(folder, store)
    given: dict[str, Any] = {"k": (1,), "tokens": "3k", "batch_size": 100, "log_every": 5}
    given |= {"n_latents": 4, "name": "wide", "checkpoints": ("all",), "warm_start": True}
    train_saes(TrainOptions(store=store, layer=LAYER, **given))
    evaluate_saes(EvaluateOptions(store=store, layer=LAYER, name="wide", split="all", n_top=4))
    for method in ("warm", "cross"):
        how: dict[str, Any] = {"method": method, "split": "all", "name": "wide"}
        track_saes(TrackOptions(store=store, layer=LAYER, controls=True, **how))
    return store


@pytest.fixture
def tracks(store: Path) -> xr.Dataset:
    return dvis.tracks(store, LAYER, "wide", method="warm")


def words(figure: Figure) -> str:
    """All that is written above, below and in a figure, in one line."""
    parts = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_title("left"), axes.get_ylabel()]
        parts += [text.get_text() for text in axes.texts]
    return " ".join(parts).replace("\n", " ")


def born_and_dead(tracks: xr.Dataset) -> xr.Dataset:
    """Three tracks, of which one is born at the second checkpoint and one is gone there."""
    first, last = tracks.checkpoint.values.tolist()
    there = tracks.isel(track=[0] * 3).assign_coords(track=range(3)).load()
    dims = ("checkpoint", "track")
    numbers = {
        "latent": (dims, [[0, 1, -1], [0, -1, 1]]),
        "frequency": (dims, [[0.5, 0.1, np.nan], [0.4, np.nan, 0.3]]),
        "drift": (dims, [[0, 0, np.nan], [0.2, np.nan, 0]]),
        "null_drift": (dims, [[0.3, 0.1, np.nan], [0.1, np.nan, 0.1]]),
        "birth": ("track", ["", "", last]),
        "death": ("track", ["", last, ""]),
    }
    assert first != last
    attrs = {name: there[name].attrs for name in numbers}
    made = there.assign(numbers)
    for name, each in attrs.items():
        made[name].attrs = each
    return made


def test_a_river_is_as_wide_as_tracks_fire(tracks: xr.Dataset) -> None:
    figure = born_and_dead(tracks).dvis.sae_tracks()
    river, ends, drift = figure.axes
    assert river.get_ylim()[1] >= 0.7
    marks = [str(line.get_marker()) for line in river.get_lines()]
    assert sorted(marks) == ["^", "v"]
    heights = [patch.get_height() for patch in ends.patches]
    assert heights == [0, 1, 0, -1]
    (middle,) = drift.get_lines()
    np.testing.assert_allclose(middle.get_ydata(), [np.nan, 0.2])  # of those there before
    assert "seeds of the autoencoder" in words(figure)
    assert "by warm, which cannot tell" in words(figure)


def test_many_tracks_are_one_stream(tracks: xr.Dataset) -> None:
    figure = born_and_dead(tracks).dvis.sae_tracks(max_tracks=1)
    assert "2 others in grey" in words(figure)
    assert len(figure.axes[0].collections) == 2


def test_without_a_second_seed_it_is_said(tracks: xr.Dataset) -> None:
    nulls = ["null_similarity", "null_cosine", "null_drift"]
    assert "no second seed" in words(tracks.drop_vars(nulls).dvis.sae_tracks())
    assert "no second seed" in words(tracks.drop_vars(nulls).dvis.track_film())


def test_a_film_has_the_images_of_the_latent_at_each_checkpoint(
    store: Path, tracks: xr.Dataset
) -> None:
    figure = tracks.dvis.track_film(max_images=2)
    number = int(figure.get_suptitle().split(":")[0].removeprefix("Track "))
    one = tracks.sel(track=number).load()
    latents = dvis.latents(store, LAYER, "wide")
    for row, place in enumerate(np.flatnonzero(one.latent.values >= 0)):
        at = latents.isel(checkpoint=place, score=0).sel(latent=int(one.latent[place]))
        for column in range(2):
            cell = figure.axes[2 * row + column]
            value = float(at.top_value[column])
            assert bool(cell.get_title()) == (value > 0)
            if value > 0:
                assert f"{value:.3g}" in cell.get_title()
                assert cell.images
    assert "grey: what a second seed" in words(figure)
    with pytest.raises(ValueError, match=r"No track 99\. The tracks of conv, wide: 0 to"):
        tracks.dvis.track_film(99)


def test_what_cannot_be_drawn_says_why(store: Path, tracks: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="one for all checkpoints and has no images"):
        dvis.tracks(store, LAYER, method="cross").dvis.track_film()
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.tracks"):
        dvis.latents(store, LAYER, "wide").dvis.sae_tracks()
    with pytest.raises(ValueError, match="is there; run the same `dvis sae track`"):
        tracks.assign(status=tracks.status * 0).dvis.sae_tracks()


def test_the_command_draws_them(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    for name, *arguments in (
        ("sae-tracks", "--name", "wide", "--method", "cross", "--max-tracks", "3"),
        ("track-film", "--method", "warm", "--track", "0", "--max-images", "2"),
    ):
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit, match="0"):
            main(["plot", name, str(store), *arguments, "--out", str(out)])
        assert out.stat().st_size > 1000
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "sae-tracks", str(store), "--out", str(out)])
    assert "Which method?" in capsys.readouterr().err
    assert len(LABELS) == 2
