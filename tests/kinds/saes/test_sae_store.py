"""Sparse autoencoders in a store: trained on its activations, kept, gone on with, sent away."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from forked import Command, fill_the_disk, run_command
from tiny_activations import options_of, store_of

import dvis
from dvis.cli import main
from dvis.disk import StoreLockedError
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.measure.stored import autoencoder_at, export_sae, import_sae
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions

LAYER = "conv1"
WEIGHTS = ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with activations of two checkpoints."""
    options = options_of(tmp_path_factory.mktemp("saes"))
    keep_activations(options)
    return store_of(options)


@pytest.fixture
def store(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "net.zarr"))


def options_for(store: Path, **changes: Any) -> TrainOptions:
    given = {
        "store": store,
        "layer": LAYER,
        "checkpoints": ("all",),
        "k": (2,),
        "expansion": (2.0,),
        "tokens": "8k",
        "batch_size": 256,
        "log_every": 10,
    }
    return TrainOptions(**{**given, **changes})


def test_what_is_kept_is_what_training_on_the_rows_gives(store: Path) -> None:
    options = options_for(store)
    assert train_saes(options).n_measured == 2
    ds = dvis.saes(store, LAYER).load()
    assert ds.attrs["k"] == 2
    assert ds.sizes["latent"] == 2 * ds.sizes["channel"]
    for label in ds.checkpoint.values:
        rows = ActivationRows.open(store, LAYER, str(label), batch_size=256)
        steps = PassOptions(n_steps=options.n_steps, log_every=10)
        (plain,) = train(rows, [SaeOptions(k=2, expansion=2.0)], steps)
        at = ds.sel(checkpoint=label)
        for name in WEIGHTS:
            np.testing.assert_array_equal(at[name], getattr(plain.autoencoder, name))
        np.testing.assert_array_equal(at.fvu, plain.log["fvu"])
        np.testing.assert_array_equal(at.log_step, plain.log_step)
        kept = autoencoder_at(ds, str(label))
        batch = rows.batch(0)
        np.testing.assert_array_equal(kept.encode(batch), plain.autoencoder.encode(batch))
    assert (ds.fvu.isel(log_step=-1) < ds.fvu.isel(log_step=0)).all()
    assert (ds.step == dvis.activations(store, LAYER).step).all()


def test_a_second_run_trains_nothing_and_more_checkpoints_are_added(store: Path) -> None:
    assert train_saes(options_for(store, checkpoints=("last",))).n_measured == 1
    before = dvis.saes(store, LAYER).load()
    assert train_saes(options_for(store)).n_measured == 1
    assert train_saes(options_for(store)).n_measured == 0
    after = dvis.saes(store, LAYER).load()
    last = before.checkpoint.values[-1]
    assert after.sizes["checkpoint"] == 2
    for name in WEIGHTS:
        np.testing.assert_array_equal(after[name].sel(checkpoint=last), before[name][0])


def test_many_are_trained_over_one_pass(store: Path) -> None:
    options = options_for(store, checkpoints=("last",), k=(1, 2), seeds=(0, 1))
    assert train_saes(options).n_measured == 4
    names = ["batchtopk-k1-x2-seed0", "batchtopk-k1-x2-seed1"]
    names += ["batchtopk-k2-x2-seed0", "batchtopk-k2-x2-seed1"]
    found = [entry.name for entry in dvis.contents(store).of("saes")]
    assert found == [f"{LAYER}/{name}" for name in names]
    seeds = [dvis.saes(store, LAYER, name).decoder.load() for name in names[:2]]
    assert not np.array_equal(*seeds)
    with pytest.raises(ValueError, match=r"Which name\? .* is several times"):
        dvis.saes(store, LAYER)
    with pytest.raises(KeyError, match="Did you mean"):
        dvis.saes(store, LAYER, "batchtopk-k2-x2-seed2")


