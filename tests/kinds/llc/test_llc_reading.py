"""The LLC from chains of losses: burn-in, divergence, errors, and how Datasets carry it."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import nothing_computed
from made_up_chains import (
    BURN_IN,
    LABELS,
    N_CHAINS,
    SETTINGS,
    Chains,
    Start,
    chains_of,
    prepare,
    recording,
    start_of,
    write_all,
)

import dvis
from dvis.kinds.llc.analysis.chain_diagnostics import effective_sample_size, split_rhat
from dvis.kinds.llc.analysis.learning_coefficient import llc_of, running_llc
from dvis.kinds.llc.words import ChainStatus
from dvis.store.metrics import write_metrics

NBETA, START = 10.0, 1.0
DIMS = ("checkpoint", "epsilon", "chain", "draw")


def autoregressive(shape: tuple[int, ...], memory: float, seed: int = 0) -> np.ndarray:
    """Chains whose draws keep a part of the one before; mean 0, variance 1."""
    draws = np.random.default_rng(seed).standard_normal(shape)
    for i in range(1, shape[-1]):
        draws[..., i] = memory * draws[..., i - 1] + (1 - memory**2) ** 0.5 * draws[..., i]
    return draws


def made_up_traces(n_draws: int = 300, *, lambda_of: float = 2.0) -> xr.Dataset:
    """Two checkpoints, two epsilons and four chains of normal losses with that LLC."""
    loss = START + lambda_of / NBETA + 0.05 * autoregressive((2, 2, 4, n_draws), 0.5)
    return xr.Dataset(
        {
            "loss": (DIMS, loss),
            "status": (DIMS[:3], np.full((2, 2, 4), ChainStatus.DONE, "uint8")),
            "n_draws": (DIMS[:3], np.full((2, 2, 4), n_draws, "int32")),
            "mala": (DIMS[:3], np.full((2, 2, 4), 0.9, "float32")),
            "init_loss": ("checkpoint", [START, START]),
            "train_loss": ("checkpoint", [1.0, 0.5]),
        },
        {"checkpoint": ["a", "b"], "epsilon": [1e-4, 1e-3], "draw": np.arange(n_draws)},
        {"nbeta": NBETA, "burn_in": 100},
    )


@pytest.fixture
def store(own_store: Path) -> Path:
    """The sample's store, with chains of three of its checkpoints."""
    run = dvis.runs(own_store)[0]
    labels = dvis.open(own_store).checkpoint.values.tolist()
    _with_chains_of(own_store, run, labels[:2])
    return own_store


def _with_chains_of(store: Path, run: str, labels: list[str]) -> None:
    with recording(store, model="resnet18", run=run, settings=SETTINGS) as recorder:
        prepare(recorder, labels=labels)
        for label, alias in zip(labels, LABELS, strict=False):
            recorder.record(label, Start(), start_of(alias, Start()))
            for chain in range(N_CHAINS):
                task = Chains(chains=(chain,))
                recorder.record(label, task, chains_of(alias, task))
        task = Chains(chains=(0,))
        diverged = chains_of(LABELS[1], task, n_finite=5)
        recorder.record(labels[1], task, diverged)
        recorder.note(burn_in=BURN_IN, kind_of_run="estimate")


def test_the_estimate_is_the_formula() -> None:
    traces = made_up_traces()
    estimate = llc_of(traces)
    kept = traces.loss.isel(draw=slice(100, None))
    expected = NBETA * (kept.mean(["chain", "draw"]) - START)
    np.testing.assert_allclose(estimate.llc, expected, rtol=1e-12)
    np.testing.assert_allclose(estimate.llc_of_chain.mean("chain"), expected, rtol=1e-12)
    assert (abs(estimate.llc - 2) < 4 * estimate.llc_se).all()
    np.testing.assert_allclose(estimate.below_start, 0, atol=1e-3)
    np.testing.assert_allclose(estimate.mala, 0.9, rtol=1e-6)
    assert (estimate.n_chains == 4).all()
    assert (estimate.n_diverged == 0).all()
    assert (estimate.n_missing == 0).all()
    assert estimate.train_loss.values.tolist() == [1.0, 0.5]
    assert estimate.attrs["burn_in"] == 100
    assert estimate.llc.attrs["long_name"] == "local learning coefficient"
    one = llc_of(traces.isel(chain=1, epsilon=0))
    np.testing.assert_allclose(one.llc, estimate.llc_of_chain.isel(chain=1, epsilon=0))


