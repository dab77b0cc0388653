"""Units as pictures of circuits show them: their names, images, births, and moments of training.

Datasets in; texts, Datasets and places out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.requirements import require_births
from dvis.analysis.trajectories import steps_of
from dvis.kinds.activations.pictures.cells import images_of_unit
from dvis.kinds.influence.ends import n_measured, prepared
from dvis.plots.selection import labels_of
from dvis.plots.time_axis import moment_names
from dvis.schema import CHANNEL, CHECKPOINT, LATENT, LAYER, counted

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

BIRTH_STYLE: dict[str, Any] = {"color": "black", "marker": ">", "ms": 4.5, "ls": "none"}
LATENTS_OF = "~"  # between a layer and the name of autoencoders of it whose latents are the units


def node_name(layer: str, channel: int) -> str:
    """What a unit is called where there is little room.

    Examples
    --------
    >>> node_name("layer2", 17)
    'layer2 · 17'
    """
    return f"{layer} · {channel}"


def moment_name(dataset: xr.Dataset, label: str) -> str:
    """What a checkpoint of a Dataset is called."""
    place: int = labels_of(dataset, CHECKPOINT).index(label)
    return moment_names(dataset)[place]


def images_of_node(unit_images: xr.Dataset | None, layer: str, channel: int) -> xr.Dataset | None:
    """Feature images of a unit, (checkpoint, y, x, rgb); None where there are none of it."""
    of_layer, of_latents, name = layer.partition(LATENTS_OF)
    if not of_latents:
        return images_of_unit(unit_images, layer, channel)
    if unit_images is None or unit_images.attrs.get("variant") != f"latents-{name}":
        return None
    return images_of_unit(unit_images, of_layer, channel, unit=LATENT)


@dataclass(frozen=True, kw_only=True)
class Births:
    """When units are born, by layer and channel.

    Attributes
    ----------
    labels : dict of (str, int) to str
        Checkpoint of each unit that is born.
    steps : dict of (str, int) to float
        Training step, NaN where it is not known.
    criterion : str
        How they were found, for the margin.
    """

    labels: dict[tuple[str, int], str]
    steps: dict[tuple[str, int], float]
    criterion: str

    @classmethod
    def of(cls, births: xr.Dataset | None) -> Self:
        """Of what `ds.dvis.births` gave of units; None are none.

        Raises
        ------
        SchemaError
            When these are no births of units.
        """
        if births is None:
            return cls(labels={}, steps={}, criterion="")
        require_births(births, "birth_checkpoint", "state", LAYER, CHANNEL)
        named = [n for n in ("birth_checkpoint", "birth_step", "state") if n in births]
        table = births[named].load()
        gone = [dim for dim in (LAYER, CHANNEL) if dim not in table.dims]
        table = (table.expand_dims(gone) if gone else table).transpose(LAYER, CHANNEL, ...)
        labels, steps = {}, {}
        for row, column in np.argwhere(table["state"].values == BORN).tolist():
            unit = str(table[LAYER].values[row]), int(table[CHANNEL].values[column])
            labels[unit] = str(table["birth_checkpoint"].values[row, column])
            steps[unit] = (
                float(table["birth_step"][row, column]) if "birth_step" in table else np.nan
            )
        return cls(labels=labels, steps=steps, criterion=_criterion(births))

    def place(self, unit: tuple[str, int], dataset: xr.Dataset) -> int:
        """The first place along a Dataset's checkpoints at which a unit is born; -1 if at none."""
        if unit not in self.labels:
            return -1
        there = labels_of(dataset, CHECKPOINT)
        if self.labels[unit] in there:
            return there.index(self.labels[unit])
        # Births may be of other checkpoints than influence is.
        born = np.flatnonzero(steps_of(dataset) >= self.steps[unit])
        return int(born[0]) if len(born) else -1


def birth_handles(born: Births) -> "list[Line2D]":
    """What marks births, for a legend; nothing where there are none."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label="unit born", **BIRTH_STYLE)] if born.labels else []


def measured_note(influence: xr.Dataset, pairs: Iterable[tuple[str, str]], label: str = "") -> str:
    """Of which layers (source, target) not all channels are measured at a checkpoint, or at any."""
    whole = prepared(influence)
    at = whole.sel({CHECKPOINT: label}) if label else whole
    counts = {source: n_measured(at, source, target) for source, target in pairs}
    said = [
        f"{n_there:,} of {counted(n_all, 'channel')} of {source}"
        for source, (n_there, n_all) in counts.items()
        if n_there < n_all
    ]
    return f"measured: {', '.join(said)}" if said else ""


def agreement_note(reliability: xr.DataArray, *, is_of_all: bool = True) -> str:
    """How far halves of the images agree on the order of a unit's inputs, or of several units'."""
    lowest, highest = float(reliability.min()), float(reliability.max())
    if not np.isfinite(lowest):
        return ""
    which = "all inputs" if is_of_all else "the inputs that were measured"
    rho = f"{lowest:.2f}" + (f" to {highest:.2f}" if highest - lowest >= 0.01 else "")
    return f"even and odd images agree on the order of {which}: Spearman's \u03c1 {rho}"


def _criterion(births: xr.Dataset) -> str:
    attrs = births.attrs
    if "fraction" not in attrs:
        return ""
    variable = str(attrs.get("variable", "value")).replace("_", " ")
    return f"unit born: {variable} stays above {float(attrs['fraction']):.0%} of its final level"
