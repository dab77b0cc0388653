"""Chains of autoencoders: planted parts are found, numbers are those of a plain computation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_saes import N_CHANNELS, N_LATENTS, InBlocks, made_up_autoencoder, made_up_rows
from numpy.typing import NDArray
from planted_latents import reading
from planted_rows import best_cosines, explained, planted
from scipy.sparse import csr_array

from dvis.analysis.class_statistics import class_statistics
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.chain_levels import in_own_order, unit_rows
from dvis.kinds.saes.measure.chain_statistics import scores_through
from dvis.kinds.saes.measure.chaining import chained
from dvis.kinds.saes.measure.codes import image_scores
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.options import ChainRecipe

ONS = ("decoder", "codes")
WEIGHTS = ("encoder", "decoder", "encoder_bias", "threshold")
pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(on: Any = "decoder", **changes: Any) -> ChainRecipe:
    given: dict[str, Any] = {"on": on, "widths": (8, 3), "k": 2, "n_steps": 12, "batch_size": 20}
    return ChainRecipe(**{**given, **changes})


@pytest.fixture(scope="module", params=ONS)
def found(request: pytest.FixtureRequest) -> xr.Dataset:
    return chained(
        made_up_autoencoder(), made_up_rows(), recipe(request.param), seeds=(0, 1), n_shuffles=5
    )


def level_of(found: xr.Dataset, depth: int, seed: int = 0) -> Autoencoder:
    """The autoencoder of a level, of the weights that were kept."""
    at = found.sel(depth=depth, seed=seed)
    n_latents = int(at.n_latents)
    before = int(found.n_latents.sel(depth=depth - 1, seed=seed))
    n_inputs = before if found.attrs["on"] == "codes" else N_CHANNELS
    some = at.isel(latent=slice(n_latents), input=slice(n_inputs))
    weights = {name: some[name].values for name in WEIGHTS}
    return Autoencoder(
        **weights, decoder_bias=np.zeros(n_inputs, np.float32), kind="batchtopk", k=2
    )


def rows_of(found: xr.Dataset, depth: int) -> Any:
    """What a level was looked at on, by a plain computation: rows, or codes (sample, token, .)."""
    above = made_up_autoencoder() if depth == 1 else level_of(found, depth - 1)
    if found.attrs["on"] == "decoder":
        fires = (
            np.arange(N_LATENTS) < N_LATENTS - 1
            if depth == 1
            else found.frequency.sel(depth=depth - 1, seed=0).values[: above.n_latents] > 0
        )
        return unit_rows(above.decoder) * fires[:, None]
    values = made_up_rows()._values if depth == 1 else rows_of(found, depth - 1)
    return above.encode(values)


def image_scores_of(found: xr.Dataset, depth: int) -> NDArray[Any]:
    """Scores of samples, by a plain computation, (sample, latent)."""
    if found.attrs["on"] == "codes":
        return np.asarray(level_of(found, depth).encode(rows_of(found, depth)).max(1))
    codes = made_up_autoencoder().encode(made_up_rows()._values)
    for each in range(1, depth + 1):
        rows = rows_of(found, each)
        codes = codes @ (level_of(found, each).encode(rows) * rows.any(1)[:, None])
    return np.asarray(codes.max(1))


@pytest.mark.parametrize("depth", [1, 2])
def test_numbers_are_those_of_a_plain_computation(found: xr.Dataset, depth: int) -> None:
    one, rows = level_of(found, depth), rows_of(found, depth)
    rows = rows.reshape(-1, rows.shape[-1])
    rows = rows[rows.any(1)] if found.attrs["on"] == "decoder" else rows
    codes = one.encode(rows)
    counts = (codes > 0).sum(1)
    at = found.sel(control="value", depth=depth, seed=0)
    assert float(at.ev) == pytest.approx(explained(rows, one.reconstruct(rows)), abs=1e-5)
    assert float(at.l0) == pytest.approx(counts.mean())
    assert float(at.l0_sd) == pytest.approx(counts.std())
    assert float(at.nonzero_share) == pytest.approx(counts.mean() / one.n_latents)
    assert float(at.n_dead) == (codes.max(0) == 0).sum()
    np.testing.assert_allclose(at.frequency[: one.n_latents], (codes > 0).mean(0))
    labels, classes = made_up_rows().labels, made_up_rows().classes
    of_classes = class_statistics(
        csr_array(image_scores_of(found, depth).astype(float)), labels, classes, n_shuffles=5
    )
    for name in ("selectivity", "best_share"):
        assert float(at[name]) == pytest.approx(np.nanmedian(of_classes[name]), abs=1e-4)
        null = np.nanmedian(of_classes[f"null_{name}"], axis=1)
        np.testing.assert_allclose(at[f"null_{name}"], null, atol=1e-4)
    np.testing.assert_array_equal(at.best_class[: one.n_latents], of_classes.best_class)


def test_parents_are_what_a_latent_is_made_of(found: xr.Dataset) -> None:
    for depth in (1, 2):
        one, at = level_of(found, depth), found.sel(depth=depth, seed=0)
        if found.attrs["on"] == "decoder":
            rows = rows_of(found, depth)
            weights = (one.encode(rows) * rows.any(1)[:, None]).T
        else:
            weights = one.decoder * (found.leaf_frequency.values > 0 if depth == 1 else 1)
        size = np.abs(weights)
        for latent in range(one.n_latents):
            wanted = np.argsort(-size[latent], kind="stable")
            wanted = wanted[size[latent][wanted] >= 0.1 * size[latent].max()]
            wanted = wanted[size[latent][wanted] > 0]
            parents = at.parent.sel(latent=latent).values
            assert int(at.n_parents.sel(latent=latent)) == len(wanted)
            kept = parents[parents >= 0]
            np.testing.assert_allclose(size[latent][kept], size[latent][wanted][: len(kept)])
            of_kept = at.parent_weight.sel(latent=latent).values
            np.testing.assert_allclose(of_kept[: len(kept)], weights[latent][kept], atol=1e-5)
            assert np.isnan(of_kept[len(kept) :]).all()
    leaf = found.leaf_frequency.values
    assert leaf[-1] == 0
    assert N_LATENTS - 1 not in found.parent.sel(depth=1).values  # the dead one is no parent


def test_how_latents_are_numbered_makes_no_difference(found: xr.Dataset) -> None:
    order = np.random.default_rng(3).permutation(N_LATENTS)
    one = made_up_autoencoder()
    moved = replace(one, **{name: getattr(one, name)[order] for name in WEIGHTS})
    how = recipe(found.attrs["on"])
    again = chained(moved, made_up_rows(), how, seeds=(0, 1), n_shuffles=5)
    back = again.parent.sel(depth=1).values
    wanted = found.parent.sel(depth=1).values
    np.testing.assert_array_equal(np.where(back >= 0, order[back], -1), wanted)
    np.testing.assert_array_equal(again.leaf_selectivity, found.leaf_selectivity.values[order])
    same = [name for name in found.data_vars if "leaf" not in str(name)]
    same = [name for name in same if name not in ("parent", "encoder", "decoder")]
    xr.testing.assert_equal(again[same], found[same])
    sorted_one = in_own_order(one)[0]
    np.testing.assert_array_equal(in_own_order(moved)[0].encoder, sorted_one.encoder)


def test_controls_stand_beside(found: xr.Dataset) -> None:
    nothing = {"decoder": "random directions", "codes": "codes exchanged"}[found.attrs["on"]]
    assert found.control.values.tolist() == ["value", nothing, "activations"]
    below = found.sel(depth=[1, 2])
    assert np.isfinite(below.drop_sel(control="value").selectivity.values).all()
    assert np.isfinite(below.sel(control=["value", nothing]).mean_max_cosine.values).all()
    assert np.isnan(found.sel(depth=0, control=nothing).ev.values).all()
    assert (found.n_latents.values == [N_LATENTS, 8, 3]).all()
    assert found.attrs["exchangeable"]
    assert "depth from width" in found.attrs["cannot_tell"]


def test_other_images_change_what_depends_on_images() -> None:
    other = made_up_rows(5, n_classes=2)
    for on in ONS:
        own = chained(made_up_autoencoder(), made_up_rows(), recipe(on), n_shuffles=2)
        read = chained(made_up_autoencoder(), made_up_rows(), recipe(on), n_shuffles=2, read=other)
        for name in (*WEIGHTS, "parent_weight" if on == "decoder" else "parent"):
            xr.testing.assert_equal(read[name].drop_vars("class", errors="ignore"), own[name])
        assert read["class"].values.tolist() == ["a", "b"]
        is_same = (read.ev == own.ev).sel(control="value", depth=[1, 2])
        assert is_same.all() if on == "decoder" else not is_same.any()
        assert not (read.selectivity == own.selectivity).any()


def test_scores_through_parents_do_not_depend_on_the_order_of_samples() -> None:
    one, plain = made_up_autoencoder(), made_up_rows()
    blocks = InBlocks(plain._values, labels=plain.labels, classes=plain.classes)
    identity = np.eye(N_LATENTS, dtype=np.float32)
    wanted = image_scores(one, plain).toarray()
    for rows in (plain, blocks):
        (own,) = scores_through(one, rows, [identity])
        np.testing.assert_allclose(own.toarray(), wanted, rtol=1e-6)


def test_a_chain_ends_where_too_few_latents_fire() -> None:
    one = made_up_autoencoder()
    bias = one.encoder_bias.copy()
    bias[4:] = -100
    found = chained(replace(one, encoder_bias=bias), made_up_rows(), recipe(widths=(3, 2)))
    assert found.n_latents.values.tolist() == [[N_LATENTS, 3, 2]]
    parents = found.parent.sel(depth=1).values
    assert set(parents[parents >= 0]) <= {0, 1, 2, 3}  # dead ones are no parents
    for on, live in (("decoder", 3), ("codes", 2)):
        bias[live:] = -100
        few = replace(one, encoder_bias=bias)
        ended = chained(few, made_up_rows(), recipe(on, widths=(3, 2)), n_shuffles=1)
        assert ended.n_latents.values.tolist() == [[N_LATENTS, -1, -1]]
        assert f"level 0 has {live} latents that fire" in ended.stopped.item()
        assert np.isnan(ended.ev.sel(depth=1)).all()
        assert (ended.parent == -1).all()
    bias[:] = -100
    dead = chained(replace(one, encoder_bias=bias), made_up_rows(), recipe(), n_shuffles=1)
    assert "level 0 has 0 latents that fire" in dead.stopped.item()
    assert np.isnan(dead.selectivity).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"widths": (8, 1)}, "level 2 would have 1 latents, but k is 2"),
        ({"widths": ()}, "no widths given"),
        ({"widths": (20,)}, "level 1 would have 20 latents for the 20 decoder rows above"),
        ({"widths": (8, 9)}, "level 2 would have 9 latents for the 8 decoder rows above"),
        ({"on": "encoder"}, "on is 'encoder'; give one of decoder, codes"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_levels_that_cannot_be_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chained(made_up_autoencoder(), made_up_rows(), recipe(**changes))


def test_one_latent_and_other_bad_input() -> None:
    one = reading(np.ones((1, N_CHANNELS)))
    with pytest.raises(ValueError, match="level 1 would have 3 latents for the 1 decoder rows"):
        chained(one, made_up_rows(), recipe(widths=(3,)))
    single = chained(one, made_up_rows(), recipe("codes", widths=(3,)), n_shuffles=1)
    assert "level 0 has 1 latent that fire" in single.stopped.item()
    for seeds in ((), (1, 1)):
        with pytest.raises(ValueError, match="give one or more, each once"):
            chained(made_up_autoencoder(), made_up_rows(), recipe(), seeds=seeds)
    with pytest.raises(ValueError, match="rows have 8 channels"):
        chained(reading(np.ones((9, 5))), made_up_rows(), recipe(widths=(3,)))


def meta(n_rows: int, **changes: Any) -> tuple[xr.Dataset, NDArray[np.float64]]:
    """A level on unit rows that are made of three of 48 directions, and these."""
    atoms, rows = planted(n_rows, n_atoms=48, k=3)
    rows = unit_rows(rows)
    how = recipe(widths=(48,), k=3, n_steps=1500, batch_size=256, **changes)
    return chained(reading(rows), ArrayRows(rows, batch_size=256), how, n_shuffles=1), atoms


@pytest.mark.slow
@pytest.mark.parametrize(("n_rows", "random"), [(768, 0.34), (256, 0.49)])
def test_decoder_rows_are_taken_apart(n_rows: int, random: float) -> None:
    """The values that an independent dense implementation reached, less 0.02."""
    without, atoms = meta(n_rows)
    with_bias, _ = meta(n_rows, decoder_bias=True)
    at = without.isel(seed=0).sel(depth=1)
    best = best_cosines(at.decoder.values, atoms)
    ev = at.ev.values
    assert ev[0] > 0.915 - 0.02
    assert best.mean() > 0.942 - 0.02
    assert (best > 0.9).mean() > 0.79 - 0.02
    assert ev[1] == pytest.approx(random, abs=0.04)
    # With a bias as much is explained, and less is found: what is explained proves nothing.
    biased = with_bias.isel(seed=0).sel(depth=1)
    assert float(biased.ev[0]) > 0.93
    assert (best_cosines(biased.decoder.values, atoms) > 0.9).mean() < (best > 0.9).mean() - 0.3


def test_latents_below_are_the_parts_that_were_planted() -> None:
    rng = np.random.default_rng(0)
    atoms = np.linalg.qr(rng.normal(size=(16, 16)))[0][:8]
    pairs = np.array([(a, b) for a in range(8) for b in range(a)])
    rows = unit_rows((atoms[pairs[:, 0]] + atoms[pairs[:, 1]]).astype(np.float32))
    how = recipe(widths=(8,), n_steps=300, batch_size=28)
    found = chained(reading(rows, -0.6), ArrayRows(rows, batch_size=28), how, n_shuffles=1)
    at = found.isel(seed=0).sel(depth=1)
    cosines = at.decoder.values[:, :16] @ atoms.T
    assert cosines.max(1).min() > 0.9
    assert at.ev.values[0] > 0.9 > at.ev.values[1]
    for latent, atom in enumerate(cosines.argmax(1)):
        strongest = at.parent.values[latent][:7]
        assert set(strongest) == set(np.flatnonzero((pairs == atom).any(1)))
