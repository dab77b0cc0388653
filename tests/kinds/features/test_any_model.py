"""Models as people bring them: feature images of their units, which verify."""

from pathlib import Path

import numpy as np
import pytest
import tiny_architectures
import torch
from slowly import slowly
from tiny_architectures import batch_mixing, seeded

import dvis
from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation
from dvis.kinds.features.measure.engine import Normalisation
from dvis.kinds.features.measure.stored import StoredImage, model_input
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.verify import verify_store
from dvis.models.hooks import stopping
from dvis.schema import Status

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*(weight|spectral)_norm:FutureWarning"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]

DOES_NOT_FIT = "does not fit it"
ONE_AT_A_TIME = "one at a time"


def options_of(
    name: str, layers: tuple[str, ...], size: int, folder: Path, **changes: object
) -> VisualizeOptions:
    """Feature images of two channels of some layers of a model whose weights lie in a file."""
    n_colours = 1 if name == "grey" else 3
    facts = {"size": size, "mean": (0.5,) * n_colours, "std": (0.25,) * n_colours}
    weights = seeded(getattr(tiny_architectures, name)).state_dict()
    torch.save({"model_state_dict": weights, "input": facts}, folder / "step_10.pth")
    given = {
        "model": f"tiny_architectures:{name}",
        "checkpoint_path": (folder / "step_10.pth",),
        "layers": layers,
        "channels": (0, 3),
        "store": folder / "store.zarr",
        "workers": 0,
        "settings": feature_settings("default", {"max_iterations": 3}),
    }
    return VisualizeOptions(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "layers", "size", "note"),
    [
        ("lenet", ("conv2", "fc2"), 32, DOES_NOT_FIT),  # a view of maps that lie channels last
        slowly("grey", ("conv2", "fc1"), 32, DOES_NOT_FIT),
        ("segnet", ("relu", "conv3"), 16, ""),
        ("unet", ("deep", "out"), 16, ""),
        ("checkpointed", ("conv2",), 16, ""),
        ("weight_normed", ("0", "3", "4"), 16, ""),
        slowly("spectral_normed", ("0", "3", "4"), 16, ""),
        slowly("weight_parametrised", ("0", "4"), 16, ""),
        ("spectrum_parametrised", ("0", "4"), 16, ""),
        slowly("group_normed", ("1", "4"), 16, ""),
        slowly("layer_normed", ("norm", "conv2"), 16, ""),
        ("batch_mixing", ("0", "3"), 16, ONE_AT_A_TIME),
        ("vit", ("conv_proj", "encoder.layers.encoder_layer_0", "heads"), 32, ""),
        slowly("swin", ("features.1", "features.3.0.mlp.0"), 32, ""),
        ("convnext", ("features.1", "features.3.0.block.0"), 32, ""),
        slowly("efficientnet", ("features.0", "features.2.0.block.2", "classifier"), 32, ""),
        slowly("mobilenet", ("features.0", "features.4.conv.1.0", "features.6"), 32, ""),
        slowly("inception", ("Mixed_5b",), 75, ""),
    ],
)
def test_images_of_any_model_verify(
    name: str, layers: tuple[str, ...], size: int, note: str, tmp_path: Path
) -> None:
    options = options_of(name, layers, size, tmp_path)
    report = visualize(options)
    assert (report.n_measured, report.n_failed) == (2 * len(layers), 0), report.notes
    said = [text for text in report.notes if "dead" not in text and "linear" not in text]
    assert len(said) == bool(note)  # once, however many units
    assert not note or note in said[0]
    found = verify_store(tmp_path / "store.zarr", options.model, checkpoint_path=[tmp_path])
    n_dead = int((dvis.open(options.store).status == Status.DEAD).sum())
    assert (found.n_verified, found.faults) == (2 * len(layers) - n_dead, [])


@pytest.mark.parametrize("neuron", ["3,4", "8,8", "9,14"])
def test_neurons_of_a_unet_at_any_place(neuron: str, tmp_path: Path) -> None:
    report = visualize(options_of("unet", ("out",), 16, tmp_path, neurons=neuron))
    assert (report.n_measured, report.n_failed, report.notes) == (2, 0, [])


def test_stored_activations_are_of_the_image_alone() -> None:
    model, mean, std = seeded(batch_mixing), (0.5,) * 3, (0.25,) * 3
    settings = feature_settings("default", {"max_iterations": 10})
    made = FeatureVisualisation(
        settings=settings, mean=mean, std=std, image_size=16, layers=("3",), batch_size=4
    )
    result = made.measure(model, FeatureTask("3", "average", (0, 1, 2, 3)))
    alone = made.measure(model, FeatureTask("3", "average", (2,)))
    np.testing.assert_array_equal(result.image.sel(channel=[2]), alone.image)
    for index in range(4):
        stored = StoredImage(result.image.values[0, index], 0.0, 1.0)
        image = model_input([stored], Normalisation(mean=mean, std=std), next(model.parameters()))
        with torch.no_grad(), stopping(model, {"3": 1}) as forward:
            reached = forward(image)["3"][0, index].mean()
        assert float(result.activation[0, index]) == pytest.approx(float(reached), rel=1e-5)
