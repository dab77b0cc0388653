"""Optimisations from several starts: dead ones tried again, the best kept, seeds compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import seeded_net, write_checkpoints
from torch import nn

import dvis
from dvis.kinds.features.measure import FeatureVisualisation, feature_settings
from dvis.kinds.features.measure.restarts import image_seed
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.tally import count_units
from dvis.kinds.features.tree.export import export_tree
from dvis.kinds.features.verify import verify_store
from dvis.schema import Status

SHORT = feature_settings("default", {"max_iterations": 8, "min_iterations": 4})

pytestmark = pytest.mark.usefixtures("one_thread")


def measurement(**options: Any) -> FeatureVisualisation:
    given = {
        "settings": SHORT,
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "image_size": 16,
        "layers": ("relu",),
        "batch_size": 16,
        **options,
    }
    return FeatureVisualisation(**given)


def measured(made: FeatureVisualisation, model: nn.Module) -> xr.Dataset:
    (task,) = made.tasks(made.outputs(model))
    return made.measure(model, task)


class Contrast(nn.Module):
    """A rectified unit a threshold: the contrast between neighbouring columns above it."""

    def __init__(self, thresholds: tuple[float, ...]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, len(thresholds), (1, 2))
        self.conv.weight.data[:] = torch.tensor([-1.0, 1.0])
        self.conv.bias.data[:] = -torch.tensor(thresholds)
        self.relu = nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(images))


def test_a_unit_that_faint_noise_leaves_silent_is_found_from_more_contrast() -> None:
    model = Contrast((0.0, 2.0, 1e3)).eval()
    result = measured(measurement(), model).isel(image_number=0)
    assert result.is_dead.values.tolist() == [False, False, True]
    assert result.activation.values[1] > 0
    seeds = [image_seed(0, "relu", 1, 0, attempt) for attempt in (2, 3)]
    assert result.seed.values[1] in seeds  # one of those with more contrast
    assert result.seed.values[0] == image_seed(0, "relu", 0, 0)
    assert result.seed.values[2] == image_seed(0, "relu", 2, 0)


def test_neurons_that_are_silent_at_first_are_found_and_a_dead_one_is_dead() -> None:
    model = Contrast((0.4,) * 8 + (1e3,)).eval()
    result = measured(measurement(neurons=((7, 7),)), model).isel(image_number=0)
    is_dead = result.is_dead.values
    assert is_dead[-1]
    assert (~is_dead[:-1]).sum() >= 4
    assert (result.activation.values[:-1][~is_dead[:-1]] > 0).all()
    first = [image_seed(0, "relu", channel, 0) for channel in range(8)]
    assert (result.seed.values[:-1][~is_dead[:-1]] != np.array(first)[~is_dead[:-1]]).any()


def test_a_dead_unit_changes_no_other(options: VisualizeOptions) -> None:
    alone = measured(measurement(channels=(0,)), Contrast((0.0, 2.0, 1e3)).eval())
    together = measured(measurement(), Contrast((0.0, 2.0, 1e3)).eval())
    np.testing.assert_array_equal(alone.image[0, 0], together.image[0, 0])


def test_the_best_restart_is_kept_with_its_seed_and_the_spread() -> None:
    model = seeded_net()
    several = measured(measurement(layers=("conv2",), restarts=3), model).isel(image_number=0)
    reached = []
    for attempt in range(3):
        seeds = [image_seed(0, "conv2", channel, 0, attempt) for channel in range(16)]
        of_attempt = several.activation.where(several.seed == seeds)
        reached.append(of_attempt.values)
    kept = np.isfinite(reached)
    np.testing.assert_array_equal(kept.sum(0), 1)
    assert (kept.sum(1) > 0).sum() > 1  # not always the same attempt
    one = measured(measurement(layers=("conv2",)), model).isel(image_number=0)
    assert (several.activation.values >= one.activation.values).all()
    first = kept[0]
    np.testing.assert_array_equal(several.image.values[first], one.image.values[first])
    assert (several.restart_sd.values > 0).all()
    assert "restart_sd" not in one


def test_restarts_do_not_depend_on_the_batch() -> None:
    model = seeded_net().double()
    settings = replace(SHORT, max_iterations=4, min_iterations=2)
    how = {"layers": ("conv2",), "restarts": 2, "number_of_seeds": 2, "settings": settings}
    whole = measured(measurement(**how), model)
    alone = measured(measurement(**how, channels=(5,)), model)
    for name in ("image", "activation", "restart_sd", "seed_similarity", "seed"):
        expected = whole[name].sel(channel=[5]).values
        np.testing.assert_allclose(alone[name].values, expected, rtol=1e-5, err_msg=name)


def test_several_images_of_a_unit_have_restarts_each() -> None:
    made = measurement(layers=("conv2",), channels=(0, 1), number_of_images=2, restarts=2)
    result = measured(made, seeded_net())
    for number in range(2):
        for channel in range(2):
            seeds = [image_seed(0, "conv2", channel, number, attempt) for attempt in range(2)]
            assert result.seed.values[number, channel] in seeds


def test_images_that_are_made_to_differ_are_kept_of_one_attempt() -> None:
    settings = replace(SHORT, diversity_weight=1.0)
    made = measurement(
        layers=("conv2",), number_of_images=2, restarts=3, settings=settings, batch_size=32
    )
    result = measured(made, seeded_net())
    for channel in range(16):
        attempts = {
            tuple(image_seed(0, "conv2", channel, number, attempt) for number in range(2))
            for attempt in range(3)
        }
        assert tuple(result.seed.values[:, channel].tolist()) in attempts


def test_seeds_are_compared_and_the_first_is_kept() -> None:
    model = seeded_net()
    plain = measured(measurement(layers=("conv2",)), model)
    compared = measured(measurement(layers=("conv2",), number_of_seeds=2), model)
    np.testing.assert_array_equal(plain.image, compared.image)
    assert "restart_sd" not in compared
    similarity = compared.seed_similarity.values
    assert (np.abs(similarity) <= 1 + 1e-6).all()
    assert np.isnan(
        measured(measurement(number_of_seeds=2), Contrast((0.0, 1.0)).eval()).seed_similarity.values
    ).all()  # too few channels to tell


def dead_run(options: VisualizeOptions) -> VisualizeOptions:
    """Checkpoints at all of which channel 2 of bn2's ReLU is dead."""
    for path in write_checkpoints(Path(options.checkpoint_path[0]), 3):
        content = torch.load(path, weights_only=True)
        content["model_state_dict"]["bn2.bias"][:] = 8.0
        content["model_state_dict"]["bn2.bias"][2] = -1e3
        torch.save(content, path)
    return replace(options, layers=("relu",))


