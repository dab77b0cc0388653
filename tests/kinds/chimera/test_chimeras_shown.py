"""Chimeras and sizes by their commands, as `dvis plot` draws them, and on the page."""

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_checkpoints

import dvis
from dvis.cli import main
from dvis.kinds.chimera.parts import chimera_parts
from dvis.kinds.parts import Asked, Unit
from dvis.kinds.sizes.parts import size_curves
from dvis.store.contents import contents

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the commands made."""
    folder = tmp_path_factory.mktemp("shown")
    write_checkpoints(folder / "run", 3)
    path = folder / "net.zarr"
    given = ["--model", "tiny_models:net", "--checkpoint-path", str(folder / "run")]
    given += ["--store", str(path), "--workers", "0", "--dataset", "shapes", "--n-images", "12"]
    for command in (
        ["chimera", *given, "--layers", "bn1", "conv2", "--to", "fc"],
        ["sizes", *given, "--layers", "conv1", "conv2"],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    return path


def test_picture_by_its_command(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "chimera", str(store), "--out", str(tmp_path / "a.png"), "--x", "step"])
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_curves_of_the_page(store: Path) -> None:
    found = contents(store)
    of_run = list(chimera_parts(Asked(store=store, contents=found, run="checkpoints")))
    assert [curves.title for curves in of_run] == [
        f"fc of chimeras cut behind {cut} · shapes-val" for cut in ("bn1", "conv2")
    ]
    correlation = dvis.chimera(store).correlation
    medians = correlation.sel(cut="bn1", layer="fc").median("channel")
    for line, part in zip(of_run[0].lines, ("below", "above", "both"), strict=True):
        np.testing.assert_allclose(line.values, medians.sel(part=part), rtol=1e-6)
        assert line.low is not None
    assert np.isfinite(of_run[0].null_low).all()
    asked = Asked(store=store, contents=found, run="checkpoints", unit=Unit(layer="fc", channel=2))
    (first, _) = chimera_parts(asked)
    unit = correlation.sel(cut="bn1", layer="fc", channel=2, part="above")
    np.testing.assert_allclose(first.lines[1].values, unit, rtol=1e-6)
    assert not list(size_curves(asked))
    nothing = Asked(
        store=store, contents=found, run="checkpoints", unit=Unit(layer="fc", channel=7)
    )
    assert not list(chimera_parts(nothing))


def test_sizes_of_the_page(store: Path) -> None:
    found = contents(store)
    (of_run,) = size_curves(Asked(store=store, contents=found, run="checkpoints"))
    assert [line.label for line in of_run.lines] == ["conv1", "conv2"]
    sides = np.exp(dvis.sizes(store).log_area / 2)
    np.testing.assert_allclose(of_run.lines[1].values, sides.sel(layer="conv2").median("channel"))
    unit = Unit(layer="conv1", channel=3)
    (of_unit,) = size_curves(Asked(store=store, contents=found, run="checkpoints", unit=unit))
    np.testing.assert_allclose(of_unit.lines[0].values, sides.sel(layer="conv1", channel=3))
    assert 1 <= of_unit.lines[0].values.min() <= of_unit.lines[0].values.max() < 4