def repeated(relaxation: float) -> xr.Dataset:
    """200 estimates of two chains of 400 draws whose LLC is 2, and whose memory is 10 draws."""
    traces = made_up_traces(400)
    loss = START + 0.2 + 0.05 * autoregressive((200, 1, 2, 400), 0.8, seed=1)
    traces = traces.isel(checkpoint=[0] * 200, epsilon=[0], chain=[0, 1]).drop_vars("checkpoint")
    pulled = traces.assign_coords(epsilon=[2 / relaxation], gamma=1.0)
    return llc_of(pulled.assign(loss=(DIMS, loss)), burn_in=0)


def test_the_error_is_that_of_repetition() -> None:
    """Twice it covers 95 % or more and three times all, memory of the chains included."""
    estimate = repeated(10.0)
    spread = float(estimate.llc.std())
    miss = abs(estimate.llc - NBETA * 0.2) / estimate.llc_se
    assert 0.95 <= float((miss < 1.96).mean()) < 1
    assert float(miss.max()) < 3
    assert 1.1 * spread < float(estimate.llc_se.mean()) < 1.7 * spread
    independent = NBETA * 0.05 / np.sqrt(800)
    assert spread > 2 * independent  # what ignoring the memory would say


def test_the_error_is_larger_where_relaxation_leaves_few_batches() -> None:
    few, many = (float(repeated(draws).llc_se.mean()) for draws in (100.0, 10.0))
    assert 1.5 * many < few < 3 * many


def test_burn_in_changes_the_estimate() -> None:
    """Defect 1 of peers: the mean went over all steps, whatever the burn-in."""
    traces = made_up_traces()
    traces["loss"][..., :100] += 5
    with_start, without = llc_of(traces, burn_in=0), llc_of(traces, burn_in=100)
    assert (with_start.llc > 10).all()
    assert (abs(without.llc - 2) < 0.1).all()
    xr.testing.assert_identical(llc_of(traces), without)
    assert with_start.attrs["burn_in"] == 0
    selected = traces.isel(draw=slice(50, None))
    xr.testing.assert_allclose(llc_of(selected), without)


def test_burn_in_of_a_store_is_chosen_when_reading(tmp_path: Path) -> None:
    store = write_all(tmp_path / "net.zarr")
    by_default, all_draws = dvis.llc(store), dvis.llc(store, burn_in=0)
    assert by_default.attrs["burn_in"] == BURN_IN
    assert (by_default.llc != all_draws.llc).all()
    kept = dvis.llc_traces(store).loss.isel(draw=slice(BURN_IN, None))
    expected = 10.0 * (kept.mean(["chain", "draw"]) - dvis.llc_traces(store).init_loss)
    np.testing.assert_allclose(by_default.llc, expected.transpose(*by_default.llc.dims))


def test_a_burn_in_that_leaves_nothing_is_refused() -> None:
    traces = made_up_traces()
    with pytest.raises(ValueError, match="burn_in=300 leaves none of 300 draws"):
        llc_of(traces, burn_in=300)
    with pytest.raises(ValueError, match="give 0 or more"):
        llc_of(traces, burn_in=-1)
    del traces.attrs["burn_in"]
    with pytest.raises(ValueError, match="do not say how many are burn-in"):
        llc_of(traces)
    with pytest.raises(dvis.SchemaError, match="lack loss, status"):
        llc_of(xr.Dataset())


