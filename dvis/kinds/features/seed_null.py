"""After a sweep of several seeds: what their agreement is held against, measured the same way."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from dvis.kinds.features.record import FeatureRecorder, model_inputs
from dvis.kinds.features.tasks import PairTask
from dvis.kinds.features.words import SEED_NULL, SEED_SIMILARITY
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status


class SeedNull:
    """What records similarities of different units' images, and says which images these are.

    Parameters
    ----------
    recorder : FeatureRecorder
        The variants' groups, prepared.
    """

    kept: Mapping[str, int] = {}

    def __init__(self, recorder: FeatureRecorder) -> None:
        self._recorder = recorder
        self._is_there: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}

    def missing(self, label: str, task: PairTask) -> tuple[int, ...]:
        """Channels of a task that lack what their agreement is held against."""
        if not self._recorder.has_units(label, task):
            return ()
        channels, partners = np.array(task.channels), np.array(task.partners)
        has_images, lacks = np.array(channels != partners), np.zeros(len(channels), bool)
        for variant, group in self._recorder.groups_of(task):
            if (variant, task.layer) not in self._is_there:
                at = slice(None), group.layers[task.layer]
                status, of_seeds, null = (
                    group.read(name, *at) for name in ("status", SEED_SIMILARITY, SEED_NULL)
                )
                is_complete = status == Status.COMPLETE
                is_open = is_complete & ~np.isnan(of_seeds) & np.isnan(null)
                self._is_there[variant, task.layer] = is_complete, is_open
            is_complete, is_open = self._is_there[variant, task.layer]
            row = group.rows[CHECKPOINT][label]
            has_images &= is_complete[row, channels] & is_complete[row, partners]
            lacks |= is_open[row, channels]
        return tuple(channels[has_images & lacks].tolist())

    def __call__(self, _before: str | None, label: str, task: PairTask, /) -> np.ndarray | None:
        """Model inputs (2, image_number, channel, rgb, y, x): the units' and their partners'."""
        found = []
        for _, group in self._recorder.groups_of(task):
            at = group.rows[CHECKPOINT][label], group.layers[task.layer]
            pairs = (np.array(task.channels), np.array(task.partners))
            found.append([model_inputs(group, *at, channels) for channels in pairs])
        return np.stack(found, axis=1)

    def record(self, label: str, task: PairTask, result: xr.Dataset) -> list[str]:
        """Keep the similarities."""
        for number, (_, group) in enumerate(self._recorder.groups_of(task)):
            labels = {CHECKPOINT: label, LAYER: task.layer}
            places = group.places({**labels, CHANNEL: result[CHANNEL].values})
            group.put(SEED_NULL, places, result[SEED_NULL].values[number], group.status(places))
        return []

    def fail(self, label: str, task: PairTask, error: str) -> None:
        """Leave the units as they are: they are looked at again by the next run."""

    def close(self) -> None:
        """Show readers all of it."""
        self._recorder.close()
