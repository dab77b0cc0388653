"""Pictures of the local learning coefficient: what is drawn, what is marked, and that it reads."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, rising_at
from made_up_llc import NBETA, sampled_traces, traces_with
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

import dvis
from dvis.kinds.llc import pictures as llc_pictures
from dvis.kinds.llc.analysis.calibration import recommend, with_error
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.analysis.llc_and_births import births_at_llc_changes
from dvis.schema import SchemaError

N = 12
STEPS = [0, *(2**power for power in range(N - 1))]


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    return sampled_traces(n_draws=1600, burn_in=400)


@pytest.fixture
def training() -> xr.Dataset:
    """The LLC of twelve checkpoints at two gammas, with the losses of the training."""
    traces = traces_with(rising_llc(), steps=STEPS)
    losses = {"train_loss": np.geomspace(2.3, 0.01, N), "val_loss": np.geomspace(2.3, 0.2, N)}
    estimates = llc_of(traces).assign({name: ("checkpoint", each) for name, each in losses.items()})
    return estimates.assign(is_settled=xr.ones_like(estimates.is_settled))


def rising_llc() -> np.ndarray:
    """LLCs (checkpoint, parameters, gamma) that rise; the first is below 0."""
    rise = 40 / (1 + np.exp(5 - np.arange(N))) - 2
    return np.stack([rise, 0.7 * rise], axis=-1)[:, None]


def panel(figure: Figure, title: str) -> Axes:
    """The panel whose title, above the left or the middle, begins so."""
    return next(
        axes
        for axes in figure.axes
        if any(axes.get_title(loc).startswith(title) for loc in ("left", "center"))
    )


def words(figure: Figure) -> str:
    """All that is written above and below a figure."""
    return f"{figure.get_suptitle()}\n{figure.get_supxlabel()}".replace("\n", " ")


def crowded(figure: Figure) -> list[str]:
    """Tick labels that overlap their neighbour, and words that reach over the figure's edge."""
    figure.draw_without_rendering()
    found = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        labels = [tick.label1 for tick in ticks if tick.label1.get_visible()]
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        found += [f"{a} on {b}" for a, b in itertools.pairwise(boxes) if a.overlaps(b)]
    for text in (figure._suptitle, figure._supxlabel):
        box = text.get_window_extent()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found.append(f"{text.get_text()} over the edge")
    return found


def hollow(axes: Axes) -> int:
    """Number of white points."""
    found = [each for each in axes.collections if isinstance(each, PathCollection)]
    white = [each for each in found if np.allclose(each.get_facecolor()[0], 1)]
    return sum(len(each.get_offsets()) for each in white)


def crosses(axes: Axes) -> list[float]:
    """Where red crosses stand along the x axis."""
    lines = [line for line in axes.get_lines() if line.get_marker() in "xX"]
    return sorted(float(x) for line in lines for x in line.get_xdata())


def test_the_grid_of_a_calibration_shows_every_cell_and_the_pick(grid: xr.Dataset) -> None:
    figure = grid.dvis.llc_calibration()
    found = recommend(grid)
    cells = [axes for axes in figure.axes if axes.get_title("right")]
    assert len(cells) == 15
    titles = [axes.get_title("right") for axes in cells]
    assert titles.count("2 of 2 diverged") == 6
    assert titles.count("good") + 1 == int(found.table.is_good.sum())
    assert titles.count("recommended") == 1
    of_pick = found.table.sel(epsilon=found.epsilon, gamma=found.gamma)
    (framed,) = [axes for axes in cells if axes.patches and axes.patches[-1].get_linewidth() == 3]
    llc = with_error(float(of_pick.llc), float(of_pick.llc_se))
    assert framed.get_title("left") == f"LLC {llc}\nacceptance {float(of_pick.mala):.2f}"
    assert f"epsilon {found.epsilon:g} and gamma {found.gamma:g} recommended" in words(figure)
    assert found.reason.rstrip(".") in words(figure)
    assert not crowded(figure)