def test_divergence_is_not_hidden() -> None:
    """Defect 2 of peers: losses that are not finite were skipped, and the rest averaged."""
    traces = made_up_traces()
    whole = llc_of(traces)
    traces["loss"][0, 0, 1, 4:] = np.nan
    traces["status"][0, 0, 1] = ChainStatus.DIVERGED
    traces["loss"][0, 1, :, 250] = np.inf  # a sampler that did not see it
    traces["status"][1, 0, 2] = ChainStatus.DIVERGED  # all its losses are finite, and huge
    traces["loss"][1, 0, 2, 50:] = 1e300
    estimate = llc_of(traces)
    assert estimate.n_diverged.values.tolist() == [[1, 4], [1, 0]]
    assert estimate.n_chains.values.tolist() == [[3, 0], [3, 4]]
    three = traces.loss[0, 0, [0, 2, 3], 100:].mean() - START
    np.testing.assert_allclose(estimate.llc[0, 0], NBETA * three, rtol=1e-12)
    for name in ("llc", "llc_se", "rhat", "ess", "below_start", "mala"):
        assert np.isnan(estimate[name][0, 1]), name
    assert estimate.llc_of_chain.isnull().sum() == 1 + 4 + 1
    assert float(estimate.llc_se[0, 0]) > float(whole.llc_se[0, 0])
    xr.testing.assert_identical(
        estimate.isel(checkpoint=1, epsilon=1), whole.isel(checkpoint=1, epsilon=1)
    )
    running = running_llc(traces, 100)
    assert running[0, 1].isnull().any("draw").all()
    assert not running[0, 1, :, :150].isnull().any()


def test_chains_that_are_not_measured_are_left_out_and_counted() -> None:
    traces = made_up_traces()
    traces["status"][0, 0, :2] = ChainStatus.TO_DO
    traces["loss"][0, 0, 0] = np.nan  # the other one is half written
    traces["status"][0, 1] = ChainStatus.TO_DO
    traces["status"][1, 0, 3] = ChainStatus.FAILED
    estimate = llc_of(traces)
    assert estimate.n_missing.values.tolist() == [[2, 4], [1, 0]]
    assert estimate.n_chains.values.tolist() == [[2, 0], [3, 4]]
    assert (estimate.n_diverged == 0).all()
    assert np.isnan(estimate.llc[0, 1])
    two = NBETA * (traces.loss[0, 0, 2:, 100:].mean() - START)
    np.testing.assert_allclose(estimate.llc[0, 0], two, rtol=1e-12)


def test_chains_that_are_being_made_longer_count_as_far_as_all_go() -> None:
    traces = made_up_traces()
    traces["n_draws"][0, 0, 0] = 200
    traces["loss"][0, 0, 0, 200:] = np.nan
    estimate = llc_of(traces)
    assert estimate.n_chains[0, 0] == 4
    expected = NBETA * (traces.loss[0, 0, :, 100:200].mean() - START)
    np.testing.assert_allclose(estimate.llc[0, 0], expected, rtol=1e-12)
    late = llc_of(traces, burn_in=250)
    assert (int(late.n_chains[0, 0]), int(late.n_missing[0, 0])) == (3, 1)


def test_a_negative_llc_is_shown_and_flagged() -> None:
    estimate = llc_of(made_up_traces(lambda_of=-3.0))
    assert (estimate.llc < -2.5).all()
    assert (estimate.below_start > 0.99).all()


def test_an_unknown_start_gives_no_llc() -> None:
    traces = made_up_traces()
    traces["init_loss"][0] = np.nan
    estimate = llc_of(traces)
    assert estimate.llc.isnull().all("epsilon").values.tolist() == [True, False]
    assert estimate.below_start.isnull().all("epsilon").values.tolist() == [True, False]


def test_lazy_traces_stay_lazy_and_give_the_same() -> None:
    traces = made_up_traces()
    traces["status"][0, 0, 1] = ChainStatus.DIVERGED
    lazy = traces.chunk({"checkpoint": 1, "chain": 3, "draw": 70})
    with nothing_computed():
        estimate, running = llc_of(lazy), running_llc(lazy, 20)
        assert estimate.llc.chunks is not None
        assert running.chunks is not None
    xr.testing.assert_identical(estimate.compute(), llc_of(traces))
    xr.testing.assert_identical(running.compute(), running_llc(traces, 20))


