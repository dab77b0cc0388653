"""Selectivity of channels: as by hand, at its level on noise, and the trivial told apart."""

import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

import dvis
from dvis.analysis.class_statistics import class_statistics
from dvis.analysis.selectivity import selectivity_births
from dvis.kinds.responses.analysis import selectivity

N_IMAGES, CLASSES = 60, ("cat", "dog", "owl")


def responses(
    n_checkpoints: int = 4, n_channels: int = 6, seed: int = 0, shares: Any = (1, 1, 1)
) -> xr.Dataset:
    """Noise about -0.5, so that most responses are negative, of images in classes."""
    rng = np.random.default_rng(seed)
    names = np.random.default_rng(1).permutation(
        np.repeat(CLASSES, np.array(shares) * N_IMAGES // sum(shares))
    )
    shape = (n_checkpoints, 2, n_channels, len(names))
    return xr.Dataset(
        {"response": (("checkpoint", "layer", "channel", "image"), rng.normal(-0.5, 1, shape))},
        {
            "checkpoint": [f"step_{10 * n}.pth" for n in range(n_checkpoints)],
            "step": ("checkpoint", 10.0 * np.arange(n_checkpoints)),
            "layer": ["low", "high"],
            "channel": np.arange(n_channels),
            "image": [f"{n}.png" for n in range(len(names))],
            "image_class": ("image", names),
        },
    )


def planted(given: xr.Dataset, name: str, since: int, channel: int = 0) -> xr.Dataset:
    """Channel of the layer `high` answers a class from a checkpoint on."""
    made = given.copy(deep=True)
    is_own = made.image_class.values == name
    made.response.values[since:, 1, channel] += np.where(is_own, 4.0, 0.0)
    return made


def test_by_hand_also_of_negative_responses() -> None:
    given = responses(1)
    for negative in ("rectify", "shift"):
        found = selectivity(given, negative=negative)
        for channel in range(6):
            at = {"checkpoint": 0, "layer": 1, "channel": channel}
            values, names = given.response.isel(at).values, given.image_class.values
            taken = np.maximum(values, 0) if negative == "rectify" else values - values.min()
            means = np.array([taken[names == name].mean() for name in CLASSES])
            rest = np.delete(means, means.argmax()).mean()
            expected = (means.max() - rest) / (means.max() + rest)
            assert found.selectivity.isel(at).item() == pytest.approx(expected)
            assert found.best_class.isel(at).item() == means.argmax()
            aurocs = [roc_auc_score(names == name, values) for name in CLASSES]
            np.testing.assert_allclose(found.auroc.isel(at), aurocs)
            assert found.negative_share.isel(at).item() == (values < 0).mean()


def test_it_is_what_latents_have() -> None:
    from scipy import sparse

    given = responses(1, seed=3)
    given["response"] = given.response.clip(0)
    found = selectivity(given, seed=5).isel(checkpoint=0, layer=0)
    scores = sparse.csr_array(given.response.values[0, 0].T)
    labels = np.searchsorted(CLASSES, given.image_class.values)
    own = class_statistics(scores, labels, CLASSES, n_shuffles=39, seed=5)
    own = own.rename(latent="channel")
    for name, of_latents in own.data_vars.items():
        of_channels = found[name].transpose(*of_latents.dims)
        np.testing.assert_allclose(of_channels, of_latents, err_msg=str(name))


def test_noise_is_above_its_null_once_in_twenty() -> None:
    found = selectivity(responses(1, n_channels=1000, seed=2))
    share = float((found.selectivity > found.selectivity_high).mean())
    assert 0.03 < share < 0.07  # of 2000 units
    assert set(np.unique(found.state)) <= {"not selective", "as untrained"}


def test_a_planted_class_is_born_where_it_is_planted() -> None:
    found = selectivity(planted(responses(), "owl", 2))
    unit = found.sel(layer="high", channel=0)
    assert unit.state.values.tolist()[2:] == ["selective", "selective"]
    assert [CLASSES[place] for place in unit.best_class.values[2:]] == ["owl", "owl"]
    assert (unit.best_class_auroc[2:] > 0.95).all()
    born = selectivity_births(found).sel(layer="high", channel=0)
    assert born.state.item() == "born"
    assert born.birth_checkpoint.item() == "step_20.pth"
    assert born.attrs["exchangeable"] == "labels"


def test_what_the_untrained_network_tells_as_well_is_trivial() -> None:
    # Another channel answers the class before any training.
    given = planted(planted(responses(), "owl", 2), "owl", 0, channel=4)
    unit = selectivity(given).sel(layer="high", channel=0)
    assert unit.state.values.tolist()[2:] == ["as untrained"] * 2
    unknown = selectivity(given.isel(checkpoint=slice(1, None)))
    assert unknown.sel(layer="high", channel=0).state.values[-1] == "selective"
    assert "no checkpoint is of step 0" in unknown.attrs["cannot_tell"]
    named = selectivity(given.drop_vars("step"), untrained="step_0.pth")
    assert named.sel(layer="high", channel=0).state.values[-1] == "as untrained"


def test_a_common_class_is_trivial() -> None:
    given = planted(responses(shares=(1, 1, 4)), "owl", 1)
    unit = selectivity(given).sel(layer="high", channel=0)
    assert unit.state.values.tolist()[1:] == ["common class"] * 3


def test_dead_and_missing_units_have_no_index() -> None:
    given = responses(2)
    given.response.values[:, 0, 0] = -1
    given.response.values[0, 0, 1] = np.nan
    found = selectivity(given)
    assert found.state.values[:, 0, 0].tolist() == ["absent"] * 2
    assert found.state.values[0, 0, 1] == "absent"
    assert found.state.values[1, 0, 1] != "absent"
    assert found.auroc[0, 0, 1].isnull().all()


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"selectivity needs scipy: pip install 'dvis\[torch\]'"):
        selectivity(responses(1))


def test_errors_say_what_to_do() -> None:
    given = responses(1)
    with pytest.raises(dvis.SchemaError, match="without --by-class"):
        selectivity(given.drop_vars("image_class"))
    with pytest.raises(ValueError, match="n_shuffles is 18; give 19 or more"):
        selectivity(given, n_shuffles=18)
    with pytest.raises(ValueError, match="the images have 1 class; give two"):
        selectivity(given.assign_coords(image_class=("image", ["cat"] * N_IMAGES)))
    with pytest.raises(ValueError, match=r"No negative 'shifted'.*Did you mean 'shift'"):
        selectivity(given, negative="shifted")
    with pytest.raises(KeyError, match="No checkpoint 'init'"):
        selectivity(given, untrained="init")
    with pytest.raises(dvis.SchemaError, match=r"dvis\.selectivity"):
        selectivity_births(given)