def test_a_cell_has_its_losses_and_on_a_second_scale_its_running_llc(grid: xr.Dataset) -> None:
    figure = llc_pictures.llc_calibration(grid)
    cell = grid.isel(checkpoint=0, parameters=0).sel(epsilon=1e-4, gamma=10)
    axes = [each for each in figure.axes if each.get_title("right")][1 * 5 + 1]
    losses = [line for line in axes.get_lines() if len(line.get_xdata()) == 1600]
    np.testing.assert_array_equal([line.get_ydata() for line in losses], cell.loss)
    (twin,) = [each for each in axes._twinned_axes.get_siblings(axes) if each is not axes]
    (running,) = twin.get_lines()
    assert running.get_xdata()[0] == 400  # from the burn-in on
    llc = NBETA * (cell.loss[:, 400:].mean() - 0.1)
    assert running.get_ydata()[-1] == pytest.approx(llc.item())


def test_a_calibration_without_a_good_cell_says_what_to_try(grid: xr.Dataset) -> None:
    figure = llc_pictures.llc_calibration(grid.sel(epsilon=[1e-2, 1e-1]))
    assert "no cell is good yet" in figure.get_suptitle()
    assert "take epsilon below 0.01" in words(figure)
    found = recommend(grid)
    failed = replace(found, epsilon=None, gamma=None, reason="It does not hold.")
    tried = llc_pictures.llc_calibration(grid, recommendation=failed)
    assert "no cell holds yet" in tried.get_suptitle()
    assert "recommended" not in [axes.get_title("right") for axes in tried.axes]
    nothing = grid.sel(epsilon=[1e-4]).assign(status=grid.status.sel(epsilon=[1e-4]) * 0)
    assert "No cell is measured yet" in words(llc_pictures.llc_calibration(nothing))