def test_the_running_llc_ends_at_the_llc_of_the_chain() -> None:
    traces = made_up_traces()
    running = running_llc(traces, 100)
    assert running.dims == traces.loss.dims
    assert running.draw.values.tolist()[:2] == [100, 101]
    np.testing.assert_allclose(running[..., -1], llc_of(traces).llc_of_chain)
    np.testing.assert_allclose(running[..., 0], NBETA * (traces.loss[..., 100] - START))


@pytest.mark.parametrize("shape", [(6, 4, 200), (6, 2, 51), (3, 8, 33), (6, 2, 5)])
def test_diagnostics_are_those_of_arviz(shape: tuple[int, ...]) -> None:
    arviz = pytest.importorskip("arviz_stats.base").array_stats
    for memory in (-0.5, 0.0, 0.9, 0.99):
        draws = autoregressive(shape, memory, seed=2)
        draws[0] += np.arange(shape[1])[:, np.newaxis]  # chains that do not agree
        draws[1] = draws[1].round(1)  # ties
        options = {"chain_axis": -2, "draw_axis": -1}
        np.testing.assert_allclose(split_rhat(draws), arviz.rhat(draws, **options), rtol=1e-9)
        ess = arviz.ess(draws, method="mean", **options)
        np.testing.assert_allclose(effective_sample_size(draws), ess, rtol=1e-8)


def test_diagnostics_know_good_chains_from_bad_ones() -> None:
    good = autoregressive((20, 4, 500), 0.0, seed=3)
    assert (split_rhat(good) < 1.01).all()
    np.testing.assert_allclose(effective_sample_size(good).mean(), 2000, rtol=0.05)
    slow = autoregressive((20, 4, 2000), 0.9, seed=3)
    np.testing.assert_allclose(effective_sample_size(slow).mean(), 8000 / 19, rtol=0.1)
    drifting = good + np.linspace(0, 2, 500)  # all alike, and none has arrived
    assert (split_rhat(drifting) > 1.05).all()
    apart = good * np.array([1, 1, 1, 4])[:, np.newaxis]  # which plain R-hat does not see
    assert (split_rhat(apart) > 1.05).all()
    assert (split_rhat(drifting[:, :1]) > 1.05).all()  # one chain, against itself


def test_diagnostics_of_what_has_none() -> None:
    draws = autoregressive((3, 2, 40), 0.0)
    draws[0, 1, 3], draws[1] = np.inf, 2.0
    assert np.isnan(split_rhat(draws)).tolist() == [True, True, False]
    ess = effective_sample_size(draws)
    assert np.isnan(ess).tolist() == [True, False, False]
    assert ess[1] == 80
    for diagnostic in (split_rhat, effective_sample_size):
        assert np.isnan(diagnostic(draws[..., :3])).all()
        assert diagnostic(draws[..., :4]).shape == (3,)


def test_a_dataset_carries_the_llc_of_its_checkpoints(store: Path) -> None:
    dataset = dvis.open(store)
    estimate = dvis.llc(store).sel(parameters="all", epsilon=1e-4, gamma=1.0)
    assert not dataset.llc.variable._in_memory
    assert dataset.llc.dims == ("checkpoint",)
    with_llc = dataset.sel(checkpoint=estimate.checkpoint)
    for name in ("llc", "llc_se"):
        np.testing.assert_array_equal(with_llc[name], estimate[name])
    assert with_llc.llc.notnull().all()
    assert with_llc.llc_n_diverged.values.tolist() == [0, 1]
    assert with_llc.llc_is_settled.dtype == bool
    assert not with_llc.llc_is_settled.any()  # of one epsilon and gamma that are too short
    others = dataset.drop_sel(checkpoint=estimate.checkpoint.values)
    assert others.sizes["checkpoint"] > 0
    assert others.llc.isnull().all()
    shown = {"parameters": "all", "epsilon": 1e-4, "gamma": 1.0, "burn_in": BURN_IN, "nbeta": 10.0}
    assert {key: dataset.llc.attrs[key] for key in shown} == shown


