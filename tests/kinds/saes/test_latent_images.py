"""Feature images of latents: an encoder's rows are maximised as channels are."""

import pickle
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from planted_latents import MODEL, plant, plant_evaluation, reading
from tiny_models import transformer, write_checkpoints

import dvis
from dvis import measure
from dvis.cli import main
from dvis.info import describe
from dvis.kinds.features.measure.prepared import Prepared
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.read import default_variant
from dvis.kinds.features.verify import verify_store
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints, fingerprint
from dvis.models.directions import Directions, ReadOut
from dvis.sweep import place
from dvis.sweep.executors import SerialExecutor

pytestmark = pytest.mark.usefixtures("one_thread")
LAYER, VARIANT = "conv2", "latents-wide"
SETTINGS = feature_settings("default", {"max_iterations": 6, "min_iterations": 4})
ALIKE = ("image", "activation", "value_min", "seed", "stop_step", "loss", "neighbour_max")
ALIKE = (*ALIKE, "held_out_mean", "reference_mean", "reference_sd", "constant_max")
EYE = np.eye(4, 16)


@pytest.fixture
def asked(tmp_path: Path) -> VisualizeOptions:
    """Latents 0 and 3 of two checkpoints."""
    write_checkpoints(tmp_path / "run", 2)
    return VisualizeOptions(
        model=MODEL,
        checkpoint_path=(tmp_path / "run",),
        latents=("wide", "0", "3"),
        store=tmp_path / "net.zarr",
        workers=0,
        n_reference=4,
        settings=SETTINGS,
    )


def labels_of(options: VisualizeOptions) -> list[str]:
    return [file.label for file in find_checkpoints(options.checkpoint_path)]


def planted(options: VisualizeOptions, rows: Any = EYE, *bias: float, **how: Any) -> Path:
    """The store, with the same autoencoder at every checkpoint."""
    assert options.store is not None
    plant(options.store, LAYER, dict.fromkeys(labels_of(options), reading(rows, *bias)), **how)
    return options.store


def test_latent_that_is_a_channel_has_that_channels_images_to_the_bit(
    asked: VisualizeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last convolution computes one channel where that is all it needs, and rounds otherwise.
    monkeypatch.setattr(Prepared, "narrow", lambda _self, _trace: None)
    several = replace(asked, restarts=2)
    store = planted(several)
    assert visualize(several).n_measured == 4
    visualize(replace(several, latents=(), layers=(LAYER,), channels=(0, 3)))
    latents = dvis.open(store, variant=VARIANT).sel(channel=[0, 3]).load()
    channels = dvis.open(store, variant="average-0").sel(channel=[0, 3]).load()
    for name in (*ALIKE, "restart_sd"):
        np.testing.assert_array_equal(latents[name], channels[name], err_msg=name)
    assert latents.activation.notnull().all()
    assert latents.attrs["unit"] == "latent"
    assert latents.attrs["autoencoder"] == "wide"
    assert "before the threshold" in latents.attrs["activation_is"]
    assert latents.layer.values.tolist() == [LAYER]
    assert latents.n_channels.item() == 4
    # Those of latents came first, and do not stand for the run, also while the others are made.
    assert dvis.open(store).attrs["variant"] == "average-0"
    variants = dvis.contents(store).of("features")
    assert default_variant(variants, {"default_variant": VARIANT}).name == "average-0"


def test_activation_is_the_mean_code_before_the_threshold(asked: VisualizeOptions) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 16))
    store = planted(asked, rows, -0.5, 0.25)
    visualize(asked)
    ds = dvis.open(store, variant=VARIANT).load()
    one = reading(rows, -0.5, 0.25)
    for file in find_checkpoints(asked.checkpoint_path):
        model = load_model(MODEL, file, "cpu")
        for latent in (0, 3):
            image = ds.dvis.model_input(file.label, LAYER, latent).values
            with torch.no_grad():
                maps = model.conv2(
                    model.relu(model.bn1(model.conv1(torch.from_numpy(image)[None])))
                )
            x = maps[0].flatten(1).T.numpy()
            codes = (x - one.decoder_bias) @ one.encoder[latent] + one.encoder_bias[latent]
            found = float(ds.activation.sel(checkpoint=file.label, layer=LAYER, channel=latent))
            assert found == pytest.approx(codes.mean(), rel=1e-4)
    assert (ds.activation.sel(channel=[0, 3]) > ds.constant_max.sel(channel=[0, 3])).any()