def test_chains_are_drawn_with_their_agreement(grid: xr.Dataset, tmp_path: Path) -> None:
    traces = grid.sel(epsilon=1e-3, gamma=100)
    figure = traces.dvis.llc_chains(path=tmp_path / "deep" / "chains.png")
    assert (tmp_path / "deep" / "chains.png").stat().st_size > 20_000
    found = llc_of(traces)
    assert f"R-hat {found.rhat.item():.3f}" in words(figure)
    assert f"effective sample size {found.ess.item():,.0f}" in words(figure)
    estimates = panel(figure, "LLC ± 2 SE")
    drawn = [line.get_ydata()[0] for line in estimates.get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(drawn, found.llc_of_chain.values.ravel())
    assert panel(figure, "Distance").get_lines()
    assert not crowded(figure)


def test_a_diverged_chain_is_named_and_not_averaged(grid: xr.Dataset) -> None:
    traces = grid.sel(epsilon=1e-3, gamma=100).copy(deep=True)
    traces["status"][..., 0] = 2
    traces["loss"][..., 0, 300:] = np.nan
    figure = llc_pictures.llc_chains(traces)
    assert "1 chain done; 1 diverged, which do not count" in words(figure)
    estimates = panel(figure, "LLC ± 2 SE")
    assert [text.get_text() for text in estimates.texts] == ["diverged"]
    running = panel(figure, "Running LLC").get_lines()
    np.testing.assert_allclose(
        [line.get_ydata()[-1] for line in running[:2]], [np.nan, llc_of(traces).llc.item()]
    )


def test_empty_panels_say_why(grid: xr.Dataset) -> None:
    traces = grid.sel(epsilon=1e-1, gamma=1).drop_vars("distance")
    figure = llc_pictures.llc_chains(traces)
    assert "No LLC: all chains diverged at epsilon 0.1, gamma 1" in words(figure)
    assert panel(figure, "Running LLC").texts[0].get_text() == "no LLC: all chains diverged"
    over_training = llc_pictures.llc_over_training(llc_of(traces))
    assert over_training.axes[0].texts[0].get_text() == "no LLC: all chains diverged"
    open_ones = llc_pictures.llc_chains(traces.assign(status=traces.status * 0))
    assert panel(open_ones, "Running LLC").texts[0].get_text() == "no LLC: no chain is done"
    assert "without diagnostics" in panel(figure, "Distance").texts[0].get_text()


def test_several_cells_are_no_chains_of_one(grid: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"5 values of epsilon; .* traces\.sel\(epsilon=1e-05"):
        llc_pictures.llc_chains(grid)
    with pytest.raises(SchemaError, match=r"dvis\.llc_traces"):
        llc_pictures.llc_chains(made_up(np.ones((2, 1, 1))))


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_the_llc_over_training_has_a_curve_and_band_a_gamma(
    training: xr.Dataset, xscale: str
) -> None:
    figure = training.dvis.llc_over_training(xscale=xscale)
    above, below = figure.axes
    curves = [line for line in above.get_lines() if line.get_label().startswith("γ")]
    assert [line.get_label() for line in curves] == ["γ = 10", "γ = 100"]
    for curve, gamma in zip(curves, training.gamma, strict=True):
        np.testing.assert_allclose(
            curve.get_ydata(), training.llc.sel(gamma=gamma).squeeze(), rtol=1e-12
        )
        np.testing.assert_array_equal(curve.get_xdata(), STEPS)
    assert above.get_xscale() == below.get_xscale() == {"log": "symlog"}.get(xscale, xscale)
    assert [line.get_label() for line in below.get_lines()] == ["train", "validation"]
    assert not crowded(figure)


def test_a_negative_llc_is_flagged_and_not_clipped(training: xr.Dataset) -> None:
    figure = llc_pictures.llc_over_training(training)
    n_below = int((training.llc < 0).sum())
    assert f"red ground: {n_below} LLCs below 0" in words(figure)
    assert figure.axes[0].get_ylim()[0] < training.llc.min()
    assert "red ground" not in words(
        llc_pictures.llc_over_training(training.isel(checkpoint=slice(5, 12)))
    )


def test_diverged_chains_are_marked(training: xr.Dataset) -> None:
    training["n_diverged"][3, 0, 0, 0] = 1
    training["n_diverged"][7, 0, 0, 1] = 4
    training["llc"][7, 0, 0, 1] = np.nan
    figure = llc_pictures.llc_over_training(training)
    assert crosses(figure.axes[0]) == [STEPS[3], STEPS[7]]
    assert "red cross: 5 diverged chains, left out" in words(figure)


def test_chains_that_do_not_agree_are_hollow(training: xr.Dataset) -> None:
    assert hollow(llc_pictures.llc_over_training(training).axes[0]) == 0
    training["rhat"][2:5] = 1.4
    figure = llc_pictures.llc_over_training(training)
    assert hollow(figure.axes[0]) == 6
    assert "diamond: chains have not settled" in words(figure)


def test_llcs_that_have_not_settled_are_diamonds(training: xr.Dataset) -> None:
    is_settled = training.is_settled.where(training.gamma != training.gamma[0], False)
    figure = llc_pictures.llc_over_training(training.assign(is_settled=is_settled))
    shapes = [len(points.get_paths()[0].vertices) for points in figure.axes[0].collections]
    assert shapes.count(5) == 1  # a diamond has four corners, and is closed
    assert "diamond: chains have not settled, or their steps are coarse" in words(figure)
    assert "diamond" not in words(llc_pictures.llc_over_training(training))


def test_missing_losses_are_said(training: xr.Dataset) -> None:
    figure = llc_pictures.llc_over_training(training.drop_vars(["train_loss", "val_loss"]))
    (text,) = figure.axes[1].texts
    assert text.get_text() == "no train_loss or val_loss was kept with these checkpoints"


def test_what_open_shows_of_the_llc_is_enough(training: xr.Dataset) -> None:
    shown = training[["llc", "llc_se"]].isel(parameters=0, epsilon=0, gamma=1, drop=True)
    figure = llc_pictures.llc_over_training(shown, x="checkpoint")
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), shown.llc)
    with pytest.raises(SchemaError, match="dvis llc estimate"):
        llc_pictures.llc_over_training(shown.drop_vars("llc"))
    with pytest.raises(ValueError, match="No checkpoint has an LLC yet"):
        llc_pictures.llc_over_training(shown * np.nan)


