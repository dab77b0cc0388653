"""Influence measured into a store: by the command, from Python, of latents, and refused."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from planted_latents import plant, reading
from tiny_influence import LAYERS, influence_of, measurement_of, options_of
from tiny_models import seeded_net, transformer, write_checkpoints
from torch import nn

import dvis
from dvis import measure
from dvis.cli import main
from dvis.kinds.influence.measure.influence import InfluenceMeasurement
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.influence.plan import measure_influence
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints
from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.data.transform import InputTransform
from dvis.models.recalibration import Recalibrated

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = "with 12 images it cannot be told well how reliable"


def loaded(options: InfluenceOptions, name: str | None = None) -> xr.Dataset:
    assert options.store is not None
    return dvis.influence(options.store, name=name).load()


def shapes(n_images: int = 12) -> FixedImages:
    images = load_images("shapes", split="val", size=16, n_samples=n_images)
    return FixedImages.of(images, InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3))


def direct(options: InfluenceOptions, label: str, **how: Any) -> xr.Dataset:
    """The same of one checkpoint, without a store."""
    (file,) = [f for f in find_checkpoints(options.checkpoint_path) if f.label == label]
    model = load_model(options.model, file, "cpu")
    by_target = how.pop("by_target", False)
    how = {"images": shapes(), "batch_size": 256, **how}
    if by_target:
        how["method"] = "attribution"
    return influence_of(model, *LAYERS, measurement=measurement_of(**how), by_target=by_target)


def test_a_store_has_what_was_measured(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    report = measure_influence(options)
    n_parts = 8 * 2 + 16
    assert (report.n_measured, report.n_failed) == (2 * n_parts, 0)
    assert any(FEW in note for note in report.notes)
    ds = loaded(options)
    assert ds.layer_from.values.tolist() == ds.layer_to.values.tolist() == list(LAYERS)
    assert ds.is_cut.values.tolist() == [1, 1, -1]  # nothing comes after the last
    assert ds.n_channels_from.values.tolist() == [8, 16, 4]
    assert ds.attrs["method"] == "ablation"
    assert '"n_images": 12' in ds.attrs["images"]
    for label in ds.checkpoint.values.tolist():
        expected = direct(options, label)
        for name in ("strength", "share", "direction", "half_difference"):
            found = ds[name].sel(checkpoint=label, layer_from=["bn1", "conv2"])
            found = found.sel(layer_to=["conv2", "fc"])
            np.testing.assert_allclose(found, expected[name], rtol=2e-3, atol=1e-6)
        sd = expected.response_sd.isel(layer_from=0, channel_from=0)
        at = ds.response_sd.sel(checkpoint=label, layer_to=["conv2", "fc"])
        np.testing.assert_allclose(at, sd, rtol=1e-5)
    assert (ds.status.sel(layer_from="fc") == 0).all()
    assert ds.strength.sel(layer_from="fc").isnull().all()
    assert dvis.check_store(tmp_path / "net.zarr") == []
    assert measure_influence(options).n_measured == 0


def test_attribution_and_chosen_targets_lie_beside_it(tmp_path: Path) -> None:
    options = options_of(tmp_path, method="attribution", to=("fc:1,3", "conv2"))
    assert measure_influence(options).n_failed == 0
    ds = loaded(options)
    assert ds.attrs["name"] == "shapes-val-attribution-running-to-fc-1-3-conv2"
    to_fc = ds.strength.sel(layer_from="bn1", layer_to="fc", channel_from=range(8))
    assert np.isfinite(to_fc.sel(channel_to=[1, 3])).all()
    assert to_fc.sel(channel_to=[0, 2]).isnull().all()
    expected = direct(options, ds.checkpoint.values[1], by_target=True)
    found = ds.strength.isel(checkpoint=1).sel(layer_from="bn1", layer_to="conv2")
    wanted = expected.strength.sel(layer_from="bn1", layer_to="conv2")
    np.testing.assert_allclose(found.sel(channel_from=range(8)), wanted[:8], rtol=2e-3)
    assert dvis.check_store(tmp_path / "net.zarr") == []
    with pytest.raises(
        ValueError, match=r"The influence .* was made with other settings.*method.* replace it$"
    ):
        measure_influence(replace(options, method="ablation", name=ds.attrs["name"]))


def test_some_channels_first_and_the_others_later(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    measure_influence(replace(options, channels=(1, 3), layers=("bn1", "conv2")))
    assert int((loaded(options).status == 1).sum()) == 2 * 2
    measure_influence(options)
    other = options_of(tmp_path, name="at once")
    measure_influence(other)
    some, whole = loaded(options, "shapes-val-running"), loaded(other, "at once")
    xr.testing.assert_equal(some, whole)


def test_two_workers_give_the_same_as_one(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    measure_influence(options)
    measure_influence(replace(options, name="by two", workers=None))
    xr.testing.assert_equal(loaded(options, "shapes-val-running"), loaded(options, "by two"))


def test_batch_norm_is_recalibrated_on_more_images_of_the_set(tmp_path: Path) -> None:
    options = options_of(tmp_path, batch_norm="recalibrate")
    report = measure_influence(options)
    assert not any("statistics of batch norm" in note for note in report.notes)
    ds = loaded(options)
    label = ds.checkpoint.values[0]
    expected = direct(options, label, recalibrated=Recalibrated(shapes(256)))
    found = ds.strength.sel(checkpoint=label, layer_from="bn1", layer_to="fc")[:8]
    wanted = expected.strength.sel(layer_from="bn1", layer_to="fc")[:8]
    np.testing.assert_allclose(found, wanted, rtol=2e-3)
    measure_influence(replace(options, batch_norm="running"))
    running = loaded(options, "shapes-val-running").strength[0, 0, :8, 2]
    assert not np.allclose(running, found, rtol=0.05, equal_nan=True)


def test_files_are_all_that_batch_norm_has(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(9):
        picture = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    files = tuple(sorted(tmp_path.glob("*.png")))
    options = options_of(
        tmp_path, dataset=None, n_images=None, images=files, batch_norm="recalibrate"
    )
    report = measure_influence(options)
    assert any("statistics of batch norm are of 9 images" in note for note in report.notes)
    with pytest.raises(ValueError, match=r"there are 7 images.*needs 8"):
        measure_influence(replace(options, images=files[:7]))


def test_a_callers_model_and_its_states(tmp_path: Path) -> None:
    net = seeded_net(0).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    states = {f"step_{i}": seeded_net(i).state_dict() for i in range(2)}
    store = tmp_path / "own.zarr"
    told: dict[str, Any] = {"layers": ["bn1", "fc"], "noise": 10, "input_size": 16}
    report = measure.influence(net, states, store=store, workers=0, **told)
    assert (report.n_measured, report.n_failed) == (2 * 8, 0)
    ds = dvis.influence(store)
    assert ds.checkpoint.values.tolist() == ["step_0", "step_1"]
    assert ds.attrs["name"] == "noise-10-seed-0"
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(KeyError, match="Did you mean 'layers'"):
        measure.influence(net, states, layer="bn1")


def test_a_factory_of_a_file_and_a_checkpoint_of_data_parallel(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "run", 1)
    plain = options_of(tmp_path)
    state = nn.DataParallel(seeded_net(0)).state_dict()
    (path,) = (tmp_path / "run").iterdir()
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "model_state_dict": state}, path)
    assert measure_influence(plain).n_failed == 0
    found = loaded(plain).strength.values
    expected = direct(replace(plain), loaded(plain).checkpoint.values[0]).strength
    np.testing.assert_allclose(found[0, :2, :, 1:], expected, rtol=2e-3, atol=1e-6)


def test_a_vision_transformer(tmp_path: Path) -> None:
    torch.save(transformer().state_dict(), tmp_path / "step_1.pth")
    layers = [f"encoder.layers.encoder_layer_{i}" for i in (0, 1)]
    report = measure.influence(
        transformer,
        tmp_path / "step_1.pth",
        layers=[*layers, "heads"],
        noise=8,
        input_size=16,
        store=tmp_path / "vit.zarr",
        workers=0,
    )
    assert (report.n_measured, report.n_failed) == (12 * 2 + 12, 0)
    ds = dvis.influence(tmp_path / "vit.zarr")
    assert ds.is_cut.sel(layer_from=layers).values.tolist() == [1, 1]


def test_latents_are_sources_and_targets(tmp_path: Path) -> None:
    options = options_of(tmp_path, latents="wide", batch_norm="running")
    labels = [file.label for file in find_checkpoints(options.checkpoint_path)]
    eye = np.eye(16, dtype=np.float32)
    both = np.concatenate([eye, -eye])  # a latent for each sign of each channel
    plant(tmp_path / "net.zarr", "conv2", {labels[0]: reading(both)}, room=labels)
    report = measure_influence(options)
    ds = loaded(options)
    name = "conv2~wide"
    assert ds.layer_from.values.tolist() == ["bn1", "conv2", name, "fc"]
    assert ds.n_channels_to.sel(layer_to=name) == 32
    # As a target a latent of a channel's positive part is that part's mean.
    at = ds.isel(checkpoint=0)
    model = load_model(options.model, find_checkpoints(options.checkpoint_path)[0], "cpu")
    measurement = InfluenceMeasurement(
        images=shapes(), recalibrated=Recalibrated(shapes(), "running")
    )
    rectified = influence_of(Rectified(model), "bn1", "positive", measurement=measurement)
    np.testing.assert_allclose(
        at.strength.sel(layer_from="bn1", layer_to=name)[:8, :16],
        rectified.strength.sel(layer_from="bn1", layer_to="positive")[:8, :16],
        rtol=2e-3,
    )
    # Both signs of a channel without their means are the channel without its mean: of linear
    # influence the changes add up, and shares with them.
    shares = at.share.sel(layer_to="fc")[:, :, :4]
    assert np.isfinite(shares.sel(layer_from=name)).all()
    # There is none at the second checkpoint: that is said, and the rest is there.
    assert report.n_failed == 8 + 32
    assert any(f"there is no autoencoder for {name}" in note for note in report.notes)
    others = ds.isel(checkpoint=1).strength.sel(layer_from="bn1", layer_to=["conv2", "fc"])
    assert np.isfinite(others[:8, 1, :4]).all()


class Rectified(nn.Module):
    """A network, of which the positive part of conv2 is looked at."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2 = net.conv1, net.bn1, net.conv2
        self.positive = nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.positive(self.conv2(torch.relu(self.bn1(self.conv1(images)))))
        return out