def test_a_warm_start_keeps_the_numbers_of_latents(store: Path) -> None:
    train_saes(options_for(store, name="warm", warm_start=True, tokens="4k"))
    train_saes(options_for(store, name="cold", tokens="4k"))

    def alike(name: str) -> float:
        decoder = dvis.saes(store, LAYER, name).decoder.load()
        first, last = (decoder.isel(checkpoint=i) for i in (0, -1))
        return float((first * last).sum("channel").mean())

    assert alike("warm") > alike("cold") + 0.1


def test_info_check_and_tree_know_them(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_saes(options_for(store))
    assert dvis.check_store(store) == []
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(store)])
    assert f"{LAYER}/batchtopk-k2-x2, 2 checkpoints, 2 complete" in capsys.readouterr().out
    tree = dvis.tree(store)
    assert tree[f"checkpoints/saes/{LAYER}/batchtopk-k2-x2"].decoder.shape[0] == 2
    assert dvis.open(store, kind="saes").sizes["checkpoint"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"layer": "conv9"}, KeyError, "Did you mean"),
        ({"activations": "other"}, KeyError, "shapes"),
        ({"checkpoints": ("nowhere",)}, KeyError, "nowhere"),
        ({"k": (99,)}, ValueError, "k is 99"),
        ({"batch_size": 10**6}, ValueError, "rows"),
        ({"device": "cuda:7"}, ValueError, "No device 'cuda:7' here"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    store: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        train_saes(options_for(store, **changes))
    assert dvis.contents(store).of("saes") == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tokens": "many"}, "number of rows"),
        ({"tokens": "0"}, "number of rows"),
        ({"k": ()}, "no k given"),
        ({"name": "a/b"}, "without a slash"),
        ({"seeds": (-1,)}, "seed is -1"),
    ],
)
def test_options_out_of_range(store: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        list(options_for(store, **changes).autoencoders())


def test_other_options_under_a_name_are_refused_or_replace(store: Path) -> None:
    train_saes(options_for(store, name="mine", checkpoints=("last",)))
    with pytest.raises(ValueError, match=r"k \(2 there, 3 asked for\)"):
        train_saes(options_for(store, name="mine", checkpoints=("last",), k=(3,)))
    train_saes(options_for(store, name="mine", checkpoints=("last",), k=(3,), overwrite=True))
    assert dvis.saes(store, LAYER).attrs["k"] == 3


def test_a_name_that_is_being_trained_elsewhere_is_refused(store: Path) -> None:
    held = (
        "import sys, time; from pathlib import Path; from dvis.disk import write_lock\n"
        "with write_lock(Path(sys.argv[1]), sys.argv[2]): print('held', flush=True); input()"
    )
    part = f"checkpoints/saes/{LAYER}/batchtopk-k2-x2"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(store), part],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLockedError):
            train_saes(options_for(store))
        holder.communicate("\n")
    assert train_saes(options_for(store)).n_measured == 2