@pytest.fixture
def layers() -> xr.Dataset:
    """Restricted LLCs of three layers and of all weights at two gammas."""
    levels = np.concatenate([rising_llc() * share for share in (1.0, 0.2, 0.5, 0.4)], axis=1)
    parameters = ["all", "layer1", "layer2", "fc"]
    return llc_of(traces_with(levels, steps=STEPS, parameters=parameters, spread=0.02))


def test_every_layer_has_its_curve_at_every_gamma(layers: xr.Dataset) -> None:
    figure = layers.dvis.llc_by_parameters()
    panels = [axes for axes in figure.axes if axes.get_title("left").startswith("γ")]
    assert [axes.get_title("left") for axes in panels] == ["γ = 10", "γ = 100"]
    for axes, gamma in zip(panels, layers.gamma, strict=True):
        for line, name in zip(axes.get_lines(), layers.parameters.values, strict=False):
            assert line.get_label() == name
            of_line = layers.llc.sel(parameters=name, gamma=gamma).squeeze()
            np.testing.assert_allclose(line.get_ydata(), of_line)
    assert not crowded(figure)
    share = llc_pictures.llc_by_parameters(layers, relative=True).axes[0].get_lines()
    assert [line.get_ydata().max() for line in share[:4]] == pytest.approx([1] * 4)


def test_only_layers_are_called_so(layers: xr.Dataset) -> None:
    assert (
        llc_pictures.llc_by_parameters(layers).get_suptitle() == "LLC of each layer over training"
    )
    names = [rf"{name}|bias$" if name != "all" else name for name in layers.parameters.values]
    others = llc_pictures.llc_by_parameters(layers.assign_coords(parameters=names))
    assert others.get_suptitle() == "LLC of each choice of parameters over training"


def test_one_choice_of_parameters_over_training_is_that_of_all(layers: xr.Dataset) -> None:
    line = llc_pictures.llc_over_training(layers).axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_ydata(), layers.llc.sel(parameters="all")[:, 0, 0])
    figure = llc_pictures.llc_over_training(layers, parameters="fc")
    assert figure.get_suptitle().endswith(": fc")
    with pytest.raises(ValueError, match=r"No parameters 'fcc'.* Did you mean 'fc'\?"):
        llc_pictures.llc_over_training(layers, parameters="fcc")


@pytest.fixture
def features() -> xr.Dataset:
    """Forty features, most of them born where the LLC jumps: at checkpoints 8 and 16 of 24."""
    born_at = np.array([[8] * 7 + [3, 12, 20], [8] * 8 + [4, 16], [16] * 9 + [11], [16] * 10])
    llc = 10.0 * (np.arange(24)[:, None] >= [8, 16]).sum(1)
    llc += 0.3 * np.random.default_rng(0).standard_normal(24)
    units = made_up(rising_at(born_at, 24), steps=range(0, 2400, 100), llc=llc)
    units["llc_se"] = "checkpoint", np.full(24, 0.3)
    return units


def test_births_at_jumps_of_the_llc_are_counted_and_tested(features: xr.Dataset) -> None:
    found = features.dvis.births_at_llc_changes()
    assert found.is_llc_change.values.nonzero()[0].tolist() == [8, 16]
    assert (int(found.n_together), int(found.n_changes)) == (35, 40)
    assert (found.attrs["tolerance"], found.attrs["window"]) == (1, 4)
    assert found.n_pairs == 35
    assert found.null_n_pairs.values.tolist() == [0, 35]
    # Two changes may each fall so by chance, at three of the nine places of its window.
    assert found.p_value == pytest.approx((3 / 9) ** 2, abs=0.01)
    np.testing.assert_array_equal(found.n_born.isel(checkpoint=8), [7, 8, 0, 0])
    assert int(found.n_born.sum()) == 40
    np.testing.assert_array_equal(found.llc, features.llc)


