"""The command `train`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro

from dvis.models.torch_guard import needing_torch
from dvis.models.training_settings import TrainingSettings
from dvis.schema import CHECKPOINT, counted

_INTERRUPTED = 130


def train(settings: Annotated[TrainingSettings, tyro.conf.arg(name="")]) -> int:
    """Train a model and save its checkpoints at log-spaced steps and at each epoch's end.

    Parameters
    ----------
    settings
        What to train, on what, and how.
    """
    with needing_torch("train"):
        from dvis.models import training

    saved: list[Path] = []
    try:
        run = training.train(settings, progress=True, on_checkpoint=saved.append)
    except KeyboardInterrupt:
        if not saved:
            raise
        folder = shlex.quote(str(saved[-1].parent))
        print(
            f"\nstopped; to go on, run the same command with --resume-from-checkpoint {folder}",
            file=sys.stderr,
        )
        return _INTERRUPTED
    print(f"{run.folder}: {counted(len(run.checkpoints), 'checkpoint')}, {len(saved)} of them new")
    if run.stopped_early:
        print("stopped early: the validation loss no longer improves")
    last = run.metrics.isel({CHECKPOINT: -1})
    for part, images in (("val", "validation images"), ("train", "training images")):
        accuracy, loss = float(last[f"{part}_accuracy"]), float(last[f"{part}_loss"])
        print(f"{images}: accuracy {accuracy:.3f}, loss {loss:.3f}")
    return 0