def test_a_latent_ablated_is_the_output_less_its_code_along_its_row() -> None:
    from dvis.kinds.influence.measure.nodes import Latents
    from dvis.models.hooks import LayerOutput

    rng = np.random.default_rng(0)
    one = reading(rng.normal(size=(6, 4)), 0.1, 0.2)
    for shape, dim in (((3, 4, 2, 2), 1), ((3, 5, 4), 2), ((3, 4), 1)):
        output = LayerOutput(depth=0, n_calls=1, shape=shape, channel_dim=dim)
        node = Latents(layer="a", output=output, autoencoder=one)
        x = torch.randn(shape, dtype=torch.float64)
        rows = x.movedim(dim, -1)
        codes = torch.from_numpy(one.encode(rows.numpy()))
        mean = codes.reshape(-1, 6).double().mean(0)
        copies = node.without(x, torch.tensor([2, 5]), mean[[2, 5]], None)
        for place, latent in enumerate((2, 5)):
            along = torch.from_numpy(one.decoder[latent]).double()
            expected = rows - (codes[..., latent, None] - mean[latent]) * along
            torch.testing.assert_close(
                copies[1 + place], expected.movedim(-1, dim), rtol=0, atol=1e-5
            )
        means = codes.reshape(3, -1, 6).mean(1).double()
        torch.testing.assert_close(node.means(x), means, rtol=0, atol=1e-6)


