"""Pictures: what is drawn, how it is marked, and errors that help."""

import inspect
import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
import zarr
from matplotlib.figure import Figure
from slowly import slowly
from trees import CHECKPOINTS, write_tree

import dvis
from dvis import plots
from dvis.kinds.features import pictures as feature_pictures
from dvis.kinds.responses import pictures as response_pictures
from dvis.plots.ticks import short_name
from dvis.schema import SchemaError

PICTURES = [name for name in plots.__all__ if name.islower()]


@pytest.fixture
def ds(sample_store: Path) -> xr.Dataset:
    return dvis.open(sample_store)


def cells(figure: Figure) -> list[plt.Axes]:
    return [axes for axes in figure.axes if axes.axison]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in cells(figure)]


def test_timeline_shows_each_image_with_checkpoint_and_activation(ds: xr.Dataset) -> None:
    figure = ds.dvis.timeline(layer="layer2.0.conv1", channel=1)
    assert len(cells(figure)) == 14
    unit = ds.sel(layer="layer2.0.conv1", channel=1)
    for i, axes in enumerate(cells(figure)):
        (image,) = axes.get_images()
        np.testing.assert_array_equal(image.get_array(), unit.image[i].values)
        assert f"{float(unit.activation[i]):.4g}" in axes.get_title()
    assert titles(figure)[10].startswith("step 1,780\n")


def test_a_timeline_of_several_channels_has_a_row_for_each(ds: xr.Dataset) -> None:
    figure = ds.dvis.timeline("layer2.0.conv1", [1, 0], max_images=3)
    shown = cells(figure)
    assert len(shown) == 6
    assert [axes.get_ylabel() for axes in shown[::3]] == ["channel 1", "channel 0"]
    for row, channel in enumerate((1, 0)):
        unit = ds.sel(layer="layer2.0.conv1", channel=channel)
        (image,) = shown[3 * row + 2].get_images()
        np.testing.assert_array_equal(image.get_array(), unit.image[-1].values)
    assert titles(ds.dvis.timeline("layer2.0.conv1", [1])) == titles(
        ds.dvis.timeline("layer2.0.conv1", 1)
    )
    with pytest.raises(ValueError, match="1 to 32"):
        ds.dvis.timeline("layer2.0.conv1", [])


def test_xarray_draws_an_image_the_right_way_up(ds: xr.Dataset) -> None:
    unit = ds.sel(layer="layer2.0.conv1", channel=1).isel(checkpoint=-1)
    drawn = unit.image.plot.imshow(yincrease=False)
    top, bottom = drawn.axes.transData.transform([(0, 0), (0, unit.sizes["y"] - 1)])[:, 1]
    assert top > bottom
    np.testing.assert_array_equal(np.asarray(drawn.get_array())[0, :, :3], unit.image[0].values)


def test_timeline_marks_what_is_not_complete(ds: xr.Dataset) -> None:
    shown = {
        ("layer4", 3, 2): ("no image", "tab:orange", False),
        ("layer4", 2, 3): ("", "tab:orange", True),
        ("layer1", 0, 7): ("failed", "tab:red", False),
        ("layer4", 1, 9): ("absent", "0.7", False),
    }
    for (layer, channel, place), (text, color, has_image) in shown.items():
        axes = cells(ds.dvis.timeline(layer, channel))[place]
        assert "".join(label.get_text() for label in axes.texts) == text
        assert axes.spines["left"].get_edgecolor() == plt.matplotlib.colors.to_rgba(color)
        assert bool(axes.get_images()) == has_image
    assert titles(ds.dvis.timeline("layer4", 2))[3].endswith("no activation")
    assert titles(ds.dvis.timeline("layer2.0.conv1", 0))[6].endswith("NaN")


def test_timeline_of_many_checkpoints_chooses_evenly(ds: xr.Dataset) -> None:
    figure = ds.dvis.timeline("layer1", 3, max_images=5)
    shown = [ds.dvis.timeline("layer1", 3).axes[i].get_title() for i in (0, 3, 6, 10, 13)]
    assert titles(figure) == shown
    assert "5 of 14 checkpoints" in figure.get_supxlabel()


def test_trajectory_draws_the_activations(ds: xr.Dataset) -> None:
    for x in ("checkpoint", "step", "time", "epoch"):
        (axes,) = ds.dvis.trajectory("layer4", [0, 2], x=x).axes
        assert len(axes.get_lines()) == 2
        for line, channel in zip(axes.get_lines(), (0, 2), strict=True):
            expected = ds.activation.sel(layer="layer4", channel=channel)
            np.testing.assert_array_equal(np.float32(line.get_ydata()), expected)
    (axes,) = ds.dvis.trajectory().axes
    medians = [line for line in axes.get_lines() if "median" in str(line.get_label())]
    assert len(axes.get_lines()) == 12 + 3
    complete = ds.activation.where(ds.status == dvis.Status.COMPLETE).sel(layer="layer1")
    np.testing.assert_allclose(medians[0].get_ydata(), complete.median("channel"), rtol=1e-6)