def test_transformer_has_them_too_and_two_seeds_are_compared(tmp_path: Path) -> None:
    net, store = transformer(), tmp_path / "vit.zarr"
    layer, rows = "encoder.layers.encoder_layer_0", np.eye(14, 12)
    rows[12, :2] = 1  # more latents than channels, one of them a sum
    plant(store, layer, {"model": reading(rows)}, model="vit")
    given: dict[str, Any] = {"store": store, "n_reference": 4, "number_of_images": 2}
    given |= {"max_iterations": 5, "input_size": 16}
    of_latents = {**given, "latents": ("wide", [2, 12, 13]), "number_of_seeds": 2}
    report = measure.features(net, layers=[layer], workers=0, **of_latents)
    assert (report.n_measured, report.n_failed) == (3, 0)
    measure.features(net, layers=[layer], channels=[2], workers=0, **given)
    for variant, of_channels in ((f"{VARIANT}~1", "average-1"), (VARIANT, "average-0")):
        latents, channels = (dvis.open(store, variant=v).load() for v in (variant, of_channels))
        pair = latents.sel(channel=2), channels.sel(channel=2)
        np.testing.assert_array_equal(pair[0].image, pair[1].image)
        assert pair[0].activation == pair[1].activation
    asked = latents.sel(channel=[2, 12, 13])
    # A row of zeros has no gradient: dead, and not an image of nothing.
    assert asked.status.values.ravel().tolist() == [1, 1, 4]
    assert np.isfinite(asked.seed_similarity.values.ravel()).tolist() == [True, True, False]
    assert np.isfinite(asked.seed_similarity_null.sel(channel=2)).all()


def test_checkpoint_without_an_autoencoder_is_left_out_and_said(asked: VisualizeOptions) -> None:
    first, second = labels_of(asked)
    assert asked.store is not None
    plant(asked.store, LAYER, {second: reading(EYE)}, room=[first])
    report = visualize(asked)
    assert report.n_measured == 2
    assert f"1 checkpoint left out, without {VARIANT} of {LAYER}: {first}" in report.notes
    assert dvis.open(asked.store, variant=VARIANT).checkpoint.values.tolist() == [second]
    only_first = replace(asked, checkpoint_patterns=(first,))
    with pytest.raises(ValueError, match=f"no checkpoint that is asked for has {VARIANT}"):
        visualize(only_first)


def test_latents_that_never_fire_are_counted_where_they_are_evaluated(
    asked: VisualizeOptions,
) -> None:
    first, second = labels_of(asked)
    store = planted(asked)
    fires = {"frequency": np.array([0.0, 0.5, 0.5, 0.1])}
    plant_evaluation(store, LAYER, {first: fires, second: {"frequency": np.full(4, 0.2)}})
    said = f"latents of {LAYER} that never fire, as `dvis sae evaluate` found: 1 of 2 at {first}"
    notes = visualize(asked).notes
    assert said in notes
    assert "never fire" not in "".join(describe(store))  # which is of what stays so


def test_another_autoencoder_under_the_name_is_noticed_and_not_mixed(
    asked: VisualizeOptions,
) -> None:
    asked = replace(asked, cross_check=False, n_reference=0)
    store = planted(asked)
    visualize(asked)
    before = dvis.open(store, variant=VARIANT).load()
    assert visualize(asked).n_measured == 0
    changed = EYE.copy()
    changed[3, 5] = 1
    planted(asked, changed)
    report = visualize(asked)
    assert report.n_measured == 0  # kept as they are
    assert report.n_kept == 2
    assert "kept: 2 units of other weights, or of others of latents-wide" in report.lines()[-1]
    found = verify_store(store, MODEL, checkpoint_path=asked.checkpoint_path)
    assert found.n_of_other_weights == 2
    assert "another autoencoder" in found.reasons[0]
    assert visualize(replace(asked, overwrite=True)).n_measured == 2
    after = dvis.open(store, variant=VARIANT).load()
    np.testing.assert_array_equal(after.image.sel(channel=0), before.image.sel(channel=0))
    assert (after.activation.sel(channel=3) != before.activation.sel(channel=3)).all()


def test_stored_images_verify_and_what_cannot_be_is_said(asked: VisualizeOptions) -> None:
    asked = replace(asked, cross_check=False, n_reference=0)
    store = planted(asked, np.random.default_rng(0).normal(size=(4, 16)))
    visualize(asked)
    report = verify_store(store, MODEL, checkpoint_path=asked.checkpoint_path)
    assert (report.n_verified, report.faults, report.n_unknown) == (4, [], 0)
    assert dvis.check_store(store) == []
    row = ReadOut(numbers=(1,), rows=np.ones((1, 16), "f4"), offsets=np.zeros(1, "f4"))
    probe = Directions(name="probe", read_outs={(LAYER, ""): row})
    assert visualize(replace(asked, latents=()), directions=probe).n_measured == 2
    with pytest.raises(ValueError, match="channels is for channels"):
        visualize(replace(asked, latents=(), channels=(1,)), directions=probe)
    report = verify_store(store, MODEL, checkpoint_path=asked.checkpoint_path)
    assert (report.n_verified, report.n_unknown) == (4, 2)
    assert "units of directions-probe cannot be verified" in report.reasons[0]


