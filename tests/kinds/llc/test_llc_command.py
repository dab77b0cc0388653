"""The local learning coefficient as it is asked for: by command, or of models of one's own."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_llc import LAYERS, SETTINGS, changed, loaded, options_of_chains
from torch import Tensor, nn
from torch.utils.data import Dataset

from dvis.cli import main, main_of
from dvis.kinds.llc.analysis.calibration import Recommendation, recommend
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.command import CalibrateCommand, EstimateCommand, llc
from dvis.kinds.llc.estimation import LLCReport, estimate_llc
from dvis.kinds.llc.options import CalibrateOptions, EstimateOptions
from dvis.kinds.llc.plot_command import LLCPlotOptions
from dvis.kinds.llc.words import ChainStatus

if TYPE_CHECKING:
    from dvis.models.training import TrainingRun

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(finished_run: "TrainingRun", tmp_path: Path) -> EstimateOptions:
    return options_of_chains(finished_run.folder, tmp_path / "net.zarr")


def test_every_checkpoint_has_its_chains_and_a_second_run_adds_none(
    options: EstimateOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert llc(EstimateCommand(options=options)) == 0
    printed = capsys.readouterr().out
    assert "8 chains measured, 0 failed" in printed
    assert all(word in printed for word in ("LLC last", "MALA min", "R-hat max", "ESS min"))
    assert "burn-in: 4 of 10 draws\n" in printed
    rows = [line.split() for line in printed.splitlines() if line.split()[:1] == ["all"]]
    assert [row[-6:] for row in rows] == [["2", "of", "2", "0", "of", "2"]] * 2  # so few draws
    assert "not settled: 4 of 4 LLCs, and longer chains may give others; the pull needs" in printed
    assert "not converged: at so many checkpoints R-hat is above 1.1, or fewer" in printed
    traces = loaded(options)
    sizes = {"checkpoint": 2, "parameters": 1, "epsilon": 1, "gamma": 2, "chain": 2, "draw": 10}
    assert traces.sizes == sizes
    assert (traces.status == ChainStatus.DONE).all()
    assert traces.loss.notnull().all()
    data = json.loads(traces.attrs["data"])
    assert data["name"] == "shapes"
    assert data["n_samples"] == 100
    assert traces.attrs["burn_in"] == 4
    assert llc(EstimateCommand(options=options)) == 0
    assert "0 chains measured, 0 failed" in capsys.readouterr().out
    other = replace(options, settings=replace(SETTINGS, burn_in=2, draws=8))
    assert llc(EstimateCommand(options=other)) == 0
    assert "burn-in: 4 of 10 draws, as the store has it, not 2" in capsys.readouterr().out
    xr.testing.assert_identical(loaded(options), traces)


def test_each_layer_has_its_own_coefficient(
    options: EstimateOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate_llc(options)
    before = loaded(options)
    assert llc(EstimateCommand(options=replace(options, per_layer=True))) == 0
    assert "24 chains measured" in capsys.readouterr().out
    after = loaded(options)
    assert after.parameters.values.tolist() == ["all", *LAYERS]
    n_parameters = after.n_parameters.sel(parameters=LAYERS)
    assert int(n_parameters.sum()) == int(after.n_parameters.sel(parameters="all"))
    xr.testing.assert_equal(after.loss.sel(parameters=["all"]), before.loss)
    assert after.loss.notnull().all()
    assert len(np.unique(after.loss.isel(checkpoint=0, gamma=0, chain=0, draw=-1))) == 4


def test_calibration_recommends_draws_and_goes_on(
    options: EstimateOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CalibrateCommand(
        options=CalibrateOptions(
            model=options.model,
            checkpoint=options.checkpoint_path[-1],
            epsilon=(5e-5, 1e-4),
            gamma=(1000.0,),
            settings=replace(SETTINGS, draws=100, burn_in=50, diagnostics_every=2),
            store=options.store,
            workers=0,
        ),
        out=tmp_path / "pictures",
    )
    assert llc(command) == 0
    printed = capsys.readouterr().out
    for words in ("verdict", "is the largest step of", "R-hat", "ESS"):
        assert words in printed
    assert "estimate --model tiny_models:convolutional" in printed
    assert "--draws 100 --burn-in 50 --batch-size 16" in printed
    assert f"--store {options.store} --workers 0" in printed
    name = f"calibration-{options.checkpoint_path[-1].name}"
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert pictures == {f"llc-{name}.png", f"llc-{name}-chains.png"}
    assert "5 chains measured" in printed  # two cells, and three more of the pick
    assert llc(command) == 0
    assert "0 chains measured" in capsys.readouterr().out
    assert loaded(options, name).attrs["kind_of_run"] == "calibration"


def test_calibration_takes_one_checkpoint(options: EstimateOptions) -> None:
    folder = options.checkpoint_path[0].parent
    command = CalibrateCommand(options=CalibrateOptions(model=options.model, checkpoint=folder))
    with pytest.raises(ValueError, match="give the file of one, such as the last"):
        llc(command)


def test_pictures_of_a_store(options: EstimateOptions, tmp_path: Path) -> None:
    settings = replace(SETTINGS, draws=12)
    estimate_llc(replace(options, parameters=("all", "6"), settings=settings))
    command = LLCPlotOptions(store=str(options.store), out=tmp_path / "llc.png")
    assert llc(command) == 0
    assert command.out.stat().st_size
    for kind in ("chains", "calibration", "parameters"):
        out = tmp_path / f"{kind}.svg"
        assert llc(replace(command, kind=kind, out=out)) == 0  # type: ignore[arg-type]
        assert out.stat().st_size
    with pytest.raises(ValueError, match="chains takes no --xscale; leave it out"):
        llc(replace(command, kind="chains", xscale="log"))
    with pytest.raises(ValueError, match=r"no gamma 3 in .*; there are 10, 100"):
        llc(replace(command, gamma=3.0))
    with pytest.raises(KeyError, match="No checkpoint"):
        llc(replace(command, kind="chains", checkpoint="none"))


class Spirals(Dataset[tuple[Tensor, Tensor]]):
    """Forty points, (x, y), and a value each; moved at random each time where that is wanted."""

    def __init__(self, *, is_random: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(40, 2, generator=generator)
        self.is_random = is_random

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        point = self.points[index]
        return point + torch.rand(2) if self.is_random else point, point.sum()


def small_network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    points, values = batch
    return (model(points)[:, 0] - values) ** 2


@pytest.fixture
def own(tmp_path: Path) -> EstimateOptions:
    """Any model of somebody's own, without images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({"state_dict": small_network().state_dict()}, tmp_path / "epoch_1.pth")
    return EstimateOptions(
        model="test_llc_command:small_network",
        checkpoint_path=(tmp_path / "epoch_1.pth",),
        epsilon=(1e-4,),
        chains=2,
        settings=SETTINGS,
        store=tmp_path / "own.zarr",
        workers=0,
    )