def test_slices_choose_units(ds: xr.Dataset) -> None:
    (axes,) = ds.dvis.trajectory(slice("layer2.0.conv1", None), slice(1, 2)).axes
    assert [line.get_label() for line in axes.get_lines()] == [
        f"{layer}, channel {c}" for layer in ("layer2.0.conv1", "layer4") for c in (1, 2)
    ]


def test_failed_units_are_not_drawn(own_store: Path) -> None:
    group = zarr.open_group(
        own_store, path="checkpoints/features/average-0", mode="r+", use_consolidated=False
    )
    group["status"][3, 0, 1] = int(dvis.Status.FAILED)
    ds = dvis.open(own_store)
    (line,) = ds.dvis.trajectory("layer1", 1).axes[0].get_lines()
    assert np.isnan(line.get_ydata()[3])
    cell = cells(ds.dvis.timeline("layer1", 1))[3]
    assert cell.get_title().split("\n")[1].strip() == ""
    assert not cell.get_images()


def test_partly_known_steps_are_said(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, [*CHECKPOINTS, "last"])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    figure = dvis.open(tmp_path / "s.zarr").dvis.trajectory("layer1", 0, x="step")
    assert "3 of 7 checkpoints have a known step" in figure.get_supxlabel()


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["a$\\frac$ b", "$x_4$"], ("$l$",), 1)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    ds = dvis.open(tmp_path / "s.zarr")
    for figure in (ds.dvis.timeline(), ds.dvis.trajectory(), ds.dvis.grid()):
        figure.savefig(tmp_path / "p.png")
        assert (tmp_path / "p.png").stat().st_size > 0


def test_figures_do_not_pile_up(ds: xr.Dataset) -> None:
    for _ in range(3):
        ds.dvis.trajectory("layer1", 0)
    assert plt.get_fignums() == []


def test_grid_shows_the_channels_of_a_checkpoint(ds: xr.Dataset) -> None:
    label = str(ds.checkpoint.values[5])
    figure = ds.dvis.grid(label, "layer4")
    assert [title.split("\n")[0] for title in titles(figure)] == [f"channel {c}" for c in range(4)]
    (image,) = cells(figure)[2].get_images()
    np.testing.assert_array_equal(
        image.get_array(), ds.image.sel(checkpoint=label, layer="layer4", channel=2)
    )
    assert len(cells(ds.dvis.grid(layer="layer4", channels=[3, 1]))) == 2


def test_views_work_on_selections(ds: xr.Dataset) -> None:
    assert len(cells(ds.sel(layer="layer1", channel=2).dvis.timeline())) == 14
    assert len(cells(ds.isel(checkpoint=3).dvis.grid(layer="layer1"))) == 4
    assert len(ds.sel(layer="layer1").dvis.trajectory(channel=1).axes[0].get_lines()) == 1
    assert len(cells(ds.isel(checkpoint=slice(2, 6)).dvis.timeline("layer1", 0))) == 4


