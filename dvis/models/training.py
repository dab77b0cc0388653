"""A plain training loop that saves checkpoints at chosen steps, and goes on where it stopped.

Settings go in; a folder of checkpoints comes out, each with its losses and accuracies. Every draw
of chance is a function of the seed and the step, so that nothing about it needs to be saved, and
saving or measuring more often changes no weight.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import cross_entropy

from dvis.models.checkpoints import read_facts
from dvis.models.devices import find_device
from dvis.models.processes import safely_started
from dvis.models.run_folder import (
    check_same_run,
    find_resumed,
    hold_folder,
    metrics_table,
    read_resumed,
    save_checkpoint,
    saved_checkpoint,
)
from dvis.models.schedule import Draw, checkpoint_steps, is_epoch_end, learning_rate, seed_for
from dvis.models.training_data import Batch, TrainingData, load_training_data
from dvis.models.training_settings import TrainingSettings
from dvis.models.training_state import TrainingState, begin, classification_loss
from dvis.progress import progress_bar

_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(ValueError):
    """The loss or the weights are no longer finite; the checkpoints saved before are sound."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A training run's folder and what it holds.

    Attributes
    ----------
    folder : Path
        Where the checkpoints are.
    checkpoints : tuple of Path
        All of them, in training order.
    metrics : Dataset
        Losses, accuracies and learning rate (checkpoint); see `metrics_table`.
    stopped_early : bool
        Whether the validation loss had ceased to improve before the last step.
    """

    folder: Path
    checkpoints: tuple[Path, ...]
    metrics: xr.Dataset
    stopped_early: bool


@dataclass(frozen=True)
class _Plan:
    """What stays while a model is trained."""

    settings: TrainingSettings
    data: TrainingData
    facts: dict[str, Any]
    device: torch.device
    folder: Path
    on_checkpoint: Callable[[Path], None] | None


def train(
    settings: TrainingSettings,
    *,
    progress: bool = False,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> TrainingRun:
    """Train a model, and save checkpoints of it at chosen steps.

    With one thread on a CPU, a run repeats bit for bit, also where it was killed and resumed. The
    random state of the caller and the number of threads are as before afterwards.

    Parameters
    ----------
    settings : TrainingSettings
        What to train, on what, how, and when to save.
    progress : bool
        Show a bar.
    on_checkpoint : callable, optional
        Called with the path of each checkpoint that is saved.

    Returns
    -------
    TrainingRun
        The folder and all that it holds, what was saved before a resumption included.

    Raises
    ------
    ValueError
        When the model, the image set or the device is not known, the model cannot take the images,
        mixed precision is asked for on a CPU, or a resumed run has other settings.
    FileNotFoundError, FileExistsError
        When there is nothing to resume, or a run is to begin in a folder that is not empty.
    StoreLockedError
        When another process trains in the folder.
    DivergedError
        When the loss or the weights are no longer finite.
    DiskFullError
        When there is no space for a checkpoint.

    Examples
    --------
    >>> settings = TrainingSettings(model="resnet18", dataset="shapes", steps=300)
    >>> train(settings).metrics.val_accuracy.plot()  # doctest: +SKIP
    """
    device = find_device(settings.device)
    _check_mixed_precision(settings, device)
    resumed_path = find_resumed(settings)
    with _own_surroundings(settings, device):
        data = load_training_data(settings)
        facts = _facts(settings, data)
        state = begin(settings, data, device)
        if resumed_path is not None:
            resumed = read_resumed(resumed_path)
            check_same_run(resumed_path, resumed, facts)
            state.restore(resumed)
        with hold_folder(settings, resumed_path) as folder:
            plan = _Plan(settings, data, facts, device, folder, on_checkpoint)
            with (
                progress_bar(facts["total_steps"], "steps", settings.model, shown=progress) as bar,
                safely_started(),  # workers that load images
            ):
                _advance(state, plan, bar)
            metrics = metrics_table(folder)
    return TrainingRun(
        folder=folder,
        checkpoints=tuple(folder / label for label in metrics.checkpoint.values),
        metrics=metrics,
        stopped_early=state.step < facts["total_steps"],
    )


def _advance(state: TrainingState, plan: _Plan, bar: Any) -> None:
    """Train from the state's step to the last one, or until the validation loss stalls."""
    settings, data, total_steps = plan.settings, plan.data, plan.facts["total_steps"]
    epoch_batches = data.batches_per_epoch
    due = set(checkpoint_steps(settings, total_steps=total_steps, batches_per_epoch=epoch_batches))
    to_measure = data.to_measure()
    bar.initial = bar.n = state.step
    if state.step == 0 and 0 in due:
        _keep(state, plan, to_measure)
    while state.step < total_steps and not _is_stalled(state.val_losses, settings.patience):
        epoch, first_batch = divmod(state.step, epoch_batches)
        for batch in data.epoch(epoch, first_batch, pin=plan.device.type == "cuda"):
            loss = _take_step(state, plan, batch)
            bar.update()
            bar.set_postfix({"loss": f"{loss:.3f}"}, refresh=False)
            if state.step in due:
                _keep(state, plan, to_measure)
            if state.step == total_steps:
                break


