"""Pictures of autoencoders: what is drawn is what was found, what is missing is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from planted_squares import LABELS, LAYER, keep_squares

import dvis
from dvis.cli import main
from dvis.kinds.saes import pictures

NAMES = ("narrow", "wide")
MOMENTS = ["step 1", "step 2"]  # what pictures call LABELS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dvis.kinds.saes.plan import train_saes
    from dvis.kinds.saes.plan_evaluation import evaluate_saes
    from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions

    folder = tmp_path_factory.mktemp("saes")
    store = folder / "net.zarr"
    keep_squares(folder, store)
    for name, n_latents in zip(NAMES, (4, 8), strict=True):
        given: dict[str, Any] = {"k": (1,), "tokens": "3k", "batch_size": 100, "log_every": 5}
        given |= {"n_latents": n_latents, "name": name, "checkpoints": ("all",)}
        train_saes(TrainOptions(store=store, layer=LAYER, **given))
        options = {"split": "all", "n_top": 4, "scores": ("max", "mean")}
        evaluate_saes(EvaluateOptions(store=store, layer=LAYER, name=name, **options))
    return store


@pytest.fixture
def found(store: Path) -> dict[str, xr.Dataset]:
    return {name: dvis.latents(store, LAYER, name) for name in NAMES}


@pytest.fixture
def trained(store: Path) -> dict[str, xr.Dataset]:
    return {name: dvis.saes(store, LAYER, name) for name in NAMES}


@pytest.fixture
def wide(found: dict[str, xr.Dataset]) -> xr.Dataset:
    return found["wide"]


def words(figure: Figure) -> str:
    """All that is written above, below and in a figure, in one line."""
    parts = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_title("left")]
        parts += [text.get_text() for text in axes.texts]
    return " ".join(parts).replace("\n", " ")


def over_the_edge(figure: Figure) -> list[str]:
    """Words that reach beyond the figure."""
    figure.draw_without_rendering()
    texts = [figure._suptitle, figure._supxlabel]
    texts += [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    edge = figure.bbox.padded(1)
    return [text for text, box in boxes if text and not edge.contains(box.x0, box.y0)] + [
        text for text, box in boxes if text and not edge.contains(box.x1, box.y1)
    ]


def marks(axes: Axes) -> dict[str, tuple[float, float]]:
    """Places of single marks, by their names in the legend."""
    return {
        str(line.get_label()): (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.get_lines()
        if len(line.get_xdata()) == 1
    }


def firing(frequency: list[float], wide: xr.Dataset) -> xr.Dataset:
    """The Dataset with these frequencies of latents at each checkpoint."""
    values = np.tile(frequency, (wide.sizes["checkpoint"], 1))
    return wide.assign(frequency=(("checkpoint", "latent"), values))


def test_a_frontier_has_each_autoencoder_at_its_l0(found: dict[str, xr.Dataset]) -> None:
    figure = pictures.sae_frontier(found)
    above, below = figure.axes
    for name, each in found.items():
        at = each.isel(checkpoint=-1)
        assert marks(above)[name] == (at.l0.item(), at.ev.item())
        dead = 100 * at.n_dead.item() / at.sizes["latent"]
        assert marks(below)[name] == (at.l0.item(), pytest.approx(dead))
        low, high = below.get_ylim()
        assert low < 0
        assert high > 1.05 * dead  # the mark is seen whole
    assert figure.get_suptitle().endswith(f"{LAYER}, {MOMENTS[-1]}")
    assert over_the_edge(figure) == []


def test_a_frontier_of_one_runs_over_its_checkpoints(wide: xr.Dataset) -> None:
    figure = wide.dvis.sae_frontier()
    assert list(marks(figure.axes[0])) == MOMENTS
    one = wide.dvis.sae_frontier(checkpoint=LABELS[0])
    assert list(marks(one.axes[0])) == MOMENTS[:1]


def test_controls_are_grey_and_named(wide: xr.Dataset) -> None:
    dims = ("checkpoint", "control")
    controls = wide.assign_coords(control=["value", "random dictionary", "second seed"]).assign(
        control_ev=(dims, [[0.9, 0.1, np.nan], [0.9, 0.2, 0.8]]),
        control_l0=(dims, [[1.0, 1.5, 1.0], [1.0, 1.5, 1.25]]),
    )
    figure = controls.dvis.sae_frontier()
    above, below = figure.axes
    legend = above.get_legend()
    assert legend is not None
    named = [each.get_text() for each in legend.get_texts()]
    assert named[-2:] == ["random dictionary", "second seed"]
    rims = {str(line.get_label()): line.get_color() for line in below.get_lines()}
    grey = [
        line for line in above.get_lines() if line.get_color() == "0.55" and len(line.get_xdata())
    ]
    drawn = [(*line.get_xydata()[0], line.get_mec()) for line in grey]
    first, last = (rims[name] for name in MOMENTS)
    assert drawn == [(1.5, 0.1, first), (1.5, 0.2, last), (1.25, 0.8, last)]
    ties = [line.get_xydata().tolist() for line in above.get_lines() if line.get_lw() == 0.6]
    own = [[wide.l0[row].item(), wide.ev[row].item()] for row in (0, 1, 1)]
    assert ties == [[list(each[:2]), mark] for each, mark in zip(drawn, own, strict=True)]
    assert "controls, random dictionary, second seed" in words(figure)


def test_those_without_the_checkpoint_are_left_out_and_named(found: dict[str, xr.Dataset]) -> None:
    late = {"narrow": found["narrow"].isel(checkpoint=[0]), "wide": found["wide"]}
    figure = pictures.sae_frontier(late, checkpoint=LABELS[1])
    assert list(marks(figure.axes[0])) == ["wide"]
    assert f"without {LABELS[1]}: narrow" in words(figure)
    shared = pictures.sae_frontier(late)  # by default the last that most have
    assert list(marks(shared.axes[0])) == list(NAMES)


def test_dead_and_dense_latents_are_counted_and_apart(wide: xr.Dataset) -> None:
    given = firing([0, 0, 0, 1e-3, 0.02, 0.1, 0.100001, 1.0], wide)
    figure = given.dvis.latent_frequencies(checkpoint=LABELS[0])
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {"3 dead", "2 dense"}
    (dead,) = [bar for bar in axes.patches if bar.get_hatch()]
    others = [bar for bar in axes.patches if bar is not dead]
    assert dead.get_height() == 3
    assert dead.get_x() + dead.get_width() < min(bar.get_x() for bar in others)
    orange = [bar for bar in others if to_hex(bar.get_facecolor()) == "#d55e00"]
    assert sum(bar.get_height() for bar in orange) == 2
    assert sum(bar.get_height() for bar in others) == 5
    assert over_the_edge(figure) == []


def test_frequencies_are_counted_as_the_store_counts_them(wide: xr.Dataset) -> None:
    figure = wide.dvis.latent_frequencies()
    assert [axes.get_title("left") for axes in figure.axes] == MOMENTS
    for place, axes in enumerate(figure.axes):
        at = wide.isel(checkpoint=place)
        texts = {text.get_text() for text in axes.texts}
        assert texts == {f"{at.n_dead.item()} dead", f"{at.n_dense.item()} dense"}


def test_a_sheet_shows_a_latent_as_it_was_found(wide: xr.Dataset) -> None:
    at = wide.sel(checkpoint=LABELS[0], score="max").load()
    latent = int(at["max"].argmax("latent"))
    of = at.sel(latent=latent)
    n_fired = int((of.top_value > 0).sum())
    figure = wide.dvis.latent_sheet(latent, checkpoint=LABELS[0])
    images = [axes for axes in figure.axes if axes.get_images()]
    assert len(images) == n_fired > 0
    for axes, rank in zip(images, range(n_fired), strict=True):
        name, value = axes.get_title().split("\n")
        assert name == of.top_sample[rank].item().split("/")[0]
        assert value == f"{of.top_value[rank].item():.3g}"
    null = of.null_selectivity
    said = f"selectivity {of.selectivity.item():.2f}, with labels shuffled {null.min().item():.2f}"
    assert said in words(figure)
    assert f"{LAYER}, latent {latent} of wide, {MOMENTS[0]}" in figure.get_suptitle()
    assert over_the_edge(figure) == []
    bars = next(a for a in figure.axes if a.get_title("left").startswith("mean score"))
    drawn = sorted(bar.get_width() for bar in bars.patches)
    np.testing.assert_array_equal(drawn, np.sort(of.class_mean.values))


def test_a_dead_latent_has_no_images(wide: xr.Dataset) -> None:
    dead = firing([0.0] * 8, wide).assign(top_value=wide.top_value * 0)
    figure = dead.dvis.latent_sheet(3)
    assert not any(axes.get_images() for axes in figure.axes)
    assert "dead: it fires in no image" in words(figure)
    assert "this one is dead" in words(figure)
    assert len(figure.axes) == 1
    assert over_the_edge(figure) == []


def test_a_class_token_of_zeros_is_told_from_a_dead_latent(wide: xr.Dataset) -> None:
    first = wide.isel(score=[0])
    cls = first.assign_coords(score=["cls"]).assign(top_value=first.top_value * 0)
    given = xr.concat([first, cls], "score", data_vars="minimal").assign_attrs(
        scores=["max", "cls"]
    )
    latent = int(wide.frequency.isel(checkpoint=-1).argmax("latent"))
    figure = given.dvis.latent_sheet(latent, score="cls")
    said = words(figure)
    assert "fires in " in said
    assert "the code of its class token is zero in all images" in said
    assert "fires in no image" not in said
    value = given.selectivity.isel(checkpoint=-1).sel(latent=latent).item()
    assert f"selectivity of the max score {value:.2f}" in said
    assert "mean score (max)" in said
    assert over_the_edge(figure) == []


def test_a_class_without_images_is_told_from_one_that_does_not_fire(wide: xr.Dataset) -> None:
    lacking = {"class": 0}
    given = wide.copy(deep=True)
    given["class_mean"][lacking] = given["class_rate"][lacking] = np.nan
    latent = int(wide.frequency.isel(checkpoint=-1).argmax("latent"))
    (bars,) = [
        axes
        for axes in given.dvis.latent_sheet(latent).axes
        if axes.get_title("left").startswith("mean score")
    ]
    names = [each.get_text() for each in bars.get_yticklabels()]
    said = dict(zip(names, [each.get_text() for each in bars.texts], strict=True))
    assert said[str(wide["class"].values[0])] == "no images"
    assert list(said.values()).count("no images") == 1


def test_a_sheet_has_the_note_and_the_optimised_image(wide: xr.Dataset) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(1, 1, 1, 4, 4, 3)
    units = xr.Dataset(
        {
            "image": (("checkpoint", "layer", "channel", "y", "x", "rgb"), image),
            "status": (("checkpoint", "layer", "channel"), [[[1]]]),
        },
        {"checkpoint": [LABELS[1]], "layer": [LAYER], "channel": [2]},
        {"unit": "latent"},
    )
    noted = wide.assign_coords(note=("latent", ["", "", "bird $heads", *[""] * 5]))
    figure = noted.dvis.latent_sheet(2, unit_images=units)
    (panel,) = [a for a in figure.axes if a.get_title("left") == "optimised image"]
    np.testing.assert_array_equal(panel.get_images()[0].get_array(), image[0, 0, 0])
    assert r"bird \$heads" in figure.get_suptitle()
    of_channels = units.assign_attrs(unit="channel")
    for latent, given in ((1, units), (2, of_channels)):
        other = noted.dvis.latent_sheet(latent, unit_images=given)
        assert "optimised image" not in words(other)


def test_a_training_is_its_log(trained: dict[str, xr.Dataset]) -> None:
    figure = pictures.sae_training(trained)
    for axes, name in zip(figure.axes, ("fvu", "l0", "n_dead", "grad_norm"), strict=True):
        for line, each in zip(axes.get_lines(), trained.values(), strict=True):
            at = each.isel(checkpoint=-1)
            np.testing.assert_array_equal(line.get_xdata(), at.log_step.values)
            np.testing.assert_array_equal(line.get_ydata(), at[name].values)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(NAMES)
    over = trained["wide"].dvis.sae_training()
    assert [text.get_text() for text in over.legends[0].get_texts()] == MOMENTS
    assert over_the_edge(over) == []


def test_what_is_not_there_is_said(wide: xr.Dataset, trained: dict[str, xr.Dataset]) -> None:
    with pytest.raises(ValueError, match=r"Which latent\? The latents of conv, wide: 0 to 7"):
        wide.dvis.latent_sheet()
    with pytest.raises(ValueError, match=r"No latent 8\. The latents of conv, wide: 0 to 7"):
        wide.dvis.latent_sheet(8)
    with pytest.raises(ValueError, match=r"No score 'maximum'.*Did you mean 'max'"):
        wide.dvis.latent_sheet(0, score="maximum")
    with pytest.raises(dvis.SchemaError, match=r"has no ev, l0, n_dead.*dvis\.latents"):
        trained["wide"].drop_vars(["l0", "n_dead"]).dvis.sae_frontier()
    half = xr.where(wide.checkpoint == LABELS[0], 0, wide.status)
    with pytest.raises(ValueError, match="is not there yet"):
        wide.assign(status=half).dvis.latent_sheet(0, checkpoint=LABELS[0])
    with pytest.raises(ValueError, match="No checkpoint of conv, wide is there yet"):
        wide.assign(status=wide.status * 0).dvis.sae_frontier()
    with pytest.raises(ValueError, match="have none"):
        trained["wide"].isel(log_step=slice(0)).dvis.sae_training()


def test_the_command_draws_them(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    for name, *arguments in (
        ("sae-frontier",),
        ("sae-training", "--name", "wide"),
        ("latent-frequencies", "--layer", LAYER, "--name", "wide", "--checkpoint", LABELS[0]),
        ("latent-sheet", "--name", "wide", "--latent", "3", "--score", "mean"),
    ):
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit, match="0"):
            main(["plot", name, str(store), *arguments, "--out", str(out)])
        assert out.stat().st_size > 1000
    for arguments, said in (
        (
            ["latent-sheet", str(store), "--latent", "3"],
            "is several times among the",
        ),
        (["sae-frontier", str(store), "--channel", "3"], "leave --channel out"),
        (["sae-frontier", str(store), "--latent", "3"], "takes no --latent"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["plot", *arguments, "--out", str(out)])
        assert said in capsys.readouterr().err
