"""Maps of selectivity: rows are units by best class, over their null, and over training."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

import dvis


@pytest.fixture
def found() -> xr.Dataset:
    """Five channels at three checkpoints; the fourth has no response above 0."""
    rng = np.random.default_rng(0)
    names = np.array(["cat", "dog"] * 20)
    values = rng.random((3, 1, 5, 40)) + 1.5 * (names == "dog") * (np.arange(5) < 2)[:, None]
    values[:, :, 3] = -1
    given = xr.Dataset(
        {"response": (("checkpoint", "layer", "channel", "image"), values)},
        {
            "checkpoint": ["a", "b", "c"],
            "layer": ["fc"],
            "channel": np.arange(5),
            "image": np.arange(40).astype(str),
            "image_class": ("image", names),
        },
    )
    return dvis.selectivity(given)


def meshes(axes: object) -> list[np.ndarray]:
    return [
        each.get_array().filled(np.nan)
        for each in axes.collections  # type: ignore[attr-defined]
        if isinstance(each, QuadMesh)
    ]


def test_rows_are_units_with_an_index_by_best_class(found: xr.Dataset) -> None:
    figure = found.dvis.selectivity_map()
    classes, index, training = figure.axes[:3]
    rows = [int(text.get_text()) for text in classes.get_yticklabels()]
    assert sorted(rows) == [0, 1, 2, 4]
    last = found.isel(checkpoint=-1, layer=0).sel(channel=rows)
    assert (np.diff(last.best_class) >= 0).all()
    np.testing.assert_array_equal(meshes(classes)[0], last.auroc)
    bars = [patch.get_width() for patch in index.patches]
    np.testing.assert_allclose(bars, last.selectivity_high)
    above, within = meshes(training)
    of_rows = found.isel(layer=0).sel(channel=rows).transpose("channel", "checkpoint", ...)
    is_above = (of_rows.selectivity > of_rows.selectivity_high).values
    np.testing.assert_array_equal(np.isfinite(above), is_above)
    np.testing.assert_array_equal(np.isfinite(within), ~is_above)
    assert "2 selective" in figure.get_suptitle()
    assert "no checkpoint untrained is known" in figure.get_supxlabel()


def test_one_checkpoint_is_not_drawn_over_training(found: xr.Dataset) -> None:
    one = found.isel(checkpoint=[0]).dvis.selectivity_map(max_units=2)
    titles = [axes.get_xlabel() for axes in one.axes]
    assert "checkpoint" not in titles
    assert "2 of 4 units shown" in one.get_supxlabel()


def test_layers_and_checkpoints_that_are_not_there_are_said(found: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="No layer 'fd'"):
        found.dvis.selectivity_map("fd")
    with pytest.raises(ValueError, match="No checkpoint 'z'"):
        found.dvis.selectivity_map(checkpoint="z")
    with pytest.raises(ValueError, match="No unit has an index at c"):
        found.sel(channel=[3]).dvis.selectivity_map()
    with pytest.raises(dvis.SchemaError, match=r"dvis\.selectivity"):
        found.drop_vars("state").dvis.selectivity_map()