def _take_step(state: TrainingState, plan: _Plan, batch: Batch) -> float:
    """One optimizer step; returns the batch's loss before it."""
    settings, device = plan.settings, plan.device
    images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    rate = learning_rate(
        settings,
        state.step,
        total_steps=plan.facts["total_steps"],
        batches_per_epoch=plan.data.batches_per_epoch,
    )
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(seed_for(settings.seed, Draw.STEP, state.step))
    precision = _PRECISION.get(settings.amp)
    with torch.autocast(device.type, precision, enabled=precision is not None):
        loss = classification_loss(state.model(images), labels, settings.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        raise _diverged(state, plan, f"the loss is {value}")
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
    if settings.clip_gradient_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    return value


def _keep(state: TrainingState, plan: _Plan, to_measure: dict[str, Iterable[Batch]]) -> None:
    """Measure the model and save it, unless the checkpoint is there from before a resumption."""
    batches_per_epoch = plan.data.batches_per_epoch
    saved = saved_checkpoint(plan.folder, state.step, batches_per_epoch)
    metrics = _measure(state, plan, to_measure) if saved is None else read_facts(saved)["metrics"]
    if is_epoch_end(state.step, batches_per_epoch):
        state.val_losses.append(metrics["val_loss"])
    if saved is not None:
        return
    content = {**plan.facts, **state.to_dict(), "metrics": metrics}
    path = save_checkpoint(plan.folder, state.step, batches_per_epoch, content)
    if plan.on_checkpoint is not None:
        plan.on_checkpoint(path)


def _measure(
    state: TrainingState, plan: _Plan, to_measure: dict[str, Iterable[Batch]]
) -> dict[str, float]:
    """Losses and accuracies of the model as it is, and the learning rate of its next step."""
    weights = (*state.model.parameters(), *state.model.buffers())
    if not all(bool(torch.isfinite(values).all()) for values in weights):
        raise _diverged(state, plan, "not all weights are finite")
    metrics = {
        "learning_rate": learning_rate(
            plan.settings,
            state.step,
            total_steps=plan.facts["total_steps"],
            batches_per_epoch=plan.data.batches_per_epoch,
        )
    }
    state.model.eval()
    for part, batches in to_measure.items():
        metrics[f"{part}_loss"], metrics[f"{part}_accuracy"] = _evaluate(
            state.model, batches, plan.device
        )
    state.model.train()
    return metrics


@torch.no_grad()
def _evaluate(
    model: nn.Module, batches: Iterable[Batch], device: torch.device
) -> tuple[float, float]:
    """Mean cross entropy and accuracy over all images of the batches."""
    loss, n_right, n_images = 0.0, 0, 0
    for images, labels in batches:
        logits, labels = model(images.to(device)), labels.to(device)
        loss += cross_entropy(logits, labels, reduction="sum").item()
        n_right += int((logits.argmax(dim=1) == labels).sum())
        n_images += len(labels)
    return loss / n_images, n_right / n_images


def _is_stalled(val_losses: list[float], patience: int | None) -> bool:
    """Whether the least validation loss lies that many epochs back."""
    if patience is None or not val_losses:
        return False
    return len(val_losses) - 1 - int(np.argmin(val_losses)) >= patience


def _facts(settings: TrainingSettings, data: TrainingData) -> dict[str, Any]:
    """What each checkpoint of the run tells about it."""
    return {
        "model": settings.model,
        "input": data.train.transform.to_dict(),
        "data": data.facts(),
        "settings": settings.to_dict(),
        "total_steps": settings.total_steps(data.batches_per_epoch),
        "random_seed": settings.seed,
    }


def _check_mixed_precision(settings: TrainingSettings, device: torch.device) -> None:
    if settings.amp == "off":
        return
    if device.type == "cpu":
        raise ValueError(
            f"--amp {settings.amp} needs a GPU: most CPUs compute in it slower than in float32. "
            "Give --device cuda, or leave --amp off"
        )
    if settings.amp == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError(f"{settings.device} has no bf16; give --amp fp16")


@contextlib.contextmanager
def _own_surroundings(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """Random state and threads of our own; the caller's are as before afterwards."""
    n_threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            if settings.threads is not None:
                torch.set_num_threads(settings.threads)
            yield
    finally:
        torch.set_num_threads(n_threads)


def _diverged(state: TrainingState, plan: _Plan, what: str) -> DivergedError:
    return DivergedError(
        f"after {state.step} steps {what}. The checkpoints in {plan.folder} are sound. Begin a new "
        f"run with a lower --learning-rate than {plan.settings.peak_lr:g}, --lr-warmup-steps, or "
        "--clip-gradient-norm"
    )