def test_births_elsewhere_are_no_evidence(features: xr.Dataset) -> None:
    rng = np.random.default_rng(1)
    p_values = [
        births_at_llc_changes(
            features.assign(
                activation=(features.activation.dims, rising_at(rng.integers(1, 23, (4, 10)), 24))
            ),
            n_permutations=199,
        ).p_value.item()
        for _ in range(60)
    ]
    assert (np.array(p_values) <= 0.05).sum() <= 6
    assert np.median(p_values) > 0.3


def test_checkpoints_without_an_llc_are_passed_over(features: xr.Dataset) -> None:
    partly = features.assign(llc=features.llc.where(features.checkpoint != "step_300"))
    found = births_at_llc_changes(partly)
    assert found.sizes["checkpoint"] == 24
    assert found.llc.isnull().sum() == 1
    assert int(found.n_born.sum()) == 40
    assert (int(found.n_together), int(found.n_changes)) == (35, 40)
    with pytest.raises(ValueError, match="known at 3 of 24 checkpoints"):
        births_at_llc_changes(features.assign(llc=features.llc.where(features.step < 300)))
    with pytest.raises(SchemaError, match="dvis llc estimate"):
        births_at_llc_changes(features.drop_vars("llc"))


def test_an_llc_from_elsewhere_is_matched_by_label(features: xr.Dataset) -> None:
    traces = traces_with(features.llc.values[:, None, None], steps=range(0, 2400, 100), gamma=[1])
    own = llc_of(traces.assign_coords(checkpoint=features.checkpoint.values)).llc.squeeze()
    found = births_at_llc_changes(features.drop_vars("llc"), llc=own)
    assert int(found.n_together) == 35
    two = xr.concat([own, own], "gamma")
    with pytest.raises(ValueError, match=r"runs over gamma too; .* llc\.isel\(gamma=0\)"):
        births_at_llc_changes(features, llc=two)


@pytest.mark.parametrize("x", ["step", "checkpoint"])
def test_births_stand_below_the_llc_and_its_changes(features: xr.Dataset, x: str) -> None:
    figure = features.dvis.llc_and_births(x=x)
    above, below = figure.axes
    heights = np.zeros(24)
    for bars in below.containers:
        heights += [bar.get_height() for bar in bars]
    assert heights[[3, 8, 16, 20]].tolist() == [1, 15, 20, 1]
    changes = [line for line in below.get_lines() if len(line.get_xdata()) == 2]
    places = [800, 1600] if x == "step" else [8, 16]
    assert sorted(line.get_xdata()[0] for line in changes) == places
    assert "Births are near changes of the LLC no more than by chance (35 of 40" in words(figure)
    assert "35; 0 to 35 with changes moved by up to 4 checkpoints (p = 0.1" in words(figure)
    assert len(above.collections) == 1  # the band of two standard errors
    assert not crowded(figure)


def test_an_llc_that_never_jumps_says_so(features: xr.Dataset) -> None:
    flat = features.assign(llc=features.llc * 0 + np.linspace(0, 1e-3, 24) * 0)
    assert "no abrupt change" in words(llc_pictures.llc_and_births(flat))
    assert "red" not in words(llc_pictures.llc_and_births(flat))


def test_pictures_keep_their_signature() -> None:
    names = ("llc_calibration", "llc_chains", "llc_over_training", "llc_by_parameters")
    for name in (*names, "llc_and_births"):
        picture = getattr(llc_pictures, name)
        assert "{" not in picture.__doc__.replace('{"', ""), name
        assert picture.__doc__.count("path : str or Path, optional") == 1
        assert name in dir(dvis.accessor.DvisAccessor)
