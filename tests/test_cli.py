"""The commands as people type them: what they print, write and exit with."""

import inspect
import itertools
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from trees import CHECKPOINTS, read_tree, write_tree, write_unit

import dvis
from dvis import cli
from dvis.commands.plot import PlotOptions, pictures
from dvis.kinds.features import pictures as feature_pictures

REPOSITORY = Path(__file__).parent.parent


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `dvis` with the arguments."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_tree(tmp_path, CHECKPOINTS[:3])


def test_script_ingests_a_tree_word_for_word(tree: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "scripts" / "ingest.py")]
    for said in ("18 units read, 0 unchanged", "0 units read, 18 unchanged"):
        ended = subprocess.run(
            [*script, "feature_images/resnet18"], capture_output=True, text=True, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout
    assert dvis.open(tmp_path / "stores" / "resnet18.zarr").sizes["checkpoint"] == 3


def test_ingest_prints_a_table_and_the_problems(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "ingest", str(tree))
    assert code == 0
    assert out.splitlines()[1].split() == [
        *("run", "variant", "checkpoints", "layers"),
        *("complete", "incomplete", "failed", "dead"),
    ]
    assert out.splitlines()[3].split() == [
        "checkpoints",
        "average-0",
        "3",
        "2",
        "18",
        "0",
        "0",
        "0",
    ]
    jpg = tree / "checkpoints" / CHECKPOINTS[0] / "layer_layer1_channel_7_average.jpg"
    write_unit(jpg.parent, channel=7, jpg=b"\xff\xd8")
    code, out, _ = run(capsys, "ingest", str(tree))
    assert code == 0
    assert "1 problem:" in out
    assert jpg.name in out
    assert run(capsys, "ingest", str(tree), "--strict")[0] == 1
    _, out, _ = run(capsys, "info", "stores/resnet18.zarr")
    assert jpg.name in out


def test_problems_of_a_large_import_are_cut_on_the_screen(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for channel in range(30):
        write_unit(tree / "checkpoints" / "full", "conv1", channel, jpg=b"\xff\xd8")
    _, out, _ = run(capsys, "ingest", str(tree))
    assert "and 10 more: dvis info stores/resnet18.zarr" in out
    _, out, _ = run(capsys, "info", "stores/resnet18.zarr")
    assert sum("conv1_channel" in line for line in out.splitlines()) == 30


def test_check_exits_with_one_on_faults(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "ingest", str(tree))
    store = Path("stores/resnet18.zarr")
    assert run(capsys, "check", str(store))[0] == 0
    block = next(path for path in (store / "checkpoints").rglob("image/c/**/*") if path.is_file())
    block.write_bytes(b"")
    code, out, _ = run(capsys, "check", str(store), "--fix")
    assert code == 1
    assert "9 units marked failed" in out
    run(capsys, "ingest", str(tree))
    assert run(capsys, "check", str(store))[0] == 0


def test_export_writes_the_tree_again(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "ingest", str(tree))
    code, out, _ = run(capsys, "export", "stores/resnet18.zarr", "out")
    assert code == 0
    assert "18 jpg files, 18 info.json files" in out
    assert read_tree(Path("out/resnet18")) == read_tree(tree)


def test_compact_says_that_an_import_is_compact(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "ingest", str(tree))
    assert "is compact already" in run(capsys, "compact", "stores/resnet18.zarr")[1]


@pytest.mark.parametrize("kind", ["trajectory", "timeline", "grid"])
def test_plot_of_a_tree_imports_it_first(
    tree: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    code, out, err = run(
        capsys, "plot", kind, str(tree), "--layer", "layer1", "--channel", "1", "--out", "p.png"
    )
    assert code == 0, err
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert Path("stores/resnet18.zarr").is_dir()
    assert out.splitlines()[-1] == "p.png"


@pytest.mark.parametrize(
    ("kind", "strays", "said"),
    [
        ("timeline", ["--checkpoint", "full"], "timeline takes no --checkpoint; leave it out"),
        ("trajectory", ["--responses", "a"], "trajectory takes no --name; leave it out"),
        ("grid", ["--yscale", "log"], "grid takes no --yscale; leave it out"),
        ("heatmap", ["--max-images", "3"], "heatmap takes no --max-images; leave it out"),
        ("cross-response", ["--neuron", "3,4"], "cross-response takes no --neuron; leave it out"),
        (
            "timeline",
            ["--x", "step", "--xscale", "log"],
            "timeline takes no --x and no --xscale; leave them out",
        ),
    ],
)
def test_plot_refuses_options_that_a_kind_has_not(
    capsys: pytest.CaptureFixture[str], kind: str, strays: list[str], said: str
) -> None:
    # Of a store that is not there: it is said before anything is opened.
    code, _, err = run(capsys, "plot", kind, "nowhere", "--out", "p.png", *strays)
    assert (code, err) == (2, f"dvis: {said}\n")


@pytest.mark.parametrize("kind", pictures())
def test_plot_has_the_options_of_what_it_draws(kind: str) -> None:
    picture = pictures()[kind][1]
    function = feature_pictures.grid if kind == "grid" else picture.draw
    parameters = {name.removesuffix("s") for name in inspect.signature(function).parameters}
    options = {field.name.removesuffix("s") for field in fields(PlotOptions)}
    expected = {"layer", "channel", *(name.removesuffix("s") for name in picture.options)}
    assert parameters & options == expected


# Pictures of what a sample tree does not have.
OF_MEASURED = (
    *("cross-response", "selectivity", "seeds", "top-images", "top-image-timeline"),
    *("sae-frontier", "sae-training", "latent-frequencies", "latent-sheet", "chimera"),
    *("latent-selectivity", "latent-map", "map"),
    *("accuracy-over-training", "accuracy-by-layer"),
    *("attributes", "attribute-units", "attribute-pairs"),
    *("sae-tracks", "track-film", "chain", "chain-tree"),
    *("circuit-film", "circuit", "edge-heatmap", "influence-matrix", "event-alignment"),
)


@pytest.mark.parametrize("kind", [kind for kind in pictures() if kind not in OF_MEASURED])
def test_plot_draws_with_every_option_of_a_kind(
    sample_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    values = {
        "checkpoint": str(dvis.open(sample_store).checkpoint.values[5]),
        "variable": "activation",
        "x": "step",
        "xscale": "log",
        "yscale": "log",
        "max_images": "3",
    }
    given = [(f"--{name.replace('_', '-')}", values[name]) for name in pictures()[kind][1].options]
    out = tmp_path / "p.png"
    at = ("--layer", "layer4", "--channel", "2", "--variant", "average-0", "--out", str(out))
    code, _, err = run(capsys, "plot", kind, str(sample_store), *at, *itertools.chain(*given))
    assert (code, err) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_plot_takes_one_unit_where_one_is_drawn(
    sample_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--layer", "layer4", "--channel", "1", "2", "--out", str(tmp_path / "p.png"))
    said = run(capsys, "plot", "development", str(sample_store), *at)[2]
    assert "give one channel, not 2" in said
    assert not (tmp_path / "p.png").exists()
    assert run(capsys, "plot", "timeline", str(sample_store), *at)[0] == 0
    assert (tmp_path / "p.png").exists()


def test_no_noise_is_too_little(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "respond", "--model", "resnet18", "--noise", "0")
    assert code == 2
    assert "noise is 0; it must be at least 1" in err


def test_plot_finds_the_images_of_a_neuron(
    sample_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "p.png")
    at = ("plot", "grid", str(sample_store), "--layer", "layer2", "--out", out)
    assert run(capsys, *at, "--neuron", "3,4")[0] == 0
    code, _, err = run(capsys, *at, "--neuron", "3,5")
    assert code == 2
    assert "Did you mean 'neuron_3_4-0'" in err
    assert "a row and a column" in run(capsys, *at, "--neuron", "x")[2]


def test_mistakes_are_one_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "ingest", str(tree))
    store = "stores/resnet18.zarr"
    for arguments, said in (
        (("ingest", "nowhere"), "No folder nowhere"),
        (("info", "stores/resnet19.zarr"), "Did you mean 'resnet18.zarr'"),
        (
            ("plot", "timeline", store, "--layer", "layr1", "--out", "p.png"),
            "Did you mean 'layer1'",
        ),
        (("plot", "grid", store, "--run", "checkpoint", "--out", "p.png"), "Did you mean"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert said in err
        assert len([line for line in err.splitlines() if line.startswith("dvis:")]) == 1
        assert "Traceback" not in err


def test_help_of_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for command, function in cli.commands_for([]).items():
        code, out, _ = run(capsys, command, "--help")
        assert code == 0
        assert str(function.__doc__).split(".")[0].split(",")[0].split(":")[0] in " ".join(
            out.split()
        )


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DVIS_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        cli.main(["ingest", "nowhere"])
