"""Distances of feature images over training: known answers, the same wherever computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback

import dvis
from dvis.analysis.drift import Metric, drift
from dvis.schema import Status

UNITS = ("checkpoint", "layer", "channel")
METRICS = get_args(Metric)
SIZE = 24


def smooth(seed: int, *, size: int = SIZE) -> np.ndarray:
    """A smooth picture in colour, (y, x, rgb) uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        np.sin(2 * np.pi * (generator.normal() * x + generator.normal() * y + generator.random()))
        for _ in range(3)
    ]
    return ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8)


def dataset_of(*timelines: list[np.ndarray], status: np.ndarray | None = None) -> xr.Dataset:
    """One layer whose channels have the given images over training."""
    image = np.stack([np.stack(images) for images in timelines], 1)[:, None]
    shape = image.shape[:3]
    labels = [f"epoch_{i}" for i in range(shape[0])]
    complete = np.full(shape, Status.COMPLETE, np.uint8)
    return xr.Dataset(
        {
            "image": ((*UNITS, "y", "x", "rgb"), image),
            "status": (UNITS, complete if status is None else status.reshape(shape)),
        },
        {"checkpoint": labels, "layer": ["layer1"], "channel": np.arange(shape[2])},
        {"model": "made-up", "parameters": [{"seed": 0}]},
    )


def opened(store: Path) -> xr.Dataset:
    return dvis.open(store)


def on_dask(store: Path) -> xr.Dataset:
    return dvis.open(store, chunks={})


def in_memory(store: Path) -> xr.Dataset:
    return dvis.open(store).load()


@pytest.mark.parametrize("metric", METRICS)
def test_identical_images_are_at_exactly_zero(metric: Metric) -> None:
    found = drift(dataset_of([smooth(1)] * 4, [smooth(2)] * 4), metric=metric)
    assert found.to_last.dtype == np.float32
    np.testing.assert_array_equal(found.to_last, np.zeros((4, 1, 2)))
    np.testing.assert_array_equal(found.to_previous[1:], np.zeros((3, 1, 2)))
    assert found.to_previous[0].isnull().all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_planted_change_is_where_it_was_planted(metric: Metric) -> None:
    before, after = smooth(1), smooth(2)
    found = drift(dataset_of([before] * 3 + [after] * 4), metric=metric).squeeze(drop=True)
    moved = found.to_previous.values
    assert moved[3] > 0.3
    np.testing.assert_array_equal(np.delete(moved, [0, 3]), 0)
    np.testing.assert_array_equal(found.to_last, [moved[3]] * 3 + [0] * 4)


def test_cosine_is_one_minus_the_correlation_of_levels() -> None:
    images = [smooth(i) for i in range(5)]
    found = drift(dataset_of(images)).squeeze()
    table = np.corrcoef([image.ravel().astype(float) for image in images])
    np.testing.assert_allclose(found.to_last, 1 - table[:, -1], atol=1e-6)
    np.testing.assert_allclose(found.to_previous[1:], 1 - np.diag(table, 1), atol=1e-6)


