"""The small vision transformer: of any size, trained, found again by its weights."""

from pathlib import Path

import pytest
import torch

from dvis.models.architectures import CheckpointError, load_model
from dvis.models.building import build_model, skeleton
from dvis.models.checkpoints import find_checkpoints
from dvis.models.hooks import trace_layers
from dvis.models.layer_table import prefix_tokens
from dvis.models.training import train
from dvis.models.training_settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("size", "n_tokens"), [(8, 65), (28, 50), (64, 65), (224, 65)])
def test_weights_tell_the_size_that_it_was_made_for(size: int, n_tokens: int) -> None:
    made = build_model("vit_tiny", 10, image_size=size)
    shapes = {name: tensor.shape for name, tensor in made.state_dict().items()}
    again = skeleton("vit_tiny", shapes)
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes
    outputs = trace_layers(made, torch.zeros(1, 3, size, size))
    assert outputs["encoder.ln"].shape[1] == n_tokens
    assert prefix_tokens(made) == 1


def test_it_learns_some_digits_and_is_found_by_its_weights(tmp_path: Path) -> None:
    settings = TrainingSettings(
        model="vit_tiny",
        dataset="digits",
        n_train=32,
        n_val=32,
        steps=60,
        batch_size=16,
        learning_rate=1e-3,
        optimizer="adamw",
        n_checkpoints=2,
        epoch_ends=False,
        out=tmp_path,
    )
    run = train(settings)
    losses = run.metrics.train_loss.values
    assert losses[-1] < losses[0] - 0.2
    *_, last = find_checkpoints([run.checkpoints[0].parent])
    model = load_model("vit_tiny", last, torch.device("cpu"))
    assert model(torch.zeros(1, 3, model.image_size, model.image_size)).isfinite().all()
    with pytest.raises(CheckpointError, match="They are those of a vit_tiny: give that model"):
        load_model("vit_b_32", last, torch.device("cpu"))
