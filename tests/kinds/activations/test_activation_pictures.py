"""Pictures of top images: what is drawn is what the store says, maps lie where they belong."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from drawn_text import unreadable
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from planted_squares import CELL, LABELS, LAYER, SIDE, keep_squares, write_squares

import dvis
from dvis.cli import main
from dvis.kinds.activations import pictures
from dvis.kinds.activations.pictures.cells import faded
from dvis.kinds.activations.pictures.samples import TokenMap
from dvis.store.datasets import thumbnails_of

MOMENTS = ["step 1", "step 2"]  # what pictures call LABELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    keep_squares(folder, folder / "net.zarr")
    keep_squares(folder, folder / "bare.zarr", thumbnail_size=0, tokens="random:5", seed=3)
    return folder


@pytest.fixture
def ds(folder: Path) -> xr.Dataset:
    return dvis.activations(folder / "net.zarr", LAYER)


@pytest.fixture
def bare(folder: Path) -> xr.Dataset:
    return dvis.activations(folder / "bare.zarr", LAYER)


def cells(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def words(figure: Figure) -> str:
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    return "\n".join([figure.get_suptitle(), figure.get_supxlabel(), *written])


def test_each_cell_is_the_image_of_its_rank_with_class_and_value(ds: xr.Dataset) -> None:
    figure = ds.dvis.top_images(checkpoint=LABELS[0])
    at = ds.sel(checkpoint=LABELS[0]).load()
    assert len(cells(figure)) == at.sizes["channel"] * at.sizes["rank"]
    assert unreadable(figure) == []
    assert figure.get_suptitle() == f"Top images of {LAYER}, {MOMENTS[0]}"
    shown = iter(cells(figure))
    for channel in at.channel.values:
        for rank in at["rank"].values:
            of = at.sel(channel=channel, rank=rank)
            title = next(shown).get_title()
            name, value = title.split("\n")
            assert name == of.top_sample.item().split("/")[0]
            assert value == f"{of.top_value.item():.3g}"
    assert {"channel 0", "channel 1"} <= set(words(figure).split("\n"))


def test_the_map_lies_on_the_square_that_drives_the_channel(ds: xr.Dataset, tmp_path: Path) -> None:
    places = write_squares(tmp_path / "again")
    figure = ds.dvis.top_images(0)
    at = ds.isel(checkpoint=-1, channel=0)
    for axes, sample_id in zip(cells(figure), at.top_sample.values, strict=True):
        row, column = places[sample_id]
        (image,) = axes.get_images()
        picture = np.asarray(image.get_array(), float)
        # Grey is nearly all that is left of what the channel does not answer to.
        scale = len(picture) / SIDE * CELL
        middle = round((row + 0.5) * scale), round((column + 0.5) * scale)
        assert picture[middle].mean() > picture.mean() + 40
        (line,) = [c for c in axes.collections if c.get_linewidth()[0] == 1.0]
        outline = np.concatenate([path.vertices for path in line.get_paths()])
        np.testing.assert_allclose(
            (outline[:, 1].min() + outline[:, 1].max()) / 2, (row + 0.5) * scale, atol=scale / 4
        )
        np.testing.assert_allclose(
            (outline[:, 0].min() + outline[:, 0].max()) / 2, (column + 0.5) * scale, atol=scale / 4
        )


def test_a_picture_is_as_it_is_where_its_map_is_all(ds: xr.Dataset, folder: Path) -> None:
    sample_id = ds.isel(checkpoint=0, channel=0, rank=0).top_sample.item()
    (picture,) = thumbnails_of(folder / "net.zarr", ds.attrs["dataset"], [sample_id])
    np.testing.assert_array_equal(faded(picture, np.ones(picture.shape[:2])), picture)
    assert faded(picture, np.zeros(picture.shape[:2])).std() < picture.std() / 2


def test_tokens_that_have_no_place_are_not_on_the_map() -> None:
    tokens = xr.Dataset(
        {
            "row": ("token", [-1, 0, 0, 1, 1]),
            "column": ("token", [-1, 0, 1, 0, 1]),
            "is_special": ("token", [True, False, False, False, False]),
        },
        attrs={"n_all_tokens": 5},
    )
    whole = TokenMap.of(tokens)
    shown = whole.on_picture(np.array([255, 0, 255, 0, 0], np.uint8), 8, 8)
    assert shown is not None
    assert whole.shape == (2, 2)
    assert shown[0, -1] == 1
    assert shown[-1, 0] == shown[0, 0] == shown[-1, -1] == 0
    nowhere = TokenMap.of(tokens.isel(token=[0]))
    assert nowhere.on_picture(np.array([255], np.uint8), 8, 8) is None


def test_drawn_tokens_keep_their_places_on_the_whole_map(bare: xr.Dataset) -> None:
    tokens = TokenMap.of(bare)
    assert tokens.shape == (4, 4)
    assert not tokens.is_whole
    for token in range(bare.sizes["token"]):
        levels = np.zeros(bare.sizes["token"], np.uint8)
        levels[token] = 255
        shown = tokens.on_picture(levels, 16, 16)
        assert shown is not None
        row, column = int(bare.row[token]), int(bare.column[token])
        assert shown[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].min() == 1
        assert shown.sum() == 16


def test_without_thumbnails_ids_stand_in_their_place(bare: xr.Dataset) -> None:
    figure = bare.dvis.top_images(0)
    at = bare.isel(checkpoint=-1, channel=0)
    assert not any(axes.get_images() for axes in cells(figure))
    for sample_id in at.top_sample.values:
        assert sample_id in words(figure)
    assert "keeps no thumbnails" in words(figure).replace("\n", " ")
    assert unreadable(figure) == []


def test_a_dataset_without_its_store_is_drawn_with_ids(ds: xr.Dataset) -> None:
    figure = pictures.top_images(ds.load().copy(deep=True).drop_encoding(), 0)
    assert "does not know its store" in words(figure).replace("\n", " ")


def test_timeline_has_a_column_a_checkpoint_below_the_optimised_image(ds: xr.Dataset) -> None:
    image = np.arange(2 * 1 * 1 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 1, 1, 4, 4, 3)
    units = xr.Dataset(
        {
            "image": (("checkpoint", "layer", "channel", "y", "x", "rgb"), image),
            "status": (("checkpoint", "layer", "channel"), np.array([1, 4])[:, None, None]),
        },
        {"checkpoint": list(LABELS), "layer": [LAYER], "channel": [1]},
    )
    figure = ds.dvis.top_image_timeline(1, unit_images=units)
    grid = np.reshape(cells(figure), (1 + ds.sizes["rank"], 2))
    np.testing.assert_array_equal(grid[0, 0].get_images()[0].get_array(), image[0, 0, 0])
    assert grid[0, 1].get_images() == []
    assert "dead" in words(figure)
    for column, label in enumerate(LABELS):
        assert MOMENTS[column] in [text.get_text() for text in grid[0, column].texts]
        for rank, axes in enumerate(grid[1:, column]):
            value = ds.top_value.sel(checkpoint=label, channel=1, rank=rank).item()
            assert axes.get_title().endswith(f"{value:.3g}")
    assert unreadable(figure) == []
    without = ds.dvis.top_image_timeline(0, unit_images=units)  # they are of channel 1 alone
    assert len(cells(without)) == 2 * ds.sizes["rank"]


def test_what_is_not_there_is_said(ds: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"No channel 0, 9 in conv\. Its channels: 0 to 1"):
        ds.dvis.top_images([0, 9])
    with pytest.raises(ValueError, match=r"Which channel\? Its channels: 0 to 1"):
        ds.dvis.top_image_timeline()
    with pytest.raises(ValueError, match="Did you mean"):
        ds.dvis.top_images(checkpoint="step_3.pth")
    with pytest.raises(dvis.SchemaError, match=r"has no top_sample.*--keep top:64"):
        ds.drop_vars("top_sample").dvis.top_images()
    with pytest.raises(ValueError, match="max_images is 0"):
        ds.dvis.top_images(max_images=0)


def test_the_command_draws_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, out = str(folder / "net.zarr"), tmp_path / "top.png"
    for arguments in (
        ["top-images", store, "--channel", "0", "1", "--checkpoint", LABELS[0]],
        ["top-image-timeline", store, "--layer", LAYER, "--channel", "1", "--max-images", "1"],
    ):
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit, match="0"):
            main(["plot", *arguments, "--out", str(out)])
        assert out.stat().st_size > 1000
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "top-images", store, "--layer", "cone", "--out", str(out)])
    assert "Did you mean 'conv'?" in capsys.readouterr().err
