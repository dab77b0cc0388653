"""Latents as units: births, ranks, change points, summaries and pictures of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_latents import plant, plant_evaluation, reading

import dvis
from dvis.schema import Status

LABELS = [f"step_{10 * step}.pth" for step in range(6)]
# Latents of conv1: born at positions 2 and 4, never, and there from the first.
BIRTHS = [2, 4, -1, 0]


def frequencies(births: list[int]) -> np.ndarray:
    """(checkpoint, latent): 0.2 from the birth on, else 0.01, or always 0 of what never is born."""
    position = np.arange(len(LABELS))[:, None]
    is_born = (position >= np.array(births)) & (np.array(births) >= 0)
    return np.where(is_born, 0.2, np.where(np.array(births) < 0, 0.0, 0.01))


def planted(store: Path, layer: str, births: list[int], **attrs: Any) -> None:
    rows = np.eye(len(births), 5)
    plant(store, layer, dict.fromkeys(LABELS, reading(rows)), **attrs)
    fired = frequencies(births)
    # Codes that grow everywhere alike, as gains of the layers below make them.
    grown = 2.0 ** np.arange(len(LABELS))[:, None] * np.ones(len(births))
    numbers = {
        label: {"frequency": fired[i], "max": grown[i], "selectivity": 1 - fired[i]}
        for i, label in enumerate(LABELS)
    }
    plant_evaluation(store, layer, numbers)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "net.zarr"
    planted(path, "conv1", BIRTHS, warm_start=True)
    return path


def test_planted_births_are_found_exactly(store: Path) -> None:
    ds = dvis.latent_units(store, "conv1")
    assert ds.frequency.dims == ("checkpoint", "layer", "channel")
    found = ds.dvis.births()
    assert found.birth.values.tolist() == [BIRTHS]
    assert found.state.values.tolist() == [["born", "born", "never", "born"]]
    assert found.birth_checkpoint.sel(layer="conv1", channel=1).item() == LABELS[4]
    assert found.birth_step.values.ravel().tolist()[:2] == [20, 40]
    assert found.attrs["measure"] == "given"
    assert "share of rows" in found.attrs["comment"]


def test_all_analyses_and_pictures_take_latents_as_units(store: Path, tmp_path: Path) -> None:
    ds = dvis.latent_units(store, "conv1", "wide")
    ranked = ds.dvis.rank()
    assert set(ranked.channel.values[:2].tolist()) == {0, 1}
    assert ds.dvis.rank("final_activation", n=1).score.item() == pytest.approx(0.2)
    changed = ds.dvis.change_points()
    assert changed.position.sel(channel=1).values.ravel()[0] == 4
    of_layer = ds.dvis.summary()
    assert of_layer.n_units.values.tolist() == [[4]] * 6
    assert of_layer.dead_share.values.ravel().tolist() == [0.25] * 6
    grown = ds.dvis.map_units(lambda unit: {"n": unit["max"].sum()}, variables=["max"])
    assert grown.n.values.ravel().tolist() == [63.0] * 4
    for picture in ("trajectory", "heatmap", "trajectories_by_layer"):
        getattr(ds.dvis, picture)(path=tmp_path / f"{picture}.png")
        assert (tmp_path / f"{picture}.png").stat().st_size > 1000
    ds.dvis.births_by_layer(path=tmp_path / "births.png")


def test_layers_of_other_widths_stand_beside_each_other(store: Path) -> None:
    planted(store, "conv2", [1, 3], warm_start=True)
    ds = dvis.latent_units(store, ["conv1", "conv2"]).load()
    assert ds.n_channels.values.tolist() == [4, 2]
    assert (ds.status.sel(layer="conv2", channel=[2, 3]) == Status.ABSENT).all()
    assert ds.checkpoint.values.tolist() == LABELS
    found = ds.dvis.births()
    assert found.birth.sel(layer="conv1").values.tolist() == BIRTHS
    assert found.birth.sel(layer="conv2").values.tolist() == [1, 3, -1, -1]
    assert found.state.sel(layer="conv2", channel=3).item() == "absent"
    with pytest.raises(KeyError, match="conv3"):
        dvis.latent_units(store, ["conv1", "conv3"])
    with pytest.raises(ValueError, match="no layer is named"):
        dvis.latent_units(store, [])


@pytest.mark.parametrize("attrs", [{}, {"warm_start": False}, {"is_imported": True}])
def test_latents_without_warm_start_have_no_development(
    tmp_path: Path, attrs: dict[str, Any]
) -> None:
    path = tmp_path / "net.zarr"
    planted(path, "conv1", BIRTHS, **attrs)
    ds = dvis.latent_units(path, "conv1")
    for asked in ("births", "rank", "change_points", "trajectory", "heatmap"):
        with pytest.raises(ValueError, match="train them with `dvis sae train --warm-start"):
            getattr(ds.dvis, asked)()
    # A checkpoint by itself is told, and so are numbers of a layer's latents as a whole.
    assert ds.isel(checkpoint=[-1]).dvis.rank("final_activation", n=1).score.item() > 0.1
    assert ds.dvis.summary().n_units.values.tolist() == [[4]] * 6