def test_the_joined_llc_behaves_like_any_variable(store: Path) -> None:
    dataset = dvis.open(store)
    values = dataset.llc.values
    np.testing.assert_array_equal(dataset.llc[::-1], values[::-1])
    np.testing.assert_array_equal(dataset.llc[[1, 0]], values[[1, 0]])
    assert dvis.open(store).llc[0].item() == values[0]
    np.testing.assert_array_equal(dvis.open(store, chunks={}).load().llc, values)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dvis.open(store))).llc, values)
    np.testing.assert_array_equal(dvis.open(store).copy(deep=True).llc, values)
    assert len(dvis.open(store).llc.plot()) == 1


def test_opening_reads_nothing_of_the_chains(store: Path) -> None:
    for file in (store / dvis.runs(store)[0] / "llc").rglob("c/*"):
        if file.is_file():
            file.write_bytes(b"not to be read")
    dataset = dvis.open(store)
    assert "llc" in dataset
    dataset.activation.load()


def test_a_store_without_chains_has_no_llc(own_store: Path) -> None:
    assert "llc" not in dvis.open(own_store)


def test_a_calibration_is_not_shown_as_an_estimate(own_store: Path) -> None:
    run = dvis.runs(own_store)[0]
    with recording(
        own_store, "calibration-last", model="resnet18", run=run, settings=SETTINGS
    ) as recorder:
        prepare(recorder)
        recorder.note(kind_of_run="calibration", burn_in=BURN_IN)
    assert "llc" not in dvis.open(own_store)
    assert dvis.llc(own_store).attrs["name"] == "calibration-last"


def test_an_estimate_without_chains_yet_is_nan(own_store: Path) -> None:
    labels = dvis.open(own_store).checkpoint.values.tolist()
    with recording(
        own_store, model="resnet18", run=dvis.runs(own_store)[0], settings={}
    ) as recorder:
        prepare(
            recorder,
            labels=labels,
            epsilons=(),
            gammas=(),
            n_chains=0,
            n_draws=0,
        )
        assert dvis.open(own_store).llc.isnull().all()


def test_traces_are_found_from_a_dataset(store: Path) -> None:
    dataset = dvis.open(store)
    traces = dvis.llc_traces(store)
    for selection in (
        dataset,
        dataset.isel(checkpoint=slice(0, 1)),
        dataset.sel(layer=dataset.layer[0]),
        dataset[["llc"]],
        dataset.assign(other=1),
        dvis.open(store, chunks={}).isel(channel=0),
        pickle.loads(pickle.dumps(dataset)),
    ):
        xr.testing.assert_identical(selection.dvis.llc_traces(), traces)
    lazy = dataset.dvis.llc_traces(chunks={})
    assert lazy.loss.chunks is not None
    with pytest.raises(KeyError, match="Did you mean 'llc'"):
        dataset.dvis.llc_traces("lc")
    with pytest.raises(ValueError, match="does not know its store"):
        xr.Dataset().dvis.llc_traces()


def test_numbers_of_the_training_are_beside_the_chains(store: Path) -> None:
    run = dvis.runs(store)[0]
    labels = dvis.llc_traces(store).checkpoint.values.tolist()
    write_metrics(store, run, {labels[1]: {"val_loss": 0.75}})
    assert dvis.llc_traces(store).val_loss.values[1] == 0.75
    assert dvis.llc(store).val_loss.values[1] == 0.75


def test_reading_needs_no_torch(store: Path) -> None:
    program = (
        f"import sys, dvis; dvis.llc({str(store)!r}); dvis.open({str(store)!r}).llc.load(); "
        "assert not {'torch', 'matplotlib', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
