"""Rankings and summaries: scores worked out by hand, layers in few numbers."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, nothing_computed, rising_at

import dvis
from dvis.analysis.births import births
from dvis.analysis.drift import drift
from dvis.analysis.ranking import rank, summary
from dvis.schema import SchemaError


@pytest.fixture(params=[False, True])
def dataset(request: pytest.FixtureRequest) -> xr.Dataset:
    """Three units over four checkpoints: one grows, one swings, one falls."""
    trajectories = np.array([[0, 1, 2, 3], [1, 5, 0, 2], [4, 3, 2, 1.0]]).T[:, None]
    return made_up(trajectories, is_lazy=request.param)


@pytest.mark.parametrize(
    ("by", "channels", "scores"),
    [
        ("growth", [0, 1, 2], [3, 1, -3]),
        ("final_activation", [0, 1, 2], [3, 2, 1]),
        ("instability", [1, 0, 2], [10, 0, 0]),
    ],
)
def test_units_are_ranked_by_score(
    dataset: xr.Dataset, by: str, channels: list[int], scores: list[float]
) -> None:
    ranking = rank(dataset, by=by)
    assert ranking.channel.values.tolist() == channels
    assert ranking.score.values.tolist() == scores
    assert ranking["rank"].values.tolist() == [0, 1, 2]


def test_a_ranking_selects_units(dataset: xr.Dataset) -> None:
    top = rank(dataset, n=2)
    chosen = dataset.activation.sel(layer=top.layer, channel=top.channel)
    assert chosen.dims == ("checkpoint", "rank")
    assert chosen[-1].values.tolist() == [3, 2]
    assert rank(dataset, n=1, lowest_first=True).channel.values.tolist() == [2]


def test_own_scores_are_ranked_and_missing_ones_left_out(dataset: xr.Dataset) -> None:
    score = dataset.activation.max("checkpoint").where(dataset.channel != 1).rename("highest")
    ranking = rank(dataset, by=score)
    assert ranking.channel.values.tolist() == [2, 0]
    assert ranking.attrs["by"] == "highest"
    of_layer = rank(dataset, by=score.sel(layer="layer1"))
    assert of_layer.layer.values.tolist() == ["layer1"] * 2


def test_incomplete_units_count_for_nothing() -> None:
    trajectories = np.array([[0, 1, 9], [5, 1, 2], [1, 9, 9], [7, 7, 7.0]]).T[:, None]
    status = np.array([[1, 1, 3], [0, 1, 1], [1, 2, 2], [0, 0, 0]]).T[:, None]
    ranking = rank(made_up(trajectories, status=status))
    assert ranking.channel.values.tolist() == [0, 1]  # of one checkpoint there is no growth
    assert ranking.score.values.tolist() == [1, 1]


def test_drift_is_ranked_by_the_mean_distance() -> None:
    distances = np.array([[np.nan, 0.5, 0.5], [np.nan, 0.1, 0.3]]).T[:, None]
    dataset = made_up(distances).rename(activation="to_previous")
    ranking = rank(dataset, by="drift")
    assert ranking.channel.values.tolist() == [0, 1]
    assert ranking.score.values == pytest.approx([0.5, 0.2])


def test_drift_of_a_store_is_ranked(sample_store: Path) -> None:
    dataset = dvis.open(sample_store)
    ranking = rank(dataset, by="drift")
    xr.testing.assert_identical(ranking, rank(drift(dataset), by="drift"))
    assert ranking.score.values[0] > ranking.score.values[-1] > 0


def test_a_wrong_score_says_what_is_right(dataset: xr.Dataset) -> None:
    with pytest.raises(KeyError, match="Did you mean 'growth'"):
        rank(dataset, by="grows")
    with pytest.raises(ValueError, match="takes labelled"):
        rank(dataset, by=dataset.activation)


@pytest.fixture(params=[False, True])
def layers(request: pytest.FixtureRequest) -> xr.Dataset:
    """Two layers of 30 units over 8 checkpoints, some missing, some dead."""
    generator = np.random.default_rng(0)
    trajectories = rising_at(generator.integers(1, 7, (2, 30)), 8) + 0.1
    trajectories[:, 0, :6] = 0
    trajectories[:, 0, 6] = -1
    status = np.ones(trajectories.shape)
    status[2, 1, 10:20] = 2
    status[:, 1, 29] = 0
    status[5] = 0
    return made_up(trajectories, status=status, is_lazy=request.param)


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # from xarray's, which it is held against
def test_a_summary_counts_complete_units_and_their_quantiles(layers: xr.Dataset) -> None:
    with nothing_computed():
        found = summary(layers)
    assert (found.activation.chunks is not None) == (layers.activation.chunks is not None)
    assert found.n_units.sel(layer="layer2").values.tolist() == [29, 29, 19, 29, 29, 0, 29, 29]
    complete = layers.activation.where(layers.status == dvis.Status.COMPLETE).compute()
    expected = complete.quantile(found["quantile"].values, "channel")
    np.testing.assert_allclose(
        found.activation.transpose("quantile", "checkpoint", "layer"), expected, rtol=1e-6
    )
    assert np.isnan(found.activation[5]).all()


def test_a_summary_tells_dead_and_born_units(layers: xr.Dataset) -> None:
    born = births(layers)
    with nothing_computed():
        found = summary(layers, born)
    found = found.compute()
    assert found.dead_share.sel(layer="layer1").values[0] == pytest.approx(7 / 30)
    assert found.dead_share.sel(layer="layer2").values[0] == 0
    assert np.isnan(found.dead_share[5]).all()
    assert summary(layers, dead_level=0.2).dead_share[0, 0] == 1
    birth = born.birth.sel(layer="layer2").values[:29]
    shares = [((birth >= 0) & (birth <= position)).mean() for position in range(8)]
    np.testing.assert_allclose(found.born_share.sel(layer="layer2"), shares)
    assert found.attrs["birth_fraction"] == 0.5


def test_the_sample_is_summarised_as_numpy_and_as_dask_alike(sample_store: Path) -> None:
    eager, lazy = dvis.open(sample_store), dvis.open(sample_store, chunks={})
    found = summary(lazy, births(lazy))
    assert all(each.chunks is not None for each in found.data_vars.values())
    xr.testing.assert_identical(summary(eager, births(eager)), found.compute())


def test_a_summary_of_what_is_no_layer_says_so(layers: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="no dimension layer"):
        summary(layers.sel(layer="layer1"))
    with pytest.raises(SchemaError, match=r"no birth, state, only .*Give what births gave"):
        summary(layers, layers)


def test_an_empty_selection_is_neither_ranked_nor_summarised(layers: xr.Dataset) -> None:
    empty = layers.isel(checkpoint=[])
    for by in ("growth", "final_activation", "instability"):
        with pytest.raises(ValueError, match="No checkpoint is left"):
            rank(empty, by=by)
    with pytest.raises(ValueError, match="No checkpoint is left"):
        rank(empty.rename(activation="to_previous"), by="drift")
    with pytest.raises(ValueError, match="No checkpoint is left"):
        summary(empty)
    with pytest.raises(ValueError, match="No channel is left"):
        summary(layers.isel(channel=[]))


def test_a_number_of_units_below_one_is_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="n=-1 is a number of units"):
        rank(dataset, n=-1)
    with pytest.raises(TypeError, match=r"n is 1\.5, of type float; give a whole number"):
        rank(dataset, n=1.5)
    with pytest.raises(TypeError, match="by is of type int; give one of growth"):
        rank(dataset, by=3)
