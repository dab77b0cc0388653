"""Top images of channels: those of all values, whoever found them, in whatever order."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tiny_activations import LAYERS, N_IMAGES, loaded, options_of, small_blocks, store_of

import dvis
from dvis.kinds.activations import record
from dvis.kinds.activations.group import ActivationGroup
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.activations.top import Top, histogram_of, lower_edges
from dvis.kinds.forgetting import forget_checkpoints
from dvis.store.group import Group

pytestmark = pytest.mark.usefixtures("one_thread")
N_TOP = 6
KEPT = ("values", f"top:{N_TOP}")


def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    monkeypatch.setattr(record, "_MOST_WAITING", 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch)


@pytest.fixture
def options(tmp_path: Path) -> ActivationOptions:
    return options_of(tmp_path, keep=KEPT)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ActivationOptions:
    """Values and top images of them that are kept, to read."""
    options = options_of(tmp_path_factory.mktemp("kept"), keep=KEPT)
    with pytest.MonkeyPatch.context() as monkeypatch:
        few_at_a_time(monkeypatch)
        keep_activations(options)
    return options


def assert_top_of_values(dataset: xr.Dataset, n_top: int) -> None:
    """Top images by their definition, of the values that are kept beside them."""
    highest = dataset["values"].max("token").astype(np.float32)
    ids = dataset["sample"].values
    for row in range(dataset.sizes["checkpoint"]):
        for channel in range(dataset.sizes["channel"]):
            scores = highest.values[row, :, channel]
            best = sorted(range(len(ids)), key=lambda i: (-scores[i], i))[:n_top]
            at = {"checkpoint": row, "channel": channel}
            top = dataset[["top_position", "top_value", "top_sample", "top_map"]].isel(at)
            n_best = len(best)
            assert top["top_position"].values[:n_best].tolist() == best
            assert top["top_sample"].values[:n_best].tolist() == ids[best].tolist()
            np.testing.assert_array_equal(top["top_value"].values[:n_best], scores[best])
            values = dataset["values"].isel(at).values[best].astype(np.float32)
            shown = top["top_map"].values[:n_best] * (scores[best] / 255)[:, None]
            is_lit = scores[best] > 0
            error = np.abs(shown - values.clip(0))[is_lit]
            assert (error <= 0.51 * scores[best][is_lit, None] / 255).all()
            assert (top["top_position"].values[n_best:] == -1).all()
            assert (top["top_sample"].values[n_best:] == "").all()
            assert np.isnan(top["top_value"].values[n_best:]).all()


@pytest.mark.parametrize("n_top", [N_TOP, N_IMAGES + 3])
def test_they_are_those_of_all_values(options: ActivationOptions, n_top: int) -> None:
    report = keep_activations(replace(options, keep=("values", f"top:{n_top}")))
    assert report.n_failed == 0
    for layer in LAYERS:
        assert_top_of_values(loaded(options, layer), n_top)
    assert dvis.check_store(store_of(options)) == []


def test_alone_they_are_the_same(kept: ActivationOptions, tmp_path: Path) -> None:
    alone = replace(kept, store=tmp_path / "alone.zarr", keep=(f"top:{N_TOP}",))
    keep_activations(alone)
    assert list(store_of(alone).rglob("values")) == []
    for layer in LAYERS:
        expected = loaded(kept, layer).drop_vars("values")
        xr.testing.assert_equal(loaded(alone, layer), expected)
    assert dvis.check_store(store_of(alone)) == []
    label = str(loaded(alone, "fc")["checkpoint"].values[0])
    with pytest.raises(ValueError, match="keeps top images alone"):
        ActivationRows.open(store_of(alone), "fc", label)


def test_histograms_count_every_value(kept: ActivationOptions) -> None:
    for layer in LAYERS:
        dataset = loaded(kept, layer)
        edges = np.append(dataset["bin_low"].values[32:], np.inf)
        values = dataset["values"].values.astype(np.float64)
        for row, channel in ((0, 0), (1, 3)):
            of_channel = values[row, ..., channel].ravel()
            below, above = -of_channel[of_channel < 0], of_channel[of_channel >= 0]
            counts = [np.histogram(each, edges)[0] for each in (below, above)]
            expected = np.concatenate([counts[0][::-1], counts[1]])
            np.testing.assert_array_equal(dataset["histogram"].values[row, channel], expected)


def test_on_dask_they_are_the_same(options: ActivationOptions) -> None:
    keep_activations(replace(options, layers=("fc",)))
    on_dask = dvis.activations(store_of(options), "fc", chunks={})
    assert on_dask["values"].chunks is not None
    xr.testing.assert_equal(on_dask.load(), loaded(options, "fc"))


def test_bins_have_their_edges() -> None:
    edges = lower_edges()
    values = np.array([-1e9, -32768.0, -1.0, -1e-9, 0.0, 1e-9, 2.0**-15, 1.0, 1.5, 40000.0])
    (counts,) = histogram_of(values[:, None, None])
    assert counts.sum() == len(values)
    for value, low in ((-1.0, -2.0), (0.0, 0.0), (1.0, 1.0), (1.9, 1.0), (40000.0, 32768.0)):
        (one,) = np.flatnonzero(histogram_of(np.array([[[value]]]))[0])
        assert edges[one] == low


def test_a_killed_run_goes_on_to_the_same(
    options: ActivationOptions, kept: ActivationOptions
) -> None:
    for n_written in (3, 11, 40):
        process = multiprocessing.get_context("fork").Process(
            target=_die_writing, args=(options, n_written)
        )
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    keep_activations(options)
    for layer in LAYERS:
        xr.testing.assert_equal(loaded(options, layer), loaded(kept, layer))


def _die_writing(options: ActivationOptions, n_written: int) -> None:
    left = [n_written]

    def dying(write: Any) -> Any:
        def written(*arguments: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return write(*arguments)

        return written

    Group.put = dying(Group.put)  # type: ignore[method-assign]  # this process ends
    # Between the arrays of top images too: each is asked for before it is written.
    ActivationGroup.array = dying(Group.array)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    keep_activations(options)


def test_other_weights_leave_nothing_behind(options: ActivationOptions, tmp_path: Path) -> None:
    options = replace(options, layers=("conv2",))
    keep_activations(options)
    first, second = sorted((tmp_path / "run").iterdir())
    second.write_bytes(first.read_bytes())
    keep_activations(replace(options, overwrite=True))
    dataset = loaded(options, "conv2")
    assert_top_of_values(dataset, N_TOP)
    np.testing.assert_array_equal(dataset["histogram"].values[0], dataset["histogram"].values[1])
    label = str(dataset["checkpoint"].values[0])
    list(forget_checkpoints(store_of(options), [label]))
    assert_top_of_values(loaded(options, "conv2"), N_TOP)


@given(st.permutations(range(5)), st.integers(1, 9), st.data())
def test_blocks_may_come_in_any_order_and_again(
    order: list[int], n_top: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-3, 4, (23, 4, 3)).astype(np.float16)  # with many ties
    blocks = [Top.of(values[5 * i : 5 * i + 5], 5 * i, n_top) for i in range(5)]
    again = data.draw(st.lists(st.sampled_from(range(5)), max_size=3))
    top = blocks[order[0]]
    for i in [*order[1:], *again]:
        top = top.merged(blocks[i])
    whole = Top.of(values, 0, n_top)
    for name in ("sample", "value", "map"):
        np.testing.assert_array_equal(getattr(top, name), getattr(whole, name))


def test_odd_things_to_keep_are_refused(tmp_path: Path) -> None:
    for keep in (("all",), ("top",), ("top:0",), ()):
        with pytest.raises(ValueError, match=r"keep is .*; give values, top:64"):
            options_of(tmp_path, keep=keep)