def test_cosine_does_not_see_how_levels_were_stretched() -> None:
    image = smooth(3) // 2
    found = drift(dataset_of([image, image * 2, image + 100, 255 - image, image]))
    np.testing.assert_allclose(found.to_last.squeeze(), [0, 0, 0, 2, 0], atol=1e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_are_near_each_other_alone(level: int) -> None:
    flat, other = np.full((SIZE, SIZE, 3), level, np.uint8), np.full((SIZE, SIZE, 3), 7, np.uint8)
    found = drift(dataset_of([flat, other, smooth(0), flat])).squeeze()
    np.testing.assert_array_equal(found.to_last, [0, 0, 1, 0])


def by_window(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity as the paper writes it, window by window."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights = (weights / weights.sum())[..., None]
    first, second = 0.01 * 255, 0.03 * 255
    values = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            a, b = (image[y : y + 11, x : x + 11].astype(float) for image in (one, other))
            mean_a, mean_b = ((weights * v).sum((0, 1)) for v in (a, b))
            spread_a, spread_b = (
                (weights * (v - m) ** 2).sum((0, 1)) for v, m in ((a, mean_a), (b, mean_b))
            )
            together = (weights * (a - mean_a) * (b - mean_b)).sum((0, 1))
            values.append(
                (2 * mean_a * mean_b + first**2)
                * (2 * together + second**2)
                / ((mean_a**2 + mean_b**2 + first**2) * (spread_a + spread_b + second**2))
            )
    return float(np.mean(values))


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of many kinds, not square, bright and flat ones among them."""
    generator = np.random.default_rng(0)
    image = smooth(1, size=40)[:, :30]
    noisy = np.clip(image + generator.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)
    bright = np.full_like(image, 250)
    striped = bright.copy()
    striped[::2] += 1
    halves = image.copy()
    halves[:, :15] = 255
    noise = generator.integers(0, 256, image.shape, dtype=np.uint8)
    return [
        (image, noisy),
        (bright, striped),
        (image, halves),
        (noise, noise[::-1]),
        (noise, bright),
    ]


@pytest.mark.parametrize("pair", range(5))
def test_ssim_is_that_of_the_paper(pair: int) -> None:
    one, other = pairs()[pair]
    found = drift(dataset_of([one, other]), metric="ssim").to_last.values.ravel()
    np.testing.assert_allclose(found, [1 - by_window(one, other), 0], atol=1e-5)


@pytest.mark.parametrize("pair", range(5))
def test_ssim_is_that_of_scikit_image(pair: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    one, other = pairs()[pair]
    expected = 1 - metrics.structural_similarity(
        one,
        other,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    found = drift(dataset_of([one, other]), metric="ssim").to_previous.values.ravel()
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("of", [on_dask, in_memory])
def test_it_is_the_same_on_dask_and_in_memory(
    sample_store: Path, metric: Metric, of: Callable[[Path], xr.Dataset]
) -> None:
    expected = drift(opened(sample_store), metric=metric).compute()
    assert expected.to_last.dims == UNITS
    assert expected.to_last.notnull().sum() > 100
    xr.testing.assert_identical(drift(of(sample_store), metric=metric).compute(), expected)


def test_nothing_is_computed_before_it_is_asked_for(
    sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was computed or decoded before it was asked for")

    ds = opened(sample_store)
    monkeypatch.setattr("dvis.store.picture_codec.decode", refuse)
    with Callback(start=refuse):
        lazy = drift(ds).sel(layer="layer1")
    assert lazy.chunks
    assert lazy.attrs["metric"] == "cosine"
    assert lazy.attrs["model"] == "resnet18"


def test_distances_to_incomplete_images_are_missing() -> None:
    images = [smooth(i) for i in range(5)]
    status = np.ones((5, 4), np.uint8)
    status[2, 1] = Status.FAILED
    status[4, 2] = Status.INCOMPLETE
    status[:, 3] = Status.ABSENT
    found = drift(dataset_of(*[images] * 4, status=status)).squeeze().compute()
    whole = found.isel(channel=0)
    assert whole.to_last.notnull().all()
    np.testing.assert_array_equal(whole.to_previous.isnull(), [True] + [False] * 4)
    gap = found.isel(channel=1)
    np.testing.assert_array_equal(gap.to_previous, whole.to_previous.where([0, 1, 0, 0, 1]))
    np.testing.assert_array_equal(gap.to_last, whole.to_last.where([1, 1, 0, 1, 1]))
    no_last = found.isel(channel=2)
    np.testing.assert_array_equal(no_last.to_previous, whole.to_previous.where([1, 1, 1, 1, 0]))
    assert no_last.to_last.isnull().all()
    assert found.isel(channel=3).to_array().isnull().all()


def test_one_unit_is_one_selection(sample_store: Path) -> None:
    ds = opened(sample_store)
    everything = drift(ds).compute()
    one = drift(ds.sel(layer="layer4", channel=0))
    xr.testing.assert_identical(one.compute(), everything.sel(layer="layer4", channel=0))
    assert one.to_last.dims == ("checkpoint",)
    # The last of those that are selected, and the one before among them.
    few = drift(ds.isel(checkpoint=[2, 5], channel=[0])).compute()
    np.testing.assert_array_equal(few.to_last[0], few.to_previous[1])


def test_errors_say_what_there_is() -> None:
    ds = dataset_of([smooth(1, size=8)] * 2)
    with pytest.raises(ValueError, match=r"No metric 'sim'.*cosine, ssim.*Did you mean 'ssim'"):
        drift(ds, metric="sim")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="windows of 11 x 11 pixels; these images have 8 x 8"):
        drift(ds, metric="ssim")
    for dim in UNITS:
        with pytest.raises(ValueError, match=f"No {dim} is left"):
            drift(ds.isel({dim: []}))
