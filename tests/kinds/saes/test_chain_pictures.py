"""Pictures of chains: what is drawn is what was found, and trees end at the latents of level 0."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from matplotlib.figure import Figure
from tiny_chained import LAYER

import dvis
from dvis.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def store(chain_store: Path) -> Path:
    return chain_store


@pytest.fixture
def chains(store: Path) -> xr.Dataset:
    return dvis.chains(store, LAYER, on="decoder")


def words(figure: Figure) -> str:
    """All that is written above, below and in a figure, in one line."""
    parts = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_title("left")]
        parts += [text.get_text() for text in axes.texts]
    return " ".join(parts).replace("\n", " ")


def test_curves_have_seeds_controls_and_trends(chains: xr.Dataset) -> None:
    figure = chains.dvis.chain_curves()
    at = chains.isel(checkpoint=-1).load()
    panels = {axes.get_title("left").split("\n")[0]: axes for axes in figure.axes}
    assert len(panels) == 6
    ev = panels["explained variance"]
    value = at.ev.sel(control="value")
    *seeds, mean = [line.get_ydata() for line in ev.get_lines()]
    np.testing.assert_allclose(seeds, value.values)
    np.testing.assert_allclose(mean, value.mean("seed"))
    selective = panels["class selectivity"].get_lines()
    other, beside, *_ = [line.get_ydata() for line in selective]
    wanted = at.selectivity.mean("seed")
    np.testing.assert_allclose(other, wanted.sel(control="random directions"))
    np.testing.assert_allclose(beside, wanted.sel(control="activations"))
    assert [label.get_text() for label in ev.get_xticklabels()] == ["0\n16", "1\n6", "2\n3"]
    said = words(figure)
    for text in ("2 chains on decoder rows", "no p: it could not be below 0.05", "cannot tell"):
        assert text in said
    assert "grey: 90 % of the null, labels shuffled" in said


@pytest.mark.parametrize("on", ["decoder", "codes"])
def test_a_tree_has_the_parents_and_the_images_of_its_leaves(store: Path, on: Any) -> None:
    chains = dvis.chains(store, LAYER, on=on)
    figure = chains.dvis.chain_tree(1, depth=2, seed=4, k=2)
    at = chains.isel(checkpoint=-1).sel(seed=4).load()
    parents = [p for p in at.parent.sel(depth=2, latent=1).values[:2] if p >= 0]
    leaves = [
        leaf
        for parent in parents
        for leaf in at.parent.sel(depth=1, latent=parent).values[:2]
        if leaf >= 0
    ]
    axes, *insets = figure.axes[0], *figure.axes[0].child_axes
    written = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert sorted(written) == sorted(map(str, [1, *parents, *leaves]))
    assert len(axes.get_lines()) == len(parents) + len(leaves)
    found = dvis.latents(store, LAYER, "wide").isel(checkpoint=-1, score=0, rank=0)
    fires = [leaf for leaf in leaves if float(found.top_value.sel(latent=leaf)) > 0]
    assert len(insets) == len(fires)
    classes = chains["class"].values
    for leaf in fires:
        assert str(classes[int(at.leaf_best_class[leaf])]) in words(figure)
    assert "Latent 1 of level 2" in words(figure)


def test_by_default_the_most_selective_latent_is_shown(chains: xr.Dataset) -> None:
    figure = chains.dvis.chain_tree()
    at = chains.isel(checkpoint=-1, seed=0).sel(depth=2).load()
    number = int(at.latent_selectivity.fillna(-1).argmax("latent"))
    assert f"Latent {number} of level 2" in words(figure)
    assert "the most selective of level 2" in words(figure)


def test_what_cannot_be_drawn_says_why(chains: xr.Dataset) -> None:
    for given, text in (
        ({"seed": 7}, "No chain of seed 7; there are 0, 4"),
        ({"depth": 3}, "No level 3 in this chain; levels are 1 to 2"),
        ({"latent": 9}, "No latent 9 in level 2; there are 0 to 2"),
        ({"k": 0}, "k is 0"),
    ):
        with pytest.raises(ValueError, match=text):
            chains.dvis.chain_tree(**given)
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.chains"):
        xr.Dataset().dvis.chain_tree()
    for draw in (chains.dvis.chain_tree, chains.dvis.chain_curves):
        with pytest.raises(ValueError, match="nowhere"):
            draw(checkpoint="nowhere")
    with pytest.raises(ValueError, match="is there; run the same `dvis sae chain`"):
        chains.assign(status=chains.status * 0).dvis.chain_curves()
    ended = chains.assign(
        n_latents=chains.n_latents.where(chains.depth == 0, -1),
        stopped=xr.full_like(chains.stopped, "there is no level 1", dtype="U30"),
    )
    with pytest.raises(ValueError, match="no level below the first: there is no level 1"):
        ended.dvis.chain_tree()
    assert "there is no level 1" in words(ended.dvis.chain_curves())


def test_without_an_evaluation_of_the_same_weights_there_are_no_images(
    store: Path, chains: xr.Dataset, tmp_path: Path
) -> None:
    assert chains.dvis.chain_tree().axes[0].child_axes
    copy = Path(shutil.copytree(store, tmp_path / "net.zarr"))
    group: Any = zarr.open_group(copy / "checkpoints/saes" / LAYER / "wide.evaluation")
    group["source/weights"][:] = 1
    figure = dvis.chains(copy, LAYER, on="decoder").dvis.chain_tree()
    assert not figure.axes[0].child_axes
    assert "no images: run `dvis sae evaluate`" in words(figure)


def test_the_command_draws_them(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    label = str(dvis.saes(store, LAYER).checkpoint.values[0])
    of_tree = ("--latent", "1", "--depth", "1", "--seed", "4", "--k", "2")
    for name, *given in (
        ("chain", "--name", "wide", "--on", "codes", "--checkpoint", label),
        ("chain-tree", "--on", "decoder", *of_tree),
    ):
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit, match="0"):
            main(["plot", name, str(store), *given, "--out", str(out)])
        assert out.stat().st_size > 1000
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "chain", str(store), "--out", str(out)])
    assert "On what?" in capsys.readouterr().err


@pytest.mark.slow
def test_the_gallery_has_them(store: Path, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[3] / "scripts" / "gallery.py"
    spec = importlib.util.spec_from_file_location("gallery", script)
    assert spec is not None
    assert spec.loader is not None
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    run = str(dvis.saes(store, LAYER).attrs["run"])
    gallery.draw_chains(store, run, lambda name: tmp_path / f"{name}.png")
    drawn = {path.stem for path in tmp_path.glob("chain*.png")}
    assert drawn == {
        f"{what}_{LAYER}_wide_{on}"
        for what in ("chain", "chain_tree")
        for on in ("decoder", "codes")
    }
