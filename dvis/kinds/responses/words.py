"""The arrays of a group of responses: what tells groups apart, and how they are made and grown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import zarr

from dvis.kinds.responses.read import IMAGE, Kind, array_specs, chunks_of
from dvis.names import CheckpointName
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, TEXT, VariableSpec
from dvis.store.growth import resize, settle

_COORDINATE_NAMES = "epoch phase batch step time n_channels"


@dataclass(frozen=True, kw_only=True)
class ResponseSettings:
    """What tells some responses from others.

    Parameters
    ----------
    kind : {"image", "class", "image_checkpoint"}
        What they have one of: an image, a class of them, or a checkpoint's feature images.
    labels : tuple of str
        Names of the images, the classes, or the checkpoints.
    images : mapping
        What the images are, with their fingerprint: plain values.
    aggregation : str
        What of a channel's map a response is.
    image_classes : tuple of str, (image,)
        Class of each image, where they have one.
    """

    kind: Kind
    labels: tuple[str, ...]
    images: Mapping[str, Any]
    aggregation: str
    image_classes: tuple[str, ...] = ()

    @property
    def attrs(self) -> dict[str, Any]:
        """The same as attributes of a group."""
        return {"kind": self.kind, "images": dict(self.images), "aggregation": self.aggregation}


@dataclass
class ResponseLayout:
    """The arrays of a group of responses: made, grown, and set right after a kill."""

    kind: Kind
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    _arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def coordinates(self) -> str:
        """Names of the coordinates that no dimension bears."""
        return f"{_COORDINATE_NAMES} image_class" if self.kind == IMAGE else _COORDINATE_NAMES

    def array(self, group: zarr.Group, name: str) -> Any:
        """One of the group's arrays, `source/...` included."""
        if name not in self._arrays:
            self._arrays[name] = group[name]
        return self._arrays[name]

    def create(self, group: zarr.Group, sizes: Mapping[str, int]) -> None:
        """Make the arrays, empty."""
        for name, spec in array_specs(self.kind).items():
            group.create_array(
                name,
                shape=(0,) * len(spec.dims),
                dtype=spec.dtype,
                chunks=chunks_of(spec, sizes),
                fill_value=spec.fill,
                dimension_names=spec.dims,
                attributes=dict(spec.attrs),
            )

    def settle(self, group: zarr.Group) -> None:
        """Give the arrays of a half-grown group the lengths of its written labels."""
        settle(group, array_specs(self.kind))

    def grow(
        self,
        group: zarr.Group,
        checkpoints: Sequence[CheckpointName],
        widths: Mapping[str, int],
        settings: ResponseSettings,
    ) -> None:
        """Make room: data first, coordinates after it, labels last."""
        old = self._labels(group)
        new = {
            CHECKPOINT: [n.label for n in checkpoints if n.label not in old[CHECKPOINT]],
            LAYER: [layer for layer in widths if layer not in old[LAYER]],
            self.kind: [label for label in settings.labels if label not in old[self.kind]],
        }
        width = self.array(group, CHANNEL).shape[0]
        sizes = {dim: len(old[dim]) + len(labels) for dim, labels in new.items()}
        sizes[CHANNEL] = max(width, *widths.values())
        specs = array_specs(self.kind)
        resize({name: self.array(group, name) for name in specs}, specs, sizes)
        of_new = [name for name in checkpoints if name.label in new[CHECKPOINT]]
        self._write_checkpoints(group, len(old[CHECKPOINT]), of_new)
        if settings.image_classes and new[IMAGE]:
            self.array(group, "image_class")[:] = np.array(settings.image_classes, TEXT)
        counts = np.asarray(self.array(group, "n_channels")[:])
        for layer, n in widths.items():
            counts[[*old[LAYER], *new[LAYER]].index(layer)] = n
        self.array(group, "n_channels")[:] = counts
        self.array(group, CHANNEL)[width:] = np.arange(width, sizes[CHANNEL])
        for dim, labels in new.items():
            if labels:
                self.array(group, dim)[len(old[dim]) :] = np.array(labels, TEXT)
        self.rows = self._labels(group)

    def _write_checkpoints(
        self, group: zarr.Group, first: int, names: Sequence[CheckpointName]
    ) -> None:
        """Write what the names of new checkpoints tell, but their labels."""
        if not names:
            return
        times = np.array([name.time for name in names], "datetime64[s]").astype("int64")
        self.array(group, "time")[first:] = times
        for column in ("epoch", "batch"):
            self.array(group, column)[first:] = np.array([getattr(n, column) for n in names])
        self.array(group, "phase")[first:] = np.array([n.phase for n in names], TEXT)

    def _labels(self, group: zarr.Group) -> dict[str, dict[str, int]]:
        return {
            dim: {
                label: i for i, label in enumerate(np.asarray(self.array(group, dim)[:]).tolist())
            }
            for dim in (CHECKPOINT, LAYER, self.kind)
        }


def arrays_of(attrs: Mapping[str, Any]) -> dict[str, VariableSpec]:
    """Arrays of the group of responses with these attributes; none where their kind is not known.

    A later dvis may know more kinds.
    """
    kind: Any = attrs.get("kind")
    return array_specs(kind) if kind in get_args(Kind) else {}
