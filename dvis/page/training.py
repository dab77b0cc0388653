"""Numbers that the training kept with its checkpoints, as curves: they are of no kind."""

from collections.abc import Iterator, Sequence

import xarray as xr

from dvis.kinds.parts import Asked, Curves, Line
from dvis.schema import CHECKPOINT
from dvis.store.reader import with_metrics

# Titles, and of each line the number, what it is called there, and beside the slider.
_CURVES = {
    "Loss": (("train_loss", "training", "training loss"), ("val_loss", "validation", "")),
    "Accuracy": (("train_accuracy", "training", ""), ("val_accuracy", "validation", "accuracy")),
}


def training_curves(asked: Asked, checkpoints: Sequence[str]) -> Iterator[Curves]:
    """Loss and accuracy of a run at some of its checkpoints, where they were kept."""
    labels = xr.Dataset(coords={CHECKPOINT: list(checkpoints)})
    kept = with_metrics(labels, asked.store, asked.run, asked.contents.training)
    for title, names in _CURVES.items():
        if not any(name in kept for name, *_ in names):
            continue
        # One that was not kept has its line too, so that each is always drawn in its own colour.
        none = [None] * len(checkpoints)
        lines = [
            Line(
                label=label,
                values=kept[name].values if name in kept else none,
                beside_slider=beside_slider,
            )
            for name, label, beside_slider in names
        ]
        yield Curves(title=title, checkpoints=checkpoints, lines=lines, with_zero=True)
