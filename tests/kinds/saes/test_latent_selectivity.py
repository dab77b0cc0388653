"""Selectivity of latents of a store: that of the evaluation, with counts of classes, and drawn."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from labelled_latents import LAYER, N_IMAGES, N_LATENTS

import dvis
from dvis.cli import main
from dvis.kinds.saes.maps import latent_colors

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(labelled_store: Path) -> Path:
    return labelled_store


@pytest.fixture(scope="module")
def found(store: Path) -> xr.Dataset:
    return dvis.latents(store, LAYER)


def test_it_is_what_the_evaluation_found(found: xr.Dataset) -> None:
    judged = found.dvis.latent_selectivity()
    np.testing.assert_array_equal(judged.selectivity, found.selectivity)
    assert judged.n_of_class.sum() == N_IMAGES
    highest = judged.null_selectivity.max("shuffle")
    np.testing.assert_array_equal(judged.selectivity_high, highest)  # of 20 shuffles
    is_above = (judged.selectivity > highest).values
    assert (judged.state.values[~is_above] != "selective").all()


def test_of_a_checkpoint_that_is_called_untrained_nothing_is_selective(found: xr.Dataset) -> None:
    first = str(found.checkpoint.values[0])
    judged = found.dvis.latent_selectivity(untrained=first)
    assert not (judged.state[0] == "selective").any()
    born = dvis.selectivity_births(judged)
    assert born.sizes == {"latent": N_LATENTS}


def test_a_map_is_of_decoders_and_is_coloured_by_what_was_found(
    store: Path, tmp_path: Path
) -> None:
    trained = dvis.saes(store, LAYER)
    cosines, decoder = trained.dvis.latent_cosines(), trained.decoder.values[0].astype(float)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines.cosine[0], decoder @ decoder.T, atol=1e-6)
    assert dvis.latent_map(trained).position.shape == (2, N_LATENTS, 2)
    assert set(latent_colors(trained, None).values) <= {*map(str, range(10)), ""}
    assert latent_colors(trained, "birth").dims == ("latent",)
    names = latent_colors(trained, "birth").attrs["checkpoints"]
    assert len(names) == trained.sizes["checkpoint"]
    path = tmp_path / "map.png"
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "latent-map", str(store), "--layer", LAYER, "--out", str(path)])
    assert path.stat().st_size > 0


def test_a_map_takes_the_decoder_alone_and_refuses_what_has_none(store: Path) -> None:
    trained = dvis.saes(store, LAYER)
    whole, alone = dvis.latent_map(trained), dvis.latent_map(trained.decoder)
    xr.testing.assert_identical(alone.position.drop_attrs(), whole.position.drop_attrs())
    one = dvis.latent_map(trained.decoder[-1])
    assert one.position.sizes["checkpoint"] == 1
    bare = xr.DataArray(trained.decoder.values, dims=trained.decoder.dims)
    np.testing.assert_array_equal(dvis.latent_map(bare).position, whole.position)
    assert len(dvis.latent_map(bare).dvis.unit_scatter().axes) == 2
    cosines = dvis.latent_cosines(trained.decoder)
    np.testing.assert_array_equal(cosines.cosine, trained.dvis.latent_cosines().cosine)
    with pytest.raises(ValueError, match=r"dimensions \('checkpoint', 'latent'\); directions have"):
        dvis.latent_map(trained.threshold)
    with pytest.raises(ValueError, match="No latent is left"):
        dvis.latent_map(trained.decoder[:, :0])
    with pytest.raises(TypeError, match=r"no Dataset but of type ndarray.*or give its decoder"):
        dvis.latent_map(trained.decoder.values)
    with pytest.raises(dvis.SchemaError, match="or give its decoder"):
        dvis.latent_map(dvis.latents(store, LAYER))


def test_latents_without_a_store_are_refused(found: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"what dvis\.latents gave"):
        dvis.latent_selectivity(found.drop_encoding())
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.latents"):
        dvis.latent_selectivity(found.drop_vars("auroc"))


def test_it_is_drawn(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "map.png"
    command = ["plot", "latent-selectivity", str(store), "--layer", LAYER, "--out", str(path)]
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert path.stat().st_size > 0
    with pytest.raises(SystemExit):
        main([*command, "--channel", "1"])
    assert "leave --channel out" in capsys.readouterr().err
