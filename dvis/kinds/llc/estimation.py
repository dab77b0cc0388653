"""The local learning coefficient at every checkpoint of a run, into a store.

A model's name, its checkpoints and data in; the group `{run}/llc/{name}` of `stores/{model}.zarr`
grows, chain by chain. What is there is skipped, so that a run that was stopped goes on.
"""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from dvis.kinds.llc.analysis.calibration import Recommendation, after_trial, problem_of, recommend
from dvis.kinds.llc.measure.losses import Loss
from dvis.kinds.llc.options import CalibrateOptions, ChainOptions, EstimateOptions
from dvis.kinds.llc.plan import SamplingPlan, plan_sampling
from dvis.kinds.llc.read import llc_traces
from dvis.kinds.llc.sampling import LLCReport, sample_chains
from dvis.kinds.llc.words import CALIBRATION, CHAIN, EPSILON, ESTIMATE, GAMMA, PARAMETERS
from dvis.models.checkpoints import find_checkpoints
from dvis.schema import CHECKPOINT

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CalibrationReport", "LLCReport", "calibrate_llc", "estimate_llc"]


# What a calibration and an estimate have in common.
_SHARED = tuple(item.name for item in fields(ChainOptions) if item.name != "model")


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """What came of a run of `calibrate_llc`.

    Attributes
    ----------
    sampled : LLCReport
        How many chains were sampled, and what is to be said of them.
    checkpoint : str
        Label of the checkpoint.
    cells : Dataset, (epsilon, gamma, chain, draw)
        Traces at every epsilon and gamma, not loaded.
    recommendation : Recommendation
        Epsilon and gamma, and why; or why none. What is recommended has held with several chains.
    pick : Dataset, (chain, draw), or None
        Traces of the recommended epsilon and gamma; where none held, of those tried last; None
        where no cell passed.
    """

    sampled: LLCReport
    checkpoint: str
    cells: xr.Dataset
    recommendation: Recommendation
    pick: xr.Dataset | None


def estimate_llc(
    options: EstimateOptions,
    *,
    data: Any = None,
    loss: str | Loss = "cross_entropy",
    allow_random: bool = False,
    client: "Client | None" = None,
    progress: bool = False,
) -> LLCReport:
    """Sample the chains that a store lacks.

    Parameters
    ----------
    options : EstimateOptions
        Model, checkpoints, data, and how chains are sampled.
    data : optional
        Samples in place of the image set of the options: a tuple of tensors, (sample, ...) each,
        a torch Dataset, or what `dvis.kinds.llc.measure.samples_of` gives.
    loss : {"cross_entropy", "mse"} or callable
        Loss of each sample: `loss(model, batch)` gives a Tensor (sample,). A store knows it by its
        name and, where the name is shared or the code changes, its tag: `loss.dvis_tag = "v2"`.
    allow_random : bool
        Take data that differs when it is read again, such as augmented images.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    LLCReport
        How many chains were sampled, and what is to be said of some: diverged, failed and why.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded into the model.
    KeyError, ValueError
        When no weight has such a name, an option is out of its range, the data are random, a loss
        without a name of its own has no tag, or the store has chains of other data or settings
        under the name.
    TypeError
        When the loss or the data cannot travel to workers.
    DiskFullError
        When there is no space left; what was sampled before is safe, and a second run goes on.
    """
    plan = plan_sampling(options, ESTIMATE, data=data, loss=loss, allow_random=allow_random)
    return sample_chains(plan, client=client, progress=progress)


def calibrate_llc(
    options: CalibrateOptions,
    *,
    data: Any = None,
    loss: str | Loss = "cross_entropy",
    allow_random: bool = False,
    client: "Client | None" = None,
    progress: bool = False,
) -> CalibrationReport:
    """Sample every epsilon with every gamma at one checkpoint, and several chains of the best.

    Where these chains do not agree, or their halves do not, the next best is tried, up to three.

    Parameters
    ----------
    options : CalibrateOptions
        Model, checkpoint, data, and what is tried.
    data, loss, allow_random, client, progress
        As `estimate_llc` takes them.

    Returns
    -------
    CalibrationReport
        What was sampled, and which epsilon and gamma are recommended, and why.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError, TypeError, DiskFullError
        As `estimate_llc` raises them.
    """
    paths = None if options.checkpoint is None else (options.checkpoint,)
    found = find_checkpoints(paths)
    if len(found) > 1:
        raise ValueError(
            f"{options.checkpoint} holds {len(found)} checkpoints; give the file of one, such as "
            f"the last: {found[-1].path}"
        )
    label = found[0].label
    cells_of_run = EstimateOptions(
        model=options.model,
        checkpoint_path=paths,
        epsilon=options.epsilon,
        gamma=options.gamma,
        chains=options.cell_chains,
        parameters=(options.parameters,),
        name=options.name or f"{CALIBRATION}-{label}",
        **{name: getattr(options, name) for name in _SHARED},
    )
    plan = plan_sampling(cells_of_run, CALIBRATION, data=data, loss=loss, allow_random=allow_random)
    sampled = sample_chains(plan, client=client, progress=progress)
    # So many as every cell has, so that a second run recommends what the first did.
    cells = _traces(sampled, options).isel({CHAIN: slice(options.cell_chains)})
    recommendation, pick = _tried(plan, options, recommend(cells), sampled, client, progress)
    return CalibrationReport(
        sampled=sampled, checkpoint=label, cells=cells, recommendation=recommendation, pick=pick
    )


def _tried(
    plan: SamplingPlan,
    options: CalibrateOptions,
    found: Recommendation,
    sampled: LLCReport,
    client: "Client | None",
    progress: bool,
) -> tuple[Recommendation, xr.Dataset | None]:
    """The best cell that holds with several chains, and the chains that were sampled last."""
    problems: list[str] = []
    recommendation, pick = found, None
    while recommendation.is_found:
        more = sample_chains(
            _of_pick(plan, options, recommendation), client=client, progress=progress
        )
        sampled.n_measured += more.n_measured
        sampled.n_failed += more.n_failed
        sampled.notes += [note for note in more.notes if note not in sampled.notes]
        chains = slice(options.chains)
        pick = _traces(more, options).isel({EPSILON: 0, GAMMA: 0, CHAIN: chains}).load()
        problem = problem_of(pick, found.table)
        if problem is None:
            break
        problems.append(problem)
        recommendation = after_trial(found, problems)
    return recommendation, pick


def _of_pick(plan: SamplingPlan, options: CalibrateOptions, pick: Recommendation) -> SamplingPlan:
    """All chains of the recommended cell; what other cells have is not to be overwritten."""
    assert pick.epsilon is not None
    assert pick.gamma is not None
    options_of_pick = replace(
        plan.options,
        epsilon=(pick.epsilon,),
        gamma=(pick.gamma,),
        chains=options.chains,
        overwrite=False,
    )
    return replace(plan, options=options_of_pick)


def _traces(report: LLCReport, options: CalibrateOptions) -> xr.Dataset:
    """The traces that a run at one checkpoint asked for, (epsilon, gamma, chain, draw)."""
    traces = llc_traces(report.store, report.run, report.name)
    wanted = {EPSILON: list(report.epsilon), GAMMA: list(report.gamma)}
    cells = traces.sel(wanted).sel({PARAMETERS: report.parameters[0]}).isel({CHECKPOINT: 0})
    return cells.assign_attrs(burn_in=options.settings.burn_in)