def test_a_killed_command_goes_on_to_what_an_unbroken_one_gives(
    store: Path, measured: Path, tmp_path: Path
) -> None:
    unbroken = Path(shutil.copytree(measured, tmp_path / "unbroken.zarr"))
    arguments = ("--layer", LAYER, "--k", "2", "--expansion", "2", "--tokens", "20k")
    arguments += ("--batch-size", "256", "--save-every", "5", "--checkpoints", "all")
    states = store.with_name(f".{store.name}.training")
    process = Command("sae", "train", store, *arguments)
    end = time.monotonic() + 120
    while not any(states.glob("*/state-*.json")):
        assert process.poll() is None, process.ended()
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.ended().returncode == -signal.SIGKILL
    assert dvis.saes(store, LAYER).status.values.sum() < 2
    for each in (store, unbroken):
        assert run_command("sae", "train", each, *arguments).returncode == 0
    found, wanted = (dvis.saes(each, LAYER).load() for each in (store, unbroken))
    for name in (*WEIGHTS, "fvu", "l0"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert not states.exists()
    assert dvis.check_store(store) == []


def test_killed_when_some_of_a_pass_are_kept_goes_on_with_the_others(
    store: Path, measured: Path, tmp_path: Path
) -> None:
    unbroken = Path(shutil.copytree(measured, tmp_path / "unbroken.zarr"))
    several = options_for(store, k=(2, 3), checkpoints=("last",))
    states = store.with_name(f".{store.name}.training")
    aside = tmp_path / "aside"
    begun = Command(*_told(several))  # killed in the middle, its state is that of all
    end = time.monotonic() + 120
    while not any(states.glob("*/state-*.json")):
        assert begun.poll() is None, begun.ended()
        assert time.monotonic() < end
        time.sleep(0.005)
    begun.send_signal(signal.SIGKILL)
    begun.ended()
    shutil.copytree(states, aside)
    train_saes(replace(several, k=(2,), name="batchtopk-k2-x2"))
    shutil.copytree(aside, states, dirs_exist_ok=True)
    assert train_saes(several).n_measured == 1
    assert not states.exists()
    train_saes(replace(several, store=unbroken))
    for k in (2, 3):
        found, wanted = (
            dvis.saes(each, LAYER, f"batchtopk-k{k}-x2").load() for each in (store, unbroken)
        )
        for name in WEIGHTS:
            np.testing.assert_array_equal(found[name], wanted[name])


def _told(options: TrainOptions) -> list[str]:
    """The command with these options."""
    return [
        *("sae", "train", str(options.store), "--layer", options.layer, "--tokens", options.tokens),
        *("--k", *map(str, options.k), "--expansion", *map(str, options.expansion)),
        *("--checkpoints", *options.checkpoints, "--batch-size", str(options.batch_size)),
        *("--log-every", str(options.log_every), "--save-every", "5"),
    ]


def test_a_full_disk_ends_a_training_and_what_was_trained_is_kept(
    store: Path, measured: Path, tmp_path: Path
) -> None:
    unbroken = Path(shutil.copytree(measured, tmp_path / "unbroken.zarr"))
    arguments = ("--layer", LAYER, "--k", "2", "--expansion", "64", "--tokens", "2k")
    arguments += ("--batch-size", "256", "--save-every", "2", "--checkpoints", "all")
    # Weights take 16 kB, the state of a training more than a hundred.
    full = run_command("sae", "train", store, *arguments, before=partial(fill_the_disk, 60_000))
    assert full.returncode == 2, full.stderr
    assert "Make space and run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    assert dvis.check_store(store) == []
    for each in (store, unbroken):
        assert run_command("sae", "train", each, *arguments).returncode == 0
    found, wanted = (dvis.saes(each, LAYER).load() for each in (store, unbroken))
    for name in WEIGHTS:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_top_images_alone_are_nothing_to_train_on(store: Path, measured: Path) -> None:
    keep_activations(options_of(measured.parent, store=store, keep=("top:3",), name="tops"))
    assert train_saes(options_for(store)).n_measured == 2  # there is one to choose
    with pytest.raises(ValueError, match=r"Which name\? .*: shapes-val, tops"):
        dvis.activations(store, LAYER)
    kept = dvis.activations(store, LAYER, "tops")
    label = str(kept.checkpoint.values[0])
    assert kept.is_held_out.sum() == 23 - ActivationRows.open(store, LAYER, label).n_samples
    assert kept.label.dims == ("sample",)


def test_checkpoints_that_lack_activations_are_left_out_of_all(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    files = sorted((tmp_path / "run").iterdir())
    saved = torch.load(files[0], weights_only=True)
    for each in saved["model_state_dict"].values():
        each.fill_(torch.nan if each.is_floating_point() else 0)
    label = files[0].name.replace("train_0", "train_99")
    torch.save({**saved, "step": 99}, files[0].with_name(label))
    assert keep_activations(options).n_failed > 0
    report = train_saes(options_for(store_of(options)))
    assert report.n_measured == 2
    assert any("1 checkpoint left out" in note and label in note for note in report.notes)
    with pytest.raises(ValueError, match="are not there"):
        train_saes(options_for(store_of(options), checkpoints=(label,), name="bad"))


def test_out_to_saelens_files_and_in_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_saes(options_for(store))
    of_layer, folder = ("--layer", LAYER), (str(store), str(tmp_path / "out"))
    label = str(dvis.saes(store, LAYER).checkpoint.values[-1])
    for command in (
        ["export", *folder, *of_layer],
        ["import", *folder, *of_layer, "--name", "again", "--checkpoint", label],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(["sae", *command])
    again, first = (
        autoencoder_at(dvis.saes(store, LAYER, name)) for name in ("again", "batchtopk-k2-x2")
    )
    rows = ActivationRows.open(store, LAYER, label, batch_size=64).batch(0)
    np.testing.assert_allclose(again.encode(rows), first.encode(rows), rtol=1e-6)
    assert again.kind == "batchtopk"
    assert dvis.check_store(store) == []


def test_a_weight_that_is_no_number_is_a_fault_and_is_trained_again(store: Path) -> None:
    train_saes(options_for(store))
    path = f"checkpoints/saes/{LAYER}/batchtopk-k2-x2"
    zarr.open_group(store, path=path, mode="a")["decoder"][1, 3, 0] = np.nan
    (fault,) = dvis.check_store(store, fix=True)
    assert fault.message == "is complete, but not all of its decoder is finite"
    assert dvis.saes(store, LAYER).status.values.tolist() == [1, 3]
    assert train_saes(options_for(store)).n_measured == 1
    assert dvis.check_store(store) == []


def test_autoencoders_of_other_weights_are_kept_until_told_otherwise(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    keep_activations(options)
    store = store_of(options)
    train_saes(options_for(store))
    before = dvis.saes(store, LAYER).load()
    last = before.checkpoint.values[-1]
    shutil.copy(tmp_path / "run" / before.checkpoint.values[0], tmp_path / "run" / last)
    keep_activations(replace(options, overwrite=True))
    report = train_saes(options_for(store))
    assert report.n_measured == 0
    assert "kept: 1 autoencoder of other weights under the same label" in report.lines()[-1]
    for name in WEIGHTS:
        np.testing.assert_array_equal(dvis.saes(store, LAYER)[name], before[name])
    assert train_saes(options_for(store, overwrite=True)).n_measured == 1
    after = dvis.saes(store, LAYER).decoder.sel(checkpoint=last).values
    assert not np.array_equal(after, before.decoder.sel(checkpoint=last))


def test_a_group_that_another_writer_half_made_is_in_nobodys_way(store: Path) -> None:
    half = store / "checkpoints" / "saes" / LAYER / "other" / "encoder"
    half.mkdir(parents=True)
    assert train_saes(options_for(store)).n_measured == 2
    assert dvis.check_store(store) == []


def test_what_is_imported_fits_its_layer_and_checkpoint(
    store: Path, measured: Path, tmp_path: Path
) -> None:
    train_saes(options_for(store, checkpoints=("last",)))
    label = str(dvis.saes(store, LAYER).checkpoint.values[-1])
    export_sae(store, tmp_path / "out", LAYER)
    folder = tmp_path / "out"
    with pytest.raises(KeyError, match="No checkpoint 'last'"):
        import_sae(store, folder, LAYER, "back", checkpoint="last")
    with pytest.raises(ValueError, match="is of 8 channels, and conv2 has 16; give the layer"):
        import_sae(store, folder, "conv2", "back", checkpoint=label)
    import_sae(store, folder, LAYER, "back", checkpoint=label)
    assert dvis.saes(store, LAYER, "back").attrs["activations"] == "shapes-val"
    with pytest.raises(dvis.SchemaError, match="'back' of conv1 are not evaluated yet"):
        dvis.latents(store, LAYER, "back")
    keep_activations(options_of(measured.parent, store=store, n_images=12, name="few"))
    with pytest.raises(ValueError, match="Which name"):
        import_sae(store, folder, LAYER, "again", checkpoint=label)
    import_sae(store, folder, LAYER, "again", checkpoint=label, activations="few")
    assert dvis.saes(store, LAYER, "again").attrs["activations"] == "few"
    evaluate_saes(EvaluateOptions(store=store, layer=LAYER, name="again", split="all", n_top=2))
    assert dvis.latents(store, LAYER, "again").ev.notnull().all()
