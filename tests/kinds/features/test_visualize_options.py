"""Options of `dvis visualize` that cannot be, and what verifying nothing comes to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dvis.cli import main
from dvis.kinds.features.option_file import options_from
from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.features.plan import visualize

MODEL = "tiny_models:net"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": " "}, "run is empty"),
        ({"layers": ("",)}, "name is empty"),
        ({"init_images_dir": (Path("nowhere"),)}, "no folder nowhere"),
        ({"output_path": Path(__file__)}, "is a file"),
        ({"workers": 1, "scheduler": "tcp://x:1"}, "not both"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(
    options: VisualizeOptions, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        replace(options, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_iterations: lots", "max_iterations is 'lots'"),
        ("use_jitter: maybe", "use_jitter is 'maybe'"),
        ("", "holds nothing"),
        ("a: [", "is no YAML"),
        ("layerz: a", "layers"),
    ],
)
def test_an_option_file_with_mistakes_is_one_clear_error(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "options.yaml").write_text(text)
    with pytest.raises((ValueError, KeyError), match=message) as error:
        options_from(None, tmp_path / "options.yaml")
    assert "\n" not in str(error.value)


def test_an_option_file_takes_the_names_of_the_flags(tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("layer-names: [a]\nlearning-rate: 1\nchannels: [0, 2]")
    of_command, settings = options_from(None, tmp_path / "options.yaml")
    assert of_command == {"layers": ["a"], "channels": [0, 2]}
    assert settings.learning_rate == 1


def test_a_model_that_takes_other_images_is_one_clear_error(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    large = replace(options, layers=("conv2",), settings=replace(options.settings, use_gauss=True))
    wide = replace(large, settings=replace(large.settings, gauss_kernel_size=33))
    with pytest.raises(ValueError, match="gauss_kernel_size is 33, too wide"):
        visualize(wide)
    path = options.checkpoint_path[0] / "checkpoint_2024-03-25-00h00_epoch_0_train_0.pth.tar"
    content = torch.load(path, weights_only=True)
    content["input"] |= {"channels": 1, "mean": (0.5,), "std": (0.2,)}
    torch.save(content, tmp_path / "gray.pth")
    gray = replace(options, checkpoint_path=(tmp_path / "gray.pth",))
    with pytest.raises(ValueError, match="takes no images of 1 channels and 16 x 16 px"):
        visualize(gray)


def test_verifying_nothing_is_no_success(
    options: VisualizeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visualize(options)
    other = tmp_path / "other" / "full.pth"
    other.parent.mkdir()
    other.write_bytes(next(options.checkpoint_path[0].iterdir()).read_bytes())
    paths = ["--checkpoint-path", str(other.parent), "--model", MODEL]
    with pytest.raises(SystemExit) as end:
        main(["verify", str(options.store), *paths])
    assert end.value.code == 1
    assert "3 of the store's 3 checkpoints are not in" in capsys.readouterr().out


def test_verify_tells_weights_that_were_exchanged(
    options: VisualizeOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    visualize(options)
    one, other, _ = sorted(options.checkpoint_path[0].iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    paths = ["--checkpoint-path", str(options.checkpoint_path[0]), "--model", MODEL]
    with pytest.raises(SystemExit) as end:
        main(["verify", str(options.store), *paths, "--tolerance", "1000"])
    assert end.value.code == 1
    assert "16 units were made of other weights" in capsys.readouterr().out