def test_autoencoder_of_other_weights_is_not_of_the_checkpoint(asked: VisualizeOptions) -> None:
    files = {file.label: file.path for file in find_checkpoints(asked.checkpoint_path)}
    first, second = files
    planted(asked, weights={first: fingerprint(files[first]), second: 7})
    report = visualize(asked)
    assert report.n_measured == 2
    assert "1 autoencoder of other weights under the same label left out" in report.notes


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"latents": ("wide", "4")}, ValueError, "latent is 4; .* has 4 latents: 0 to 3"),
        ({"latents": ("wid", "0")}, KeyError, "Did you mean 'wide'"),
        ({"layers": ("conv1",)}, KeyError, "No layer 'conv1'.*conv2"),
        ({"latents": ("wide", "x")}, ValueError, "name and numbers of latents, such as wide 3 7"),
        ({"channels": (1,)}, ValueError, "channels is for channels"),
        ({"aggregation": "sum"}, ValueError, "aggregation sum is for channels"),
        ({"output_path": Path("out")}, ValueError, "output_path is for channels"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_made(
    asked: VisualizeOptions, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    store = planted(asked)
    with pytest.raises(error, match=message):
        visualize(replace(asked, **changes))
    assert dvis.contents(store).of("features") == []


class Travelling(SerialExecutor):
    """Sends what it is given through pickle, as another process gets it."""

    sizes: ClassVar[list[int]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        sent = pickle.dumps(args)
        self.sizes.append(len(sent))
        return super().submit(fn, *pickle.loads(sent), **kwargs)


def test_what_travels_is_small_and_gives_the_same(
    asked: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 16))
    store = planted(asked, rows)
    visualize(asked)
    other = replace(asked, store=tmp_path / "other" / "net.zarr")
    planted(other, rows)
    monkeypatch.setattr(place, "in_this_process", lambda: nullcontext((Travelling(), lambda: 1)))
    assert visualize(other).n_measured == 4
    assert Travelling.sizes
    assert max(Travelling.sizes) < rows.astype("f4").nbytes / 4
    here, there = (dvis.open(path, variant=VARIANT).load() for path in (store, other.store))
    for name in ALIKE:
        np.testing.assert_array_equal(here[name], there[name], err_msg=name)


def test_all_of_many_latents_are_made_when_asked_for(asked: VisualizeOptions) -> None:
    planted(asked, np.ones((1001, 16)))
    with pytest.raises(
        ValueError, match="no latents of wide are named, and all are 1,001 in 1 layer: 2,002 images"
    ):
        visualize(replace(asked, latents=("wide",)))


def test_rows_of_another_model_are_refused(asked: VisualizeOptions) -> None:
    planted(asked, np.eye(4, 9))
    with pytest.raises(ValueError, match="take 9 channels, but the model's layer gives 16"):
        visualize(asked)


def test_command_makes_draws_and_shows_them(
    asked: VisualizeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = planted(asked, warm_start=True)
    of_run = ["--model", MODEL, "--checkpoint-path", str(tmp_path / "run"), "--store", str(store)]
    made = ["--layers", LAYER, "--latents", "wide", "0", "3", "--n-reference", "4"]
    with pytest.raises(SystemExit) as end:
        main(["visualize", *of_run, *made, "--workers", "0", "--max-iterations", "4"])
    assert end.value.code == 0
    assert f"{VARIANT}: 4 units measured" in capsys.readouterr().out
    for picture, of_unit in (
        ("timeline", ["--channel", "3"]),
        ("development", ["--channel", "3"]),
        ("grid", []),
    ):
        out = tmp_path / f"{picture}.png"
        of_picture = [picture, str(store), "--out", str(out), "--variant", VARIANT]
        with pytest.raises(SystemExit) as end:
            main(["plot", *of_picture, "--layer", LAYER, *of_unit])
        assert end.value.code == 0, capsys.readouterr().err
        assert out.stat().st_size > 1000
    of_images = ["--feature-images", "last", "--variant", VARIANT, "--layers", LAYER]
    with pytest.raises(SystemExit) as end:
        main(["respond", *of_run, *of_images])
    assert "images of latents, which are no channels" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["export", str(store), str(tmp_path / "tree")])
    assert VARIANT in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["info", str(store)])
    assert VARIANT in capsys.readouterr().out


def test_images_of_latents_that_are_others_have_no_births(
    asked: VisualizeOptions, tmp_path: Path
) -> None:
    store = planted(asked, warm_start=False)
    visualize(replace(asked, cross_check=False))
    ds = dvis.open(store, variant=VARIANT)
    for analysis in ("births", "rank", "trajectory"):
        with pytest.raises(ValueError, match="dvis sae train --warm-start"):
            getattr(ds.dvis, analysis)()
    assert ds.dvis.timeline(LAYER, 3) is not None
    dvis.export_page(store, tmp_path / "page")
    assert (tmp_path / "page" / "index.html").is_file()
    planted(replace(asked, store=tmp_path / "warm.zarr"), warm_start=True)
    visualize(replace(asked, store=tmp_path / "warm.zarr", cross_check=False))
    matched = dvis.open(tmp_path / "warm.zarr", variant=VARIANT)
    assert matched.dvis.births().state.sel(channel=3).item() in ("born", "never", "unstable")
