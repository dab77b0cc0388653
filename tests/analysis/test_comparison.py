"""Comparison: two Datasets side by side, by label or by step."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, nothing_computed

import dvis
from dvis.analysis.comparison import compare


def numbered(n_checkpoints: int, n_layers: int = 2, n_channels: int = 3, **options) -> xr.Dataset:
    """A Dataset whose activations are 0, 1, 2, ..."""
    shape = n_checkpoints, n_layers, n_channels
    return made_up(np.arange(np.prod(shape)).reshape(shape), **options)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_labels_of_both_are_side_by_side(is_lazy: bool) -> None:
    one = numbered(4, labels=["a", "b", "c", "d"], is_lazy=is_lazy)
    other = numbered(3, labels=["d", "x", "b"], is_lazy=is_lazy)
    with nothing_computed():
        found = compare(one, other)
    assert (found.activation.chunks is not None) == is_lazy
    assert found.activation.dims == ("source", "checkpoint", "layer", "channel")
    assert found.checkpoint.values.tolist() == ["b", "d"]
    expected = np.stack([one.activation[[1, 3]], other.activation[[2, 0]]])
    np.testing.assert_array_equal(found.activation, expected)
    np.testing.assert_array_equal(found.activation_difference, expected[1] - expected[0])
    assert found.attrs["n_without_partner"] == [2, 1]


def test_steps_find_their_nearest_partner() -> None:
    one = numbered(4, steps=[0, 10, 100, np.nan])
    other = numbered(4, steps=[1, 9, 14, 160])
    found = compare(one, other, on="step", tolerance=5)
    assert found.source_step.values.tolist() == [[0, 10], [1, 9]]
    assert found.source_checkpoint.values.tolist() == [["step_0", "step_10"], ["step_1", "step_9"]]
    assert found.step.values.tolist() == [0, 10]
    np.testing.assert_array_equal(found.activation.sel(source="other"), other.activation[:2])
    assert compare(one, other, on="step", tolerance=60).sizes["checkpoint"] == 3


def test_a_checkpoint_has_one_partner_at_most() -> None:
    one = numbered(3, steps=[10, 11, 12])
    other = numbered(1, steps=[11])
    found = compare(one, other, on="step", tolerance=5)
    assert found.source_step.values.tolist() == [[11], [11]]


def test_incomplete_units_differ_by_nothing() -> None:
    status = np.ones((2, 2, 3))
    status[1, 0, 2] = 3
    found = compare(numbered(2), numbered(2, status=status))
    assert np.isnan(found.activation.sel(source="other")[1, 0, 2])
    assert np.isnan(found.activation_difference).sum() == 1


def test_only_what_both_have_is_compared() -> None:
    one = numbered(2, layers=["layer1", "layer2"], val_loss=[1, 2], train_loss=[3, 3])
    other = numbered(2, n_channels=2, layers=["layer2", "layer3"], val_loss=[2, 4])
    found = compare(one, other)
    assert found.layer.values.tolist() == ["layer2"]
    assert found.channel.values.tolist() == [0, 1]
    assert set(found.data_vars) == {
        "activation",
        "activation_difference",
        "val_loss",
        "val_loss_difference",
    }
    assert found.val_loss_difference.values.tolist() == [1, 2]
    assert set(compare(one, other, variables=["val_loss"]).data_vars) == {
        "val_loss",
        "val_loss_difference",
    }


def test_sources_are_called_what_tells_them_apart() -> None:
    one, other = numbered(2), numbered(2).assign_attrs(run="seed 2")
    assert compare(one, other).source.values.tolist() == ["checkpoints", "seed 2"]
    assert compare(one, one).source.values.tolist() == ["one", "other"]
    assert compare(one, other, names=("a", "b")).source.values.tolist() == ["a", "b"]


def test_two_layers_of_a_run_are_compared() -> None:
    dataset = numbered(2)
    found = compare(dataset.sel(layer="layer1"), dataset.sel(layer="layer2"))
    assert (found.activation_difference == 3).all()
    assert found.layer.values.tolist() == ["layer1", "layer2"]


def test_the_sample_does_not_differ_from_itself(sample_store: Path) -> None:
    eager = compare(dvis.open(sample_store), dvis.open(sample_store))
    assert abs(eager.activation_difference).max() == 0
    lazy = compare(dvis.open(sample_store, chunks={}), dvis.open(sample_store, chunks={}))
    assert lazy.activation_difference.chunks is not None
    xr.testing.assert_identical(eager, lazy.compute())


def test_nothing_in_common_says_so() -> None:
    one = numbered(2, labels=["a", "b"], steps=[0, 1])
    other = numbered(2, labels=["c", "d"], steps=[5, 6])
    with pytest.raises(ValueError, match='Align them by training step: on="step"'):
        compare(one, other)
    with pytest.raises(ValueError, match=r"steps of the one \(0, 1, ...\).*greater tolerance"):
        compare(one, other, on="step", tolerance=2)
    with pytest.raises(ValueError, match="No layer is in both: the one has layer1, layer2"):
        compare(one, one.assign_coords(layer=["conv1", "conv2"]))
    with pytest.raises(KeyError, match="Did you mean 'activation'"):
        compare(one, one, variables=["activations"])
    with pytest.raises(ValueError, match="Did you mean 'step'"):
        compare(one, one, on="steps")
    with pytest.raises(ValueError, match='for on="step"'):
        compare(one, one, tolerance=3)


def test_what_cannot_be_compared_says_why() -> None:
    dataset = numbered(2)
    with pytest.raises(TypeError, match=r"other is no Dataset but 5, of type int\. Open one"):
        dataset.dvis.compare(5)
    for on in ("label", "step"):
        with pytest.raises(ValueError, match="No checkpoint is left"):
            compare(dataset, dataset.isel(checkpoint=[]), on=on)
    with pytest.raises(TypeError, match="tolerance is 'a', of type str"):
        compare(dataset, dataset, on="step", tolerance="a")


def test_a_layer_selected_from_one_alone_is_refused() -> None:
    dataset = made_up(np.zeros((4, 2, 2)))
    with pytest.raises(ValueError, match="only one of the two has the dim layer"):
        compare(dataset, dataset.isel(layer=0))