def test_the_plan_writes_nothing_and_says_what_it_would_be(tmp_path: Path) -> None:
    options = options_of(tmp_path, plan=True)
    notes = measure_influence(options).notes
    assert not (tmp_path / "net.zarr").exists()
    assert notes[0].startswith("bn1: 8 sources x 20 targets: 160 pairs")
    assert notes[1].startswith("conv2: 16 sources x 4 targets: 64 pairs")
    assert "224 pairs" in notes[-1]
    assert "3.58 kB" in notes[-1]  # 224 pairs, four numbers of two bytes, two checkpoints
    assert "nothing was written" in notes[-1]
    one = replace(options, checkpoint_patterns=("*train_0*",), batch_norm="recalibrate")
    *rows, total = measure_influence(one).notes
    assert [row.partition(":")[0] for row in rows] == ["bn1", "conv2", "statistics of batch norm"]
    passes = [float(re.search(r"([\d.e+-]+) forward passes", each)[1]) for each in (*rows, total)]
    assert sum(passes[:-1]) == pytest.approx(passes[-1], rel=0.02)  # three digits are shown
    assert "at 1 checkpoint " in total
    onto = measure_influence(replace(options, method="attribution", to=("fc:1",))).notes
    assert onto[0].startswith("onto fc: 24 sources x 1 target: 24 pairs")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoints(tmp_path / "run", 1)
    told = ["--model", "tiny_models:net", "--checkpoint-path", str(tmp_path / "run")]
    told += ["--layers", "bn1", "fc", "--noise", "8", "--workers", "0"]
    told += ["--store", str(tmp_path / "net.zarr")]
    with pytest.raises(SystemExit) as ended:
        main(["influence", *told])
    assert ended.value.code == 0
    assert "noise-8-seed-0: 8 sources measured, 0 failed" in capsys.readouterr().out
    assert dvis.influence(tmp_path / "net.zarr").sizes["checkpoint"] == 1


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"layers": ("bn1", "conv9")}, KeyError, "No layer 'conv9'.*Did you mean"),
        ({"layers": ("bn1", "relu", "fc")}, ValueError, "'relu' runs 2 times in a pass"),
        ({"layers": ("fc",)}, ValueError, "none of fc comes after fc; give two layers"),
        ({"channels": (9,)}, ValueError, "channel is 9; bn1 has 8 channels: 0 to 7"),
        ({"to": ("fc:4",)}, ValueError, "to is fc:4; fc has 4 channels: 0 to 3"),
        ({"to": ("fcc",)}, KeyError, "No layer 'fcc'.*Did you mean 'fc'"),
        ({"latents": "wide"}, (ValueError, KeyError, FileNotFoundError), "(?i)no.*store"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, changes: dict[str, Any], error: Any, text: str
) -> None:
    with pytest.raises(error, match=text):
        measure_influence(options_of(tmp_path, **changes))
    assert not (tmp_path / "net.zarr").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dataset": None}, "no images given; give one of dataset, images, noise"),
        ({"noise": 8}, "dataset and noise given"),
        ({"dataset": None, "noise": 8}, "n_images goes with dataset, not with noise"),
        ({"n_images": 7}, "n_images is 7; it must be at least 8"),
        ({"layers": ()}, "no layers given"),
        ({"to": ("fc:x",)}, "to is 'fc:x'; give each layer once"),
        ({"method": "attribution", "value": "resample"}, "resample does not go with attribution"),
        ({"method": "edges", "to": ("fc",)}, "to does not go with edges"),
        ({"channels": (-1,)}, "channel is -1"),
        ({"name": "a/b"}, "give one without a slash"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        options_of(tmp_path, **changes)


def test_a_layer_without_channels_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Unflatten(1, (4, 1, 7, 7)))
    with pytest.raises(ValueError, match=r"layer '2'.*gives no channels"):
        measure.influence(
            model, layers=["0", "2"], noise=8, input_size=9, store=tmp_path / "s.zarr", workers=0
        )


