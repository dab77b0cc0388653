"""What a study's file may say, and where an error in it is."""

from pathlib import Path

import pytest

from dvis.cli import commands_for
from dvis.study.calls import Call, calls_of
from dvis.study.study_file import StudyError, read_study

GOOD = """\
model: tiny_models:net
checkpoint_path: [runs/1]
store: out/net.zarr
dataset: shapes
steps:
  - visualize:
      layers: [conv1, conv2]
      max-iterations: 3
      cross_check: false
  - respond: {layers: [conv1], n_images: 5, name: few}
  - respond:
      dataset: null
      feature_images: all
      layers: [conv1]
  - sae train: {layer: conv1, k: [2, 4], checkpoints: all}
  - llc estimate: {epsilon: 1e-4, draws: 20}
  - info
  - page: {out: out/page}
"""


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "study.yaml").write_text(text)
    return tmp_path / "study.yaml"


def good(tmp_path: Path) -> list[Call]:
    return calls_of(read_study(written(tmp_path, GOOD)), commands_for)


def errors(tmp_path: Path, text: str) -> list[str]:
    """What is said of a file, without its name."""
    path = written(tmp_path, text)
    with pytest.raises(StudyError) as raised:
        calls_of(read_study(path), commands_for)
    return [line.removeprefix(f"{path}, ") for line in str(raised.value).splitlines()]


def test_steps_are_the_commands_own_options(tmp_path: Path) -> None:
    features, few, crossed, sae, llc, info, page = good(tmp_path)
    assert features.options.layers == ("conv1", "conv2")
    assert features.options.settings.max_iterations == 3
    assert not features.options.cross_check
    assert features.options.checkpoint_path == (Path("runs/1"),)
    assert (few.options.dataset, few.options.n_images, few.name) == ("shapes", 5, "respond few")
    assert (crossed.options.dataset, crossed.options.feature_images) == (None, "all")
    assert (sae.options.store, sae.options.k) == (Path("out/net.zarr"), (2, 4))
    assert (llc.options.epsilon, llc.options.dataset) == ((1e-4,), "shapes")
    assert info.arguments["store"] == "out/net.zarr"
    assert page.arguments["out"] == Path("out/page")


def test_changed_options_reach_those_within_others(tmp_path: Path) -> None:
    *_, llc, _, _ = good(tmp_path)
    moved = llc.with_options(store=Path("elsewhere.zarr"))
    assert moved.options.store == Path("elsewhere.zarr")
    assert llc.options.store == Path("out/net.zarr")


def test_all_that_is_wrong_is_said_with_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("max-iterations: 3", "max_iteration: 3").replace("- info", "- inof")
    text = text.replace("n_images: 5", "n_images: five").replace("dataset: shapes", "datset: a")
    said = errors(tmp_path, text)
    lines = [int(each.split(":")[0].removeprefix("line ")) for each in said]
    assert lines == [8, 10, 17, 4]
    assert "max_iterations" in said[0]
    assert "n-images" in said[1]
    assert "info" in said[2]
    assert "dataset" in said[3]


def test_what_a_command_takes_by_its_place_has_the_name_that_its_help_has(tmp_path: Path) -> None:
    text = (
        "store: a.zarr\nsteps:\n  - steps: {file: steps.csv}\n  - ingest: {path: tree}\n"
        "  - note: {text: bird heads, layer: conv1, channel: 3}\n  - layers: {model: resnet18}\n"
        "  - plot: {kind: timeline, source: b.zarr, layer: conv1}\n  - notes: {run: None}\n"
    )
    calls = calls_of(read_study(written(tmp_path, text)), commands_for)
    steps, ingest, note, layers, plot, notes = (call.arguments for call in calls)
    assert (steps["store"], steps["file"]) == (Path("a.zarr"), Path("steps.csv"))
    assert (ingest["path"], ingest["store"]) == (Path("tree"), Path("a.zarr"))
    assert (note["store"], note["text"], note["channel"]) == (Path("a.zarr"), "bird heads", 3)
    assert layers["options"].model == "resnet18"
    assert plot["options"].source == "b.zarr"
    assert notes["run"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("- a", "holds no `option: value` lines"),
        ("model: a", "has no steps"),
        ("steps: {visualize: 3}", "steps are a list"),
        ("steps: [[a]]", "a step is one command"),
        ("steps:\n  - {visualize: {}, respond: {}}", "line 2: a step is one command"),
        ("steps:\n  - visualize: 3", "line 2: options of visualize are"),
        ("steps:\n  - visualize: {layers: {a: b}}", "give a word, a number or a list"),
        ("model: a\nmodel: b\nsteps: [info]", "line 2: model is there twice"),
        ("steps:\n  - study run: {}", "No step 'study run'"),
        ("steps:\n  - view", "No step 'view'"),
        ("steps:\n  - sae trian: {layer: a}", "Did you mean 'sae train'?"),
        ("steps:\n  - sae", "No step 'sae' in dvis sae. Steps: sae train, sae evaluate"),
        ("steps:\n  - sae track: {warm_start: true}", "No option 'warm_start' in sae track."),
        ("steps:\n  - page: {out: page}", "store"),
        ("x: !!python/object/apply:os.system [ls]\nsteps: [info]", "no step"),
    ],
)
def test_a_file_of_another_form_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(StudyError, match=str(path)) as raised:
        calls_of(read_study(path), commands_for)
    assert said in str(raised.value)


def test_no_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dvis study init"):
        read_study(tmp_path / "study.yaml")