@pytest.mark.parametrize("suffix", ["png", *map(slowly, ("pdf", "svg"))])
def test_pictures_are_saved_where_told(ds: xr.Dataset, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"t.{suffix}"
    ds.dvis.timeline("layer1", 0, path=path)
    assert path.stat().st_size > 1000


def test_errors_say_what_there_is(ds: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"Layers: layer1, .*Did you mean 'layer4'"):
        ds.dvis.timeline("layr4", 0)
    with pytest.raises(ValueError, match="Its channels: 0 to 3"):
        ds.dvis.timeline("layer4", 64)
    with pytest.raises(ValueError, match="Which layer"):
        ds.dvis.grid()
    with pytest.raises(ValueError, match="Which channel"):
        ds.dvis.timeline("layer4")
    with pytest.raises(ValueError, match="Did you mean 'checkpoint_"):
        ds.dvis.grid("checkpoint_2024-03-25-00h28_epoch_0_train_1.pth.tar", "layer1")
    with pytest.raises(ValueError, match="there are 14"):
        ds.dvis.grid(np.int64(99), "layer1")
    with pytest.raises(ValueError, match="'checkpoint', 'step', 'time' or 'epoch'"):
        ds.dvis.trajectory("layer4", 0, x="layer")
    with pytest.raises(SchemaError, match=r"has no image, .*Open one with dvis\.open"):
        xr.Dataset({"a": 1}).dvis.timeline()


def test_unknown_steps_are_no_axis(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["full", "friendly"])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    with pytest.raises(ValueError, match="step is not known for any"):
        dvis.open(tmp_path / "s.zarr").dvis.trajectory("layer1", 0, x="step")


def test_a_hundred_checkpoint_names_do_not_overlap(tmp_path: Path) -> None:
    labels = [f"checkpoint_2024-03-25-10h00_epoch_0_train_{i * 17}.pth.tar" for i in range(100)]
    tree = write_tree(tmp_path, labels, ("layer2",), 1)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    ds = dvis.open(tmp_path / "s.zarr")
    plt.figure()
    (line,) = ds.sel(layer="layer2", channel=0).activation.plot()
    figure = line.figure
    figure.canvas.draw()
    ticks = [label for label in line.axes.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in ticks]
    assert 3 <= len(ticks) <= 8
    assert ticks[0].get_text() == "epoch 0, train 0"
    assert ticks[-1].get_text() == "epoch 0, train 1683"
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    assert line.axes.xaxis.label.get_window_extent().y0 >= 0


_FRESH_PROCESS = """
import sys
import dvis
ds = dvis.open(sys.argv[1])
assert ds.checkpoint.values.size and repr(ds) and len(ds.checkpoint.to_numpy())
assert not any(name.startswith("matplotlib") for name in sys.modules)
assert not [hook for hook in sys.meta_path if type(hook).__module__.startswith("dvis")]
(line,) = ds.sel(layer="layer2", channel=0).activation.plot()
line.figure.canvas.draw()
print(*[label.get_text() for label in line.axes.get_xticklabels()], sep=";")
"""


def test_names_are_readable_where_matplotlib_comes_with_the_plot(tmp_path: Path) -> None:
    labels = [f"checkpoint_2024-03-25-10h00_epoch_0_train_{i * 17}.pth.tar" for i in range(40)]
    dvis.ingest_tree(write_tree(tmp_path, labels, ("layer2",), 1), store=tmp_path / "s.zarr")
    done = subprocess.run(
        [sys.executable, "-c", _FRESH_PROCESS, tmp_path / "s.zarr"],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "agg"},
    )
    assert done.returncode == 0, done.stderr
    ticks = done.stdout.strip().split(";")
    assert 3 <= len(ticks) <= 8
    assert (ticks[0], ticks[-1]) == ("epoch 0, train 0", "epoch 0, train 663")


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.isel(checkpoint=slice(None, None, -1)),
        lambda ds: ds.chunk(checkpoint=1),
        lambda ds: ds.where(ds.activation > -1e9, drop=True),
        lambda ds: pickle.loads(pickle.dumps(ds)),
        lambda ds: xr.concat([ds.isel(checkpoint=[1]), ds.isel(checkpoint=[0])], "checkpoint"),
        lambda ds: ds.load().copy(deep=True),
    ],
)
def test_names_of_a_changed_dataset_are_readable(
    ds: xr.Dataset, change: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    plt.figure()
    changed = change(ds[["activation"]])
    (line,) = changed.isel(layer=0, channel=0).activation.plot(x="checkpoint")
    line.figure.canvas.draw()
    ticks = [label.get_text() for label in line.axes.get_xticklabels()]
    assert ticks[0] == short_name(str(changed.checkpoint.values[0]))


def test_other_string_axes_are_left_to_matplotlib(ds: xr.Dataset) -> None:
    _, axes = plt.subplots()
    axes.plot(np.array(["a", "b", "c"]), [1, 2, 3])
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "picture",
    [
        plots.births_by_layer,
        response_pictures.cross_response,
        feature_pictures.development,
        feature_pictures.grid,
        plots.heatmap,
        feature_pictures.timeline,
        plots.trajectories_by_layer,
        plots.trajectory,
    ],
)
def test_an_empty_selection_is_no_picture(ds: xr.Dataset, picture: Callable[..., Figure]) -> None:
    if picture is response_pictures.cross_response:
        ds = ds.assign(response=ds.activation).assign_coords(image_checkpoint=["full"])
    for dim in ("checkpoint", "layer", "channel"):
        with pytest.raises(ValueError, match=f"No {dim} is left: .* leave the selection out"):
            picture(ds.isel({dim: slice(0)}))


@pytest.mark.parametrize("name", PICTURES)
def test_every_option_of_a_picture_is_documented(name: str) -> None:
    function = getattr(plots, name)
    docstring = inspect.getdoc(function)  # indented in the file up to Python 3.12
    assert docstring is not None
    _, _, entries = docstring.partition("Parameters\n----------\n")
    entries, _, _ = entries.partition("\n\nReturns\n")
    heads = [line.partition(" : ")[0] for line in entries.splitlines() if line[0] != " "]
    documented = [option.strip() for head in heads for option in head.split(",")]
    assert documented == [*dict.fromkeys(documented)]
    assert set(documented) == set(inspect.signature(function).parameters)


def test_limits_are_whole_numbers(ds: xr.Dataset) -> None:
    for picture in (feature_pictures.timeline, feature_pictures.development):
        with pytest.raises(ValueError, match="max_images is 0; it must be at least 1"):
            picture(ds, "layer1", 0, max_images=0)
        with pytest.raises(TypeError, match=r"max_images is 2\.5, of type float; give a whole"):
            picture(ds, "layer1", 0, max_images=2.5)


@pytest.mark.parametrize("name", PICTURES)
def test_methods_are_their_functions(name: str) -> None:
    method, function = getattr(dvis.DvisAccessor, name), getattr(plots, name)
    ours = list(inspect.signature(method).parameters.values())[1:]
    theirs = list(inspect.signature(function).parameters.values())[1:]
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]
    assert "Parameters" in method.__doc__
    assert "dataset : Dataset" not in method.__doc__