def test_dead_units_are_said_once_a_layer(tmp_path: Path) -> None:
    states = {f"step_{i}": seeded_net(i).state_dict() for i in range(3)}
    states["step_0"]["fc.weight"][:] = 0
    states["step_1"]["fc.weight"][2] = 0
    for name in ("weight", "bias"):
        states["step_1"][f"bn1.{name}"][4] = 0
    given: dict[str, Any] = {"layers": ["bn1", "conv2", "fc"], "noise": 10, "workers": 0}
    given |= {"input_size": 16, "batch_norm": "running", "store": tmp_path / "own.zarr"}
    report = measure.influence(seeded_net(0), states, **given)
    assert [note for note in report.notes if "dead" in note] == [
        "5 of 12 targets of fc over all checkpoints (all at step_0) are dead: what answers the "
        "same to all images cannot be influenced",
        "1 of 24 sources of bn1 over all checkpoints is without any effect: dead, or nothing of "
        "it reaches conv2",
        # Those that batch norm's offset holds below 0, where fc is not dead itself.
        "12 of 32 sources of conv2 over all checkpoints are without any effect: dead, or nothing "
        "of it reaches fc",
    ]
    given["store"] = tmp_path / "one.zarr"
    one = measure.influence(seeded_net(0), {"step_0": states["step_0"]}, **given)
    assert one.notes[-1].startswith("4 of 4 targets of fc (all at step_0) are dead: what answers")


