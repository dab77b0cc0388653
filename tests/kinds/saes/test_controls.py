"""Controls: what was learned stands out from them where there is something to learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_saes import N_LATENTS, made_up_autoencoder, made_up_rows
from planted_rows import planted

from dvis.analysis.control import controlled
from dvis.kinds.saes.measure.controls import random_dictionary, with_controls
from dvis.kinds.saes.measure.evaluation import reconstruction
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions

OPTIONS = SaeOptions(k=2, n_latents=64, learning_rate=5e-3)
STEPS = PassOptions(n_steps=500)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    x = planted(6_000, n_channels=24, n_atoms=32, k=2)[1]
    rows, held_out = ArrayRows(x[:5_000], batch_size=256), ArrayRows(x[5_000:])
    (trained,) = train(rows, [OPTIONS], STEPS)
    return with_controls(trained.autoencoder, OPTIONS, rows, STEPS, held_out=held_out)


def test_learned_stands_out_from_random_and_seeds_agree(found: xr.Dataset) -> None:
    names = ["value", "random dictionary", "frozen decoder", "frozen encoder", "second seed"]
    assert found.control.values.tolist() == names
    ev = found.ev.to_series()
    assert ev["value"] > 0.95
    assert ev["second seed"] > 0.9
    assert 0 < ev["random dictionary"] < ev["frozen decoder"] < ev["value"] - 0.1
    alike = found.mean_max_cosine.to_series()
    assert alike["value"] == 1
    assert alike["second seed"] > alike["random dictionary"] + 0.2
    assert abs(alike["frozen decoder"] - alike["random dictionary"]) < 0.1
    assert controlled(found, "ev").exchanged.startswith("weights")
    np.testing.assert_allclose(found.l0, 2, atol=0.5)


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "relu", "jumprelu"])
def test_random_dictionary_has_as_many_active_latents(kind: Any) -> None:
    trained, rows = made_up_autoencoder(kind=kind), made_up_rows()
    random = random_dictionary(trained, rows, l0=3.0)
    measured = reconstruction(random, rows)
    assert measured.l0.item() == pytest.approx(3, abs=0.1)
    assert measured.ev.item() < 1
    halved = replace(random, decoder=random.decoder / 2)
    assert reconstruction(halved, rows).mse > measured.mse
    longer = replace(random, decoder=random.decoder * 2)
    assert reconstruction(longer, rows).mse > measured.mse


def test_wrong_input_is_told() -> None:
    trained, rows = made_up_autoencoder(), made_up_rows()
    with pytest.raises(ValueError, match="these options make batchtopk of shape \\(64, 8\\)"):
        with_controls(trained, OPTIONS, rows, STEPS)
    with pytest.raises(ValueError, match="without an active code has no control"):
        random_dictionary(trained, rows, l0=0.0)
    with pytest.raises(ValueError, match=f"at most the {N_LATENTS} latents"):
        random_dictionary(trained, rows, l0=50.0)
