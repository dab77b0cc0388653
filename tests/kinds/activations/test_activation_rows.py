"""Rows for training: each once an epoch, by seed and step alone, from files as from Zarr."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_activations import MODEL, loaded, options_of, small_blocks, store_of
from tiny_models import transformer

import dvis
from dvis.kinds.activations.half import take_as_float32
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.activations.stored_blocks import MappedBlocks, ReadBlocks
from dvis.store.datasets import are_held_out

LAYER = "conv2"  # 64 tokens of 16 channels


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ActivationOptions:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch)
        options = options_of(tmp_path_factory.mktemp("rows"), layers=("conv1", LAYER), n_images=60)
        keep_activations(options)
    return options


@pytest.fixture(scope="module")
def dataset(options: ActivationOptions) -> xr.Dataset:
    return loaded(options, LAYER)


@pytest.fixture(scope="module")
def label(dataset: xr.Dataset) -> str:
    return str(dataset["checkpoint"].values[1])


def rows_of(options: ActivationOptions, label: str, **how: object) -> ActivationRows:
    given = {"batch_size": 100, "block_rows": 48, "pool_blocks": 7}
    return ActivationRows.open(store_of(options), LAYER, label, **{**given, **how})


def expected(dataset: xr.Dataset, label: str, split: str) -> np.ndarray:
    """Rows of a split in their order, by the Dataset."""
    held = are_held_out(dataset["sample"].values)
    taken = {"train": ~held, "held_out": held, "all": np.full(len(held), True)}[split]
    values = dataset["values"].sel(checkpoint=label).values[taken].astype(np.float32)
    return values.reshape(-1, values.shape[-1])


def as_set(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in rows}


@pytest.mark.parametrize("split", ["train", "held_out", "all"])
def test_an_epoch_has_each_row_at_most_once(
    options: ActivationOptions, dataset: xr.Dataset, label: str, split: str
) -> None:
    rows = rows_of(options, label, split=split)
    there = expected(dataset, label, split)
    assert rows.n_rows == len(there) == rows.n_samples * rows.n_tokens
    assert (rows.n_tokens, rows.n_channels) == (64, 16)
    distinct, counts = np.unique(there, axis=0, return_counts=True)
    times = {row.tobytes(): n for row, n in zip(distinct, counts, strict=True)}
    for epoch in (0, 3):
        steps = range(epoch * rows.steps_per_epoch, (epoch + 1) * rows.steps_per_epoch)
        seen = np.concatenate([rows.batch(step) for step in steps])
        assert seen.dtype == np.float32
        assert len(seen) == rows.n_rows // 100 * 100
        found, n_found = np.unique(seen, axis=0, return_counts=True)
        for row, n in zip(found, n_found, strict=True):
            assert n <= times[row.tobytes()]


def test_epochs_and_seeds_are_permuted_anew(options: ActivationOptions, label: str) -> None:
    rows, other = rows_of(options, label), rows_of(options, label, seed=1)
    n_steps = rows.steps_per_epoch
    assert not np.array_equal(rows.batch(0), rows.batch(n_steps))
    assert not np.array_equal(rows.batch(0), other.batch(0))
    in_order = rows.rows(0, 100).astype(np.float32)
    assert len(as_set(rows.batch(0)) & as_set(in_order)) < 50


def test_a_batch_mixes_distant_samples(options: ActivationOptions, label: str) -> None:
    rows = rows_of(options, label, batch_size=256, block_rows=32, pool_blocks=64)
    whole = rows.rows(0, rows.n_rows).astype(np.float32)
    sample_of = {row.tobytes(): place // rows.n_tokens for place, row in enumerate(whole)}
    samples = {sample_of[row.tobytes()] for row in rows.batch(5)}
    assert len(samples) > rows.n_samples / 2


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    block_rows=st.integers(1, 700),
    pool_blocks=st.integers(1, 80),
    batch_size=st.integers(1, 900),
)
def test_a_batch_is_a_function_of_seed_and_step(
    options: ActivationOptions,
    label: str,
    steps: list[int],
    block_rows: int,
    pool_blocks: int,
    batch_size: int,
) -> None:
    how = {"block_rows": block_rows, "pool_blocks": pool_blocks, "batch_size": batch_size}
    used = rows_of(options, label, **how)
    for step in steps:
        fresh = rows_of(options, label, **how).batch(step)
        np.testing.assert_array_equal(used.batch(step), fresh)
        assert fresh.shape == (batch_size, 16)


class Numbered:
    """Blocks of ten samples of seven tokens, whose rows are their own numbers."""

    shape, dtype = (10, 7, 1), np.dtype(np.float32)

    def rows(self, block: int) -> np.ndarray:
        return np.arange(70 * block, 70 * (block + 1), dtype=np.float32)[:, None]


def numbered_rows(n_samples: int = 130) -> ActivationRows:
    return ActivationRows(
        blocks=Numbered(),
        samples=np.arange(n_samples),
        tokens=np.arange(7),
        sample_ids=np.arange(n_samples).astype(str),
        labels=np.zeros(n_samples, np.int64),
        classes=("all",),
        fingerprint="numbers",
        seed=3,
        batch_size=50,
        block_rows=16,
        pool_blocks=5,
    )


def test_the_order_of_a_seed_never_changes() -> None:
    rows = numbered_rows()
    known = {
        0: [323, 778, 332, 149, 173, 62],
        4: [869, 357, 337, 659, 79, 656],
        17: [44, 6, 11, 220, 182, 9],
        18: [904, 897, 228, 403, 319, 308],
        40: [723, 65, 320, 729, 613, 73],
    }
    for step, wanted in [*known.items(), *reversed(known.items())]:
        assert rows.batch(step)[:6, 0].tolist() == wanted, step


def test_rows_of_some_samples_alone() -> None:
    rows = numbered_rows()
    some = rows.taken(np.array([3, 50, 129]))
    positions, values = zip(*some.ordered(2), strict=True)
    assert np.concatenate(positions).tolist() == [0, 1, 2]
    first = np.array([3, 50, 129])[:, None] * 7 + np.arange(7)
    np.testing.assert_array_equal(np.concatenate(values)[..., 0], first)
    assert some.sample_ids.tolist() == ["3", "50", "129"]
    assert len({each.fingerprint for each in (rows, some, rows.taken(np.array([3])))}) == 3


def test_batches_go_on_from_any_step(options: ActivationOptions, label: str) -> None:
    rows = rows_of(options, label)
    for first in (0, 7, rows.steps_per_epoch - 1):
        for i, batch in enumerate(islice(rows_of(options, label).batches(first), 5)):
            np.testing.assert_array_equal(batch, rows.batch(first + i))


@pytest.mark.parametrize("split", ["train", "held_out", "all"])
def test_an_ordered_pass_has_samples_and_labels(
    options: ActivationOptions, dataset: xr.Dataset, label: str, split: str
) -> None:
    rows = rows_of(options, label, split=split)
    positions, values = zip(*rows.ordered(7), strict=True)
    np.testing.assert_array_equal(np.concatenate(positions), np.arange(rows.n_samples))
    there = expected(dataset, label, split)
    np.testing.assert_array_equal(np.concatenate(values).reshape(-1, 16), there)
    np.testing.assert_allclose(rows.mean, there.astype(np.float64).mean(0), rtol=1e-6, atol=1e-9)
    for place in (0, rows.n_samples - 1):
        ids = str(rows.sample_ids[place])
        one = dataset["values"].sel(checkpoint=label, sample=ids).values
        np.testing.assert_array_equal(np.concatenate(values)[place], one.astype(np.float32))
    assert rows.classes[rows.labels[0]] in dataset.attrs["classes"]


def test_half_precision_becomes_the_same_float32_as_by_a_cast() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 16)
    is_number = np.isfinite(every).all(1)
    for stored in (every, every[is_number], -every[is_number][::-1]):
        stored = np.ascontiguousarray(stored)
        places = np.random.default_rng(0).permutation(len(stored))
        rows = np.empty(stored.shape, np.float32)
        take_as_float32(stored, places, rows)
        cast = stored[places].astype(np.float32)
        is_nan = np.isnan(cast)
        np.testing.assert_array_equal(rows[~is_nan].view(np.uint32), cast[~is_nan].view(np.uint32))
        assert np.isnan(rows[is_nan]).all()


def test_splits_share_no_sample(options: ActivationOptions, label: str) -> None:
    train, held = (rows_of(options, label, split=split) for split in ("train", "held_out"))
    assert not set(train.sample_ids) & set(held.sample_ids)
    assert train.n_samples + held.n_samples == 60
    assert len({train.fingerprint, held.fingerprint}) == 2


def test_zarr_reads_the_same_as_mapped_files(options: ActivationOptions, label: str) -> None:
    local = rows_of(options, label)
    assert isinstance(local.blocks, MappedBlocks)
    copied = zarr.storage.MemoryStore()
    files = [path for path in store_of(options).rglob("*") if path.is_file()]
    for path in files:
        key = str(path.relative_to(store_of(options)))
        data = zarr.core.buffer.cpu.Buffer.from_bytes(path.read_bytes())
        zarr.core.sync.sync(copied.set(key, data))
    remote = ActivationRows.open(copied, LAYER, label, batch_size=100, block_rows=48, pool_blocks=7)
    assert isinstance(remote.blocks, ReadBlocks)
    for step in (0, 3, 50):
        np.testing.assert_array_equal(remote.batch(step), local.batch(step))
    np.testing.assert_array_equal(remote.mean, local.mean)
    assert remote.fingerprint == local.fingerprint


def test_a_store_on_a_url_trains(options: ActivationOptions, label: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(store_of(options)), "/rows/net.zarr", recursive=True)
    remote = ActivationRows.open("memory://rows/net.zarr", LAYER, label, batch_size=100)
    here = ActivationRows.open(store_of(options), LAYER, label, batch_size=100)
    np.testing.assert_array_equal(remote.batch(3), here.batch(3))
    opened = dvis.activations("memory://rows/net.zarr", LAYER)
    assert opened["values"].shape == (2, 60, 64, 16)


def test_special_tokens_can_be_left_out(tmp_path: Path) -> None:
    layer = "encoder.layers.encoder_layer_1"
    to = {"dataset": "shapes", "n_images": 20, "store": tmp_path / "vit.zarr", "workers": 0}
    dvis.measure.activations(transformer(), layers=[layer], **to)
    values = dvis.activations(to["store"], layer)["values"].values[0]
    how = {"split": "all", "batch_size": 8}
    rows = ActivationRows.open(to["store"], layer, "model", include_special=False, **how)
    assert (rows.n_tokens, rows.n_rows) == (4, 80)
    _, ordered = next(rows.ordered(20))
    np.testing.assert_array_equal(ordered, values[:, 1:].astype(np.float32))
    whole = ActivationRows.open(to["store"], layer, "model", **how)
    assert whole.n_tokens == 5
    assert whole.fingerprint != rows.fingerprint


def test_what_is_not_there_is_said(options: ActivationOptions, label: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"No layer 'conv3'.*Did you mean 'conv"):
        ActivationRows.open(store_of(options), "conv3", label)
    with pytest.raises(KeyError, match="No checkpoint 'last' in activations"):
        rows_of(options, "last")
    with pytest.raises(ValueError, match=r"No split 'test'.*train, held_out, all"):
        rows_of(options, label, split="test")
    with pytest.raises(ValueError, match=r"batch_size is 9999, and there are \d+ rows"):
        rows_of(options, label, batch_size=9999).batch(0)
    with pytest.raises(ValueError, match="seed is -1"):
        rows_of(options, label, seed=-1)
    few = replace(options, store=tmp_path / "few.zarr", n_images=1, model=MODEL)
    keep_activations(few)
    is_held = are_held_out(loaded(few, LAYER)["sample"].values)[0]
    with pytest.raises(ValueError, match=r"None of the 1 sample of .* is in the split"):
        rows_of(few, label, split="train" if is_held else "held_out")
    for path in store_of(few).rglob(f"{LAYER}/values/c/1/0/0/0"):
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"is not what the store says.*dvis check --fix"):
        rows_of(few, label, split="all", batch_size=10).batch(0)