def test_weights_that_are_not_finite_fail_alone(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    path = sorted((tmp_path / "run").iterdir())[1]
    saved = torch.load(path, weights_only=True)
    saved["model_state_dict"]["fc.weight"][:] = float("nan")
    torch.save(saved, path)
    report = measure_influence(options)
    assert report.n_failed == 8 + 16
    ds = loaded(options)
    assert (ds.status.isel(checkpoint=1).sel(layer_from="bn1", layer_to="conv2")[:8] == 1).all()
    assert (ds.status.isel(checkpoint=1).sel(layer_to="fc", layer_from="conv2") == 3).all()
    assert dvis.check_store(tmp_path / "net.zarr") == []


def test_check_finds_strengths_that_are_lost(tmp_path: Path) -> None:
    import zarr

    options = options_of(tmp_path, n_checkpoints=1)
    measure_influence(options)
    group = zarr.open_group(tmp_path / "net.zarr", mode="r+")
    (name,) = [n for n, _ in group["checkpoints/influence"].groups()]
    group[f"checkpoints/influence/{name}/strength"][0, 0, 3, 2] = np.nan
    (fault,) = dvis.check_store(tmp_path / "net.zarr")
    assert "has no strength onto targets that vary" in str(fault)
    group[f"checkpoints/influence/{name}/response_sd"][0, 2] = np.nan
    assert any("no response_sd" in str(f) for f in dvis.check_store(tmp_path / "net.zarr"))


def test_edges_are_measured_by_the_same_command(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "run", 2)
    command = ["influence", "--method", "edges", "--model", "tiny_models:net", "--noise", "16"]
    command += ["--checkpoint-path", str(tmp_path / "run"), "--workers", "0"]
    command += ["--layers", "conv2", "--store", str(tmp_path / "net.zarr")]
    with pytest.raises(SystemExit, match="0"):
        main(command)
    shares = dvis.edges(tmp_path / "net.zarr").share
    np.testing.assert_allclose(shares.sum("input_channel"), 1, atol=5e-3)
    with pytest.raises(ValueError, match="plan does not go with edges"):
        InfluenceOptions(model="tiny_models:net", method="edges", noise=16, plan=True)
