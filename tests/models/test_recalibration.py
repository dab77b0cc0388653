"""Batch norm with statistics of fixed images: known values, and a model that is left alone."""

import pickle

import numpy as np
import pytest
import torch
from tiny_models import seeded_net
from torch import nn

from dvis.models.data import InputTransform
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.recalibration import Recalibrated, recalibrate

TRANSFORM = InputTransform(mean=(0.5,) * 3, std=(0.2,) * 3, size=12)


def images(n: int = 80) -> FixedImages:
    return FixedImages.of(noise_images(n, 3, TRANSFORM), TRANSFORM)


def test_first_layer_has_the_moments_of_its_inputs_whatever_the_batches():
    model = seeded_net()
    batch = images(30).batch(0, 30, next(model.parameters()))
    recalibrate(model, [batch[:7], batch[7:]])
    inputs = model.conv1(batch).detach().double()
    np.testing.assert_allclose(model.bn1.running_mean, inputs.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(
        model.bn1.running_var, inputs.var((0, 2, 3), unbiased=False), rtol=1e-3
    )
    assert not model.bn1.training
    assert model.bn1.momentum == 0.1


def test_one_batch_gives_what_training_mode_gives():
    model, trained = seeded_net(), seeded_net().train()
    batch = images(16).batch(0, 16, next(model.parameters()))
    recalibrate(model, [batch])
    with torch.no_grad():
        torch.testing.assert_close(model(batch), trained(batch), rtol=2e-3, atol=2e-3)


def test_the_model_is_not_touched_and_its_copy_is_kept():
    model = seeded_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recalibrated = Recalibrated(images())
    copied = recalibrated(model)
    assert copied is not model
    assert recalibrated(model) is copied
    assert not torch.equal(copied.bn2.running_var, model.bn2.running_var)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert recalibrated(seeded_net(1)) is not copied
    recalibrated.forget()
    assert recalibrated(model) is not copied


@pytest.mark.parametrize("model", [seeded_net(), nn.Sequential(nn.Conv2d(3, 2, 3))])
def test_a_model_is_itself_where_nothing_is_to_be_measured(model):
    batch_norm = "running" if hasattr(model, "bn1") else "recalibrate"
    assert Recalibrated(images(), batch_norm)(model) is model


def test_no_copy_travels_to_a_worker():
    recalibrated = Recalibrated(images(2))
    recalibrated(seeded_net())
    assert pickle.loads(pickle.dumps(recalibrated))._last is None