def test_any_model_with_a_loss_of_its_own(own: EstimateOptions) -> None:
    report = estimate_llc(own, data=Spirals(), loss=squared)
    assert (report.n_measured, report.n_failed) == (2, 0)
    traces = loaded(own)
    assert traces.attrs["loss"] == "test_llc_command:squared"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = small_network()
    points = Spirals().points
    expected = squared(model, (points, points.sum(1))).mean().detach()
    assert traces.init_loss.item() == pytest.approx(float(expected), rel=1e-6)
    assert llc_of(traces).llc.notnull().all()
    as_tensors = estimate_llc(replace(own, name="mse"), data=(points, points.sum(1)), loss=squared)
    assert as_tensors.n_measured == 2


def test_what_cannot_travel_to_workers_is_refused_at_once(
    own: EstimateOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearby(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return squared(model, batch)

    nearby.dvis_tag = "first"  # type: ignore[attr-defined]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})  # two chains, two processes
    everywhere = changed(own, workers=None)
    with pytest.raises(TypeError, match=r"the loss .*cannot travel to workers.*workers=0"):
        estimate_llc(everywhere, data=Spirals(), loss=nearby)
    assert estimate_llc(own, data=Spirals(), loss=nearby).n_measured == 2
    nearby.__module__, nearby.__qualname__ = "__main__", "nearby"  # as in a notebook
    main_module = sys.modules["__main__"]
    monkeypatch.setattr(main_module, "nearby", nearby, raising=False)
    monkeypatch.delattr(main_module, "__file__", raising=False)
    with pytest.raises(TypeError, match="defined in no file"):
        estimate_llc(replace(everywhere, name="notebook"), data=Spirals(), loss=nearby)


def cubed(model: nn.Module, batch: tuple[Tensor, Tensor], power: int = 3) -> Tensor:
    points, values = batch
    return (model(points)[:, 0] - values).abs() ** power


def broken(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    raise RuntimeError("the points have no colour")


def to_the_power(power: int, tag: str) -> Any:
    loss = partial(cubed, power=power)
    loss.dvis_tag = tag  # type: ignore[attr-defined]
    return loss


def test_a_loss_of_the_same_name_and_another_tag_is_refused(own: EstimateOptions) -> None:
    estimate_llc(own, data=Spirals(), loss=to_the_power(3, "v1"))
    before = loaded(own)
    assert estimate_llc(own, data=Spirals(), loss=to_the_power(3, "v1")).n_measured == 0
    with pytest.raises(
        ValueError, match=r"loss_tag \(v1 there, v2 asked for\).*--name, or --overwr"
    ):
        estimate_llc(own, data=Spirals(), loss=to_the_power(4, "v2"))
    with pytest.raises(ValueError, match=r"loss \(test_llc_command:cubed there, .*:squared asked"):
        estimate_llc(own, data=Spirals(), loss=squared)
    with pytest.raises(ValueError, match=r'test_llc_command:cubed shares.* loss\.dvis_tag = "v1"'):
        estimate_llc(own, data=Spirals(), loss=partial(cubed, power=4))
    xr.testing.assert_identical(loaded(own), before)
    overwritten = changed(own, overwrite=True)
    assert estimate_llc(overwritten, data=Spirals(), loss=to_the_power(4, "v2")).n_measured == 2


def test_the_error_of_a_loss_is_said_where_epsilon_depends_on_it(own: EstimateOptions) -> None:
    with pytest.raises(ValueError, match=r"epoch_1\.pth.*the points have no colour"):
        estimate_llc(replace(own, epsilon="auto"), data=Spirals(), loss=broken)


def test_what_is_to_be_known_of_settings_is_said(own: EstimateOptions) -> None:
    report = estimate_llc(replace(own, epsilon="auto"), data=Spirals(), loss=squared)
    assert any("look at the MALA acceptance" in note for note in report.notes)
    plain = estimate_llc(replace(own, name="plain"), data=Spirals(), loss=squared)
    assert not plain.notes


def test_an_estimate_of_diverged_chains_alone_fails(
    options: EstimateOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert llc(EstimateCommand(options=replace(options, epsilon=(1e3,), gamma=(10.0,)))) == 1
    assert "no LLC: all chains diverged; take epsilon below 1000" in capsys.readouterr().out


@pytest.mark.parametrize("n_that_fail", [1, 9])
def test_a_pick_that_does_not_hold_gives_way_to_the_next(
    options: EstimateOptions,
    n_that_fail: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[float] = []

    def problem(pick: xr.Dataset, _: xr.Dataset) -> str | None:
        assert pick.sizes == {"chain": 4, "draw": 10}
        seen.append(float(pick.epsilon))
        return f"{seen[-1]:g} does not hold." if len(seen) <= n_that_fail else None

    def passing(traces: xr.Dataset) -> Recommendation:
        cells = tuple((epsilon, 100.0) for epsilon in (1e-3, 3e-4, 1e-4, 1e-5))
        reason = "epsilon 0.001 is the largest."
        table = recommend(traces).table
        table["verdict"] = xr.full_like(table["verdict"], "good")
        return Recommendation(
            epsilon=1e-3, gamma=100.0, reason=reason, table=table, candidates=cells
        )

    monkeypatch.setattr("dvis.kinds.llc.estimation.problem_of", problem)
    monkeypatch.setattr("dvis.kinds.llc.estimation.recommend", passing)
    command = CalibrateCommand(
        options=CalibrateOptions(
            model=options.model,
            checkpoint=options.checkpoint_path[-1],
            epsilon=(1e-5, 1e-4, 3e-4, 1e-3),
            gamma=(100.0,),
            settings=SETTINGS,
            store=options.store,
            workers=0,
        ),
        out=tmp_path,
    )
    assert llc(command) == (0 if n_that_fail == 1 else 1)
    printed = capsys.readouterr().out
    assert seen == ([1e-3, 3e-4] if n_that_fail == 1 else [1e-3, 3e-4, 1e-4])
    assert "0.001 does not hold." in printed
    assert ("estimate --model" in printed) == (n_that_fail == 1)
    assert ("--epsilon 0.0003" in printed) == (n_that_fail == 1)


def test_random_data_are_refused_unless_they_are_allowed(own: EstimateOptions) -> None:
    with pytest.raises(ValueError, match="allow_random"):
        estimate_llc(own, data=Spirals(is_random=True), loss=squared)
    report = estimate_llc(own, data=Spirals(is_random=True), loss=squared, allow_random=True)
    assert report.n_measured == 2


@pytest.mark.parametrize("as_script", [False, True])
def test_flags_are_read_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch, as_script: bool
) -> None:
    given: list[EstimateOptions] = []

    def estimate(options: EstimateOptions, **_: Any) -> LLCReport:
        given.append(options)
        raise ValueError("enough")

    monkeypatch.setattr("dvis.kinds.llc.estimation.estimate_llc", estimate)
    for words in (
        "estimate --model resnet18 --epsilon 1e-4 --gamma 10 100 --checkpoint-path runs "
        "--dataset digits --nbeta 20.5 --chains 8 --draws 50 --mode batch --workers 0",
        "estimate --model resnet18",
    ):
        monkeypatch.setattr(sys, "argv", ["scripts/llc.py", *words.split()])
        with pytest.raises(SystemExit):
            main_of("llc") if as_script else main(["llc", *words.split()])
    options, auto = given
    assert (options.epsilon, options.gamma) == ((1e-4,), (10.0, 100.0))
    assert (options.settings.nbeta, options.settings.draws) == (20.5, 50)
    assert (options.dataset, options.workers) == ("digits", 0)
    assert auto.epsilon == "auto"


def test_a_report_names_its_store(own: EstimateOptions) -> None:
    report = estimate_llc(own, data=Spirals(), loss=squared)
    assert isinstance(report, LLCReport)
    assert (report.store, report.name) == (own.store, "llc")
