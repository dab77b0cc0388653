"""A warm start goes on from the checkpoint before, also of an earlier call, and says so."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_latents import plant_evaluation
from tiny_activations import options_of, store_of

import dvis
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.store_options import TrainOptions

LAYER, NAME = "conv1", "warm"
WEIGHTS = ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold", "scale")
MENDED = "`dvis sae train --warm-start --checkpoints all --overwrite`"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with activations of three checkpoints."""
    options = options_of(tmp_path_factory.mktemp("warm"), 3, layers=(LAYER,))
    keep_activations(options)
    return store_of(options)


@pytest.fixture
def store(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "net.zarr"))


def trained(store: Path, *labels: str, **changes: Any) -> int:
    """How many were trained at these checkpoints, each time a call of its own."""
    options = TrainOptions(
        store=store,
        layer=LAYER,
        name=NAME,
        k=(2,),
        expansion=(2.0,),
        tokens="2k",
        batch_size=256,
        warm_start=True,
    )
    return train_saes(replace(options, checkpoints=labels or ("all",), **changes)).n_measured


def evaluated(store: Path) -> None:
    """Planted numbers of all latents, of which one is born at the second checkpoint."""
    ds = dvis.saes(store, LAYER, NAME)
    labels, width = ds.checkpoint.values.tolist(), ds.sizes["latent"]
    numbers = {
        label: {"frequency": np.full(width, 0.2 * (i > 0))} for i, label in enumerate(labels)
    }
    plant_evaluation(store, LAYER, numbers, NAME)


def labels_of(store: Path) -> list[str]:
    return [str(label) for label in dvis.activations(store, LAYER).checkpoint.values]


def test_one_checkpoint_at_a_time_is_all_at_once(
    store: Path, measured: Path, tmp_path: Path
) -> None:
    at_once = Path(shutil.copytree(measured, tmp_path / "at_once.zarr"))
    assert trained(at_once) == 3
    labels = labels_of(store)
    assert [trained(store, label) for label in labels] == [1, 1, 1]
    found, wanted = (dvis.saes(each, LAYER).load() for each in (store, at_once))
    for name in (*WEIGHTS, "fvu", "l0"):
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    for each in (found, wanted):
        assert each.began_from.values.tolist() == ["", *labels[:-1]]
    assert dvis.check_store(store) == []
    evaluated(store)
    assert (dvis.latent_units(store, LAYER).dvis.births().birth == 1).all()


def test_a_checkpoint_that_comes_later_between_two_breaks_the_chain(store: Path) -> None:
    first, between, last = labels_of(store)
    trained(store, first)
    trained(store, last)
    assert why_unmatched(dvis.saes(store, LAYER), NAME) == ""
    evaluated(store)
    trained(store, between)
    assert dvis.saes(store, LAYER).began_from.values.tolist() == ["", first, first]
    with pytest.raises(ValueError, match=f"warm of {last} did not begin from.*{MENDED}"):
        dvis.latent_units(store, LAYER).dvis.births()
    # As the error says.
    assert trained(store, "all", overwrite=True) == 1
    assert dvis.saes(store, LAYER).began_from.values.tolist() == ["", first, between]
    assert trained(store, "all", overwrite=True) == 0


def test_an_earlier_one_that_comes_later_is_afresh(store: Path) -> None:
    first, between, _ = labels_of(store)
    trained(store, between)
    trained(store, first)
    ds = dvis.saes(store, LAYER)
    assert ds.began_from.values.tolist() == ["", ""]
    assert f"of {between} did not begin" in why_unmatched(ds, NAME)


def test_what_began_from_one_that_is_replaced_is_apart(tmp_path: Path) -> None:
    options = options_of(tmp_path, 3, layers=(LAYER,))
    keep_activations(options)
    store = store_of(options)
    trained(store)
    first, between, last = labels_of(store)
    shutil.copy(tmp_path / "run" / first, tmp_path / "run" / between)
    keep_activations(replace(options, overwrite=True))
    assert trained(store, between, overwrite=True) == 1
    assert dvis.saes(store, LAYER).began_from.values.tolist() == ["", first, ""]
    # One of other weights is nothing to begin from.
    shutil.copy(tmp_path / "run" / last, tmp_path / "run" / between)
    keep_activations(replace(options, overwrite=True))
    assert trained(store, last, overwrite=True) == 1
    assert dvis.saes(store, LAYER).began_from.values.tolist() == ["", first, first]


def test_those_of_an_earlier_dvis_are_believed(store: Path) -> None:
    trained(store)
    shutil.rmtree(store / "checkpoints" / "saes" / LAYER / NAME / "began_from")
    assert trained(store) == 0  # which shows the store anew
    assert dvis.check_store(store) == []
    assert "began_from" not in dvis.saes(store, LAYER)
    assert why_unmatched(dvis.saes(store, LAYER), NAME) == ""