def test_dead_units_are_marked_and_left_out(options: VisualizeOptions, tmp_path: Path) -> None:
    options = dead_run(options)
    report = visualize(options)
    assert report.n_measured == 12
    (said,) = [note for note in report.notes if "relu: of" in note]
    assert said == "average-0, relu: of 4 units 1 dead at all 3 checkpoints (channel 2)"
    (told,) = [note for note in report.notes if "dead says" in note]
    assert "3 times it answers 0 to all reference images" in told
    dataset = dvis.open(options.store)
    status = dataset.status.sel(layer="relu").values
    assert (status[:, 2] == Status.DEAD).all()
    assert (status[:, [0, 1, 3]] == Status.COMPLETE).all()
    assert (dataset.activation.sel(layer="relu", channel=2) == 0).all()
    assert (dataset.seed.sel(layer="relu", channel=2) >= 0).all()
    assert not dataset.image.sel(layer="relu", channel=2).any()
    births = dataset.dvis.births()
    assert births.state.sel(layer="relu", channel=2).item() == "absent"
    summary = dataset.dvis.summary(births)
    assert summary.n_units.values.tolist() == [[3]] * 3
    assert summary.dead_share.values.tolist() == [[0.25]] * 3
    assert 2 not in dataset.dvis.rank(by="growth").channel.values
    (counts,) = count_units(options.store)
    assert (counts.n_complete, counts.n_dead, counts.n_failed) == (9, 3, 0)
    assert dvis.check_store(options.store) == []
    verified = verify_store(options.store, options.model, checkpoint_path=options.checkpoint_path)
    assert (verified.n_verified, verified.n_unknown, verified.faults) == (9, 0, [])
    exported = export_tree(options.store, tmp_path / "tree")
    assert (exported.n_images, exported.n_infos) == (9, 9)
    with pytest.raises(ValueError, match="is dead"):
        dataset.dvis.model_input(dataset.checkpoint.values[0], "relu", 2)


def test_dead_units_are_measured_again_only_when_asked(options: VisualizeOptions) -> None:
    options = dead_run(options)
    visualize(options)
    assert visualize(options).n_measured == 0
    assert visualize(replace(options, restarts=2)).n_measured == 3
    assert visualize(replace(options, restarts=2)).n_measured == 0
    assert visualize(replace(options, restarts=2, overwrite=True)).n_measured == 12


def test_a_unit_that_dies_leaves_no_image_behind(options: VisualizeOptions) -> None:
    write_checkpoints(Path(options.checkpoint_path[0]), 3)
    plain = replace(options, layers=("relu",))
    visualize(plain)
    before = dvis.open(options.store).image.sel(layer="relu").values
    assert before[:, :4].any((0, 2, 3, 4))[0]
    dead_run(options)
    visualize(replace(plain, overwrite=True))
    dataset = dvis.open(options.store)
    assert not dataset.image.sel(layer="relu", channel=2).any()
    assert dvis.check_store(options.store) == []


def test_restarts_and_seeds_must_be_numbers_that_can_be(options: VisualizeOptions) -> None:
    for name in ("restarts", "number_of_seeds"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
            replace(options, **{name: 0})


def test_the_spread_is_stored_where_it_is_asked_for(options: VisualizeOptions) -> None:
    visualize(options)
    assert "restart_sd" not in dvis.open(options.store)
    more = replace(options, channels=(4, 5), restarts=2)
    visualize(more)
    dataset = dvis.open(options.store)
    assert np.isfinite(dataset.restart_sd.sel(channel=[4, 5])).all()
    assert dataset.restart_sd.sel(channel=[0, 1, 2, 3]).isnull().all()
    assert dvis.check_store(options.store) == []
