"""Two dates of an attribute: planted ones are found, and each has an interval."""

from pathlib import Path

import numpy as np
import pytest
from tiny_attributes import PLANTED, Wired, made_up_attributes, planted_run

import dvis
from dvis import measure

pytestmark = pytest.mark.usefixtures("one_thread")


def test_planted_attributes_have_their_dates(tmp_path: Path) -> None:
    """Colour is seen from 1 and used from 2, orientation from 3 and from 5."""
    report = measure.attributes(
        Wired(),
        planted_run(),
        layers="seen",
        attributes=PLANTED,
        n_pairs=40,
        input_size=24,
        store=tmp_path / "s.zarr",
        steps={f"step_{step}": 100 * step for step in range(6)},
        workers=0,
    )
    assert (report.n_measured, report.n_failed) == (12, 0)
    found = dvis.attributes(tmp_path / "s.zarr").dvis.attribute_dates()
    at = found.squeeze("layer").sel(attribute=[*PLANTED])
    assert at.from_step.sel(question="tells").values.tolist() == [100, 300]
    assert at.from_step.sel(question="uses").values.tolist() == [200, 500]
    for end in ("earliest", "latest"):
        np.testing.assert_array_equal(at[f"{end}_step"], at.from_step)
    assert (at.certainty > 0.95).all()
    assert (at.state == "dated").all()
    assert (at.reason == "").all()
    assert "natural images" in found.attrs["cannot_tell"]
    assert found.attrs["exchangeable"].startswith("tells: sides of pairs; uses: directions")


def pairs_of(means: list[float], n_pairs: int = 50, spread: float = 0.0) -> np.ndarray:
    """Numbers of pairs, (checkpoint, pair), with these means and this spread."""
    noise = np.random.default_rng(0).standard_normal((len(means), n_pairs))
    noise -= noise.mean(1, keepdims=True)
    noise /= noise.std(1, keepdims=True)
    return np.array(means)[:, None] + spread * noise


def test_an_interval_is_as_wide_as_pairs_leave_it() -> None:
    sure, unsure = [0.5, 0.5, 0.9, 0.9, 0.9, 0.9], [0.0, 0.3, 0.5, 0.65, 0.8, 0.99]
    made = made_up_attributes(pairs_of(sure, spread=0.2), pairs_of(unsure, spread=0.6))
    found = made.dvis.attribute_dates().squeeze()
    tells, uses = (found.sel(question=name) for name in ("tells", "uses"))
    assert [tells[f"{name}_step"].item() for name in ("earliest", "from", "latest")] == [20] * 3
    assert [uses[f"{name}_step"].item() for name in ("earliest", "from", "latest")] == [20, 30, 40]
    assert uses.certainty.item() > 0.99
    again = made.dvis.attribute_dates().squeeze()
    assert again.identical(found)


def test_intervals_hold_the_date_in_95_of_100_draws() -> None:
    """Of pairs drawn about values that cross the null between checkpoints 4 and 5."""
    truth = np.linspace(0.2, 1.0, 12)  # above 0.6 from 6 on
    n_held = 0
    for seed in range(100):
        noise = np.random.default_rng(seed).standard_normal((12, 60))
        values = truth[:, None] + noise
        made = made_up_attributes(values, values, 60)
        found = made.dvis.attribute_dates(n_resamples=200, seed=seed).sel(question="tells")
        last = found.latest_step.item()
        n_held += found.earliest_step.item() <= 60 <= (last if np.isfinite(last) else np.inf)
    assert n_held >= 90


def test_what_never_comes_has_no_date_and_a_reason() -> None:
    made = made_up_attributes(pairs_of([0.9, 0.9, 0.9]), pairs_of([0.5, 0.9, 0.5]))
    tells, uses = (
        made.dvis.attribute_dates().squeeze().sel(question=name) for name in ("tells", "uses")
    )
    assert (tells.state.item(), tells.from_step.item(), tells.reason.item()) == ("always", 0, "")
    assert uses.state.item() == "never"
    assert uses.reason.item().startswith("uses is not above its null at the last checkpoint")
    assert np.isnan(uses.from_step.item())
    assert uses.from_checkpoint.item() == uses.latest_checkpoint.item() == ""
    assert (uses.position.item(), uses.certainty.item()) == (-1, 0)


def test_what_is_not_told_is_not_used() -> None:
    made = made_up_attributes(pairs_of([0.5, 0.5, 0.9, 0.9]), pairs_of([0.9, 0.9, 0.9, 0.9]))
    found = made.dvis.attribute_dates().squeeze()
    assert found.from_step.values.tolist() == [20, 20]
    never = made_up_attributes(pairs_of([0.9, 0.5]), pairs_of([0.9, 0.9]))
    uses = never.dvis.attribute_dates().squeeze().sel(question="uses")
    assert uses.state.item() == "never"
    assert "or the layer does not tell it there" in uses.reason.item()


def test_dates_above_the_first_checkpoint() -> None:
    flat = made_up_attributes(pairs_of([0.9, 0.9, 0.9]), pairs_of([0.9, 0.9, 0.9]))
    first = flat.dvis.attribute_dates(above="first").squeeze()
    assert first.state.values.tolist() == ["never", "never"]
    assert "not above what it was at the first checkpoint" in first.reason.values[0]
    rising = made_up_attributes(pairs_of([0.9, 0.95, 0.99]), pairs_of([0.1, 0.1, 0.2]))
    found = rising.dvis.attribute_dates(above="first").squeeze()
    assert found.from_step.values.tolist() == [10, 20]


def test_dates_above_the_network_untrained() -> None:
    """Which is the checkpoint of step 0, wherever it stands; without one nothing is known."""
    rising = made_up_attributes(pairs_of([0.9, 0.95, 0.99]), pairs_of([0.1, 0.1, 0.2]))
    of_first = rising.dvis.attribute_dates(above="first").squeeze()
    found = rising.dvis.attribute_dates(above="untrained").squeeze()
    assert found.from_step.identical(of_first.from_step)
    without = rising.isel(checkpoint=[1, 2]).dvis.attribute_dates(above="untrained").squeeze()
    assert without.state.values.tolist() == ["absent", "absent"]
    assert without.reason.values[0].endswith(", or of that of the network untrained")


def test_what_is_not_known_is_absent() -> None:
    made = made_up_attributes(pairs_of([0.9, 0.9]), pairs_of([0.9, 0.9]))
    unknown = made.assign({name: made[name] * np.nan for name in ("uses", "lost")})
    tells, uses = (
        unknown.dvis.attribute_dates().squeeze().sel(question=name) for name in ("tells", "uses")
    )
    assert tells.state.item() == "always"
    assert (uses.state.item(), uses.from_checkpoint.item()) == ("absent", "")
    assert uses.reason.item() == "nothing is known of it at any checkpoint"
    assert np.isnan(uses.certainty.item())


def test_checkpoints_of_which_nothing_is_known_are_passed_over() -> None:
    tells = pairs_of([0.5, 0.9, np.nan, 0.9])
    found = made_up_attributes(tells, tells).dvis.attribute_dates().squeeze()
    assert found.from_step.values.tolist() == [10, 10]


def test_errors_say_what_to_do() -> None:
    made = made_up_attributes(pairs_of([0.5, 0.9]), pairs_of([0.1, 0.9]))
    with pytest.raises(ValueError, match=r"No baseline 'shuffle'.*Did you mean 'shuffled'"):
        made.dvis.attribute_dates(above="shuffle")
    with pytest.raises(ValueError, match="n_resamples is 1; give 2 or more"):
        made.dvis.attribute_dates(n_resamples=1)
    with pytest.raises(ValueError, match=r"no dimension layer; select with lists"):
        made.isel(layer=0).dvis.attribute_dates()
    with pytest.raises(dvis.SchemaError, match=r"no told.*Open one with dvis\.attributes"):
        made.drop_vars("told").dvis.attribute_dates()
