"""Whether stored images give the activations that are stored beside them.

A store and the checkpoints of its units in, one line for each unit that differs out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from torch import nn

from dvis.kinds.features.latents import stored_latents
from dvis.kinds.features.levels import coloured_input
from dvis.kinds.features.made_of import WEIGHTS, fingerprint_of, with_directions
from dvis.kinds.features.measure.objectives import objectives_of
from dvis.kinds.features.measure.stored import activations
from dvis.kinds.features.read import FEATURE_READER, parameters_of
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import FINGERPRINT, KIND, Variant
from dvis.models.architectures import load_model
from dvis.models.building import model_names
from dvis.models.checkpoints import (
    CheckpointError,
    CheckpointFile,
    find_checkpoints,
    fingerprint,
)
from dvis.models.devices import find_device
from dvis.models.directions import Directions
from dvis.models.hooks import trace_layers
from dvis.models.model_reference import Model
from dvis.progress import progress_bar
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status, group_path
from dvis.store.contents import Contents, contents, resolve
from dvis.sweep.plan import MADE_WITH

_TOLERANCE = 0.01
_BATCH = 32


@dataclass
class VerifyReport:
    """What `verify_store` found."""

    n_verified: int = 0
    n_unknown: int = 0
    faults: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    n_of_other_weights: int = 0


def verify_store(
    store: str | Path,
    model: Model | None = None,
    *,
    checkpoint_path: Sequence[Path] | None = None,
    run: str | None = None,
    weights_key: str | None = None,
    tolerance: float = _TOLERANCE,
    device: str = "cpu",
    progress: bool = False,
) -> VerifyReport:
    """Recompute the activations of a run's stored images.

    Parameters
    ----------
    store : str or Path
        The store.
    model : str or GivenModel, optional
        The model, where it is none of torchvision's: a name, as `dvis visualize` takes it.
        A store's own name for it is taken where torchvision has it; no other is, for a store does
        not say what code is to run.
    checkpoint_path : sequence of Path, optional
        The run's checkpoints: files, or folders of them.
    run : str, optional
        The run (default: the store's).
    weights_key : str, optional
        Which weights of a file are meant, where several fit the model.
    tolerance : float
        Share of the stored activation by which the recomputed one may differ.
    device : str
        Where to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    VerifyReport
        Units that agree, units that cannot be verified (jpgs, whose values are not known; units of
        checkpoints that are not there) with the reasons, and faults.

    Raises
    ------
    FileNotFoundError, KeyError, SchemaError, ValueError
        When there is no such store, run, checkpoint folder or device, or no model is given and the
        store's is none of torchvision's.
    """
    find_device(device)
    found = contents(store)
    model = model or _named_model(found, str(store))
    run = FEATURE_READER.choose(found, run, None).run
    files = {
        file.label: file for file in find_checkpoints(checkpoint_path, weights_key=weights_key)
    }
    report = VerifyReport()
    datasets = {
        variant: FEATURE_READER.open(store, run, variant) for variant in found.names(KIND, run)
    }
    directions = _directions(store, run, datasets, report)
    n_units = sum(int((d.status == Status.COMPLETE).sum()) for d in datasets.values())
    labels = {str(label): None for d in datasets.values() for label in d[CHECKPOINT].values}
    if absent := [label for label in labels if label not in files]:
        where = ", ".join(map(str, checkpoint_path or ())) or "no folder"
        report.reasons.append(
            f"{len(absent)} of the store's {len(labels)} checkpoints are not in {where}, such as "
            f"{absent[0]}; give --checkpoint-path the run's folder"
        )
    with progress_bar(n_units, "units", "verify", shown=progress) as bar:
        for label in labels:
            file = files.get(label)
            network = _load(model, file, device, report)
            for variant, dataset in datasets.items():
                if label in dataset[CHECKPOINT].values:
                    at = dataset.sel({CHECKPOINT: label})
                    if network is not None:  # whose file tells which weights are meant
                        along = directions.get(variant)
                        n_other = _n_of_other_weights(store, run, variant, at, file, along)
                        report.n_of_other_weights += n_other
                    for n in _verify(
                        network, at, variant, tolerance, report, directions.get(variant)
                    ):
                        bar.update(n)
    if report.n_of_other_weights:
        report.reasons.append(
            f"{report.n_of_other_weights} units were made of other weights than the checkpoints "
            "of the same names in --checkpoint-path, or of another autoencoder than the store "
            "has now; give the run's own, or `dvis visualize --overwrite` makes them again"
            if directions
            else f"{report.n_of_other_weights} units were made of other weights than the "
            "checkpoints of the same names in --checkpoint-path; give the run's own"
        )
    return report


def _directions(
    store: str | Path, run: str, datasets: Mapping[str, xr.Dataset], report: VerifyReport
) -> dict[str, Directions]:
    """What units are that are no channels, by variant; where that is not known, the reason."""
    found = {}
    for variant, dataset in datasets.items():
        if not Variant.parse(variant).is_directed:
            continue
        try:
            found[variant] = stored_latents(store, run, dataset)
        except (KeyError, ValueError) as err:
            report.reasons.append(f"units of {variant} cannot be verified: {err.args[0]}")
    return found


def _named_model(found: Contents, store: str) -> str:
    """The store's own name for its model, where dvis builds it: no code is run for another."""
    name = str(found.attrs["model"])
    made_with = {str(e.attrs[MADE_WITH]) for e in found.of(KIND) if MADE_WITH in e.attrs}
    if name in model_names() and made_with <= {name}:
        return name
    names = ", ".join(map(repr, sorted(made_with)))
    raise ValueError(
        f"{store} is of the model {name!r}, which is none of torchvision's: give the --model that "
        f"it was made with, {f'which it says is {names}' if names else 'such as package.module:f'}"
    )


def _n_of_other_weights(
    store: str | Path,
    run: str,
    variant: str,
    at: xr.Dataset,
    file: CheckpointFile | None,
    along: Directions | None,
) -> int:
    """Units of a checkpoint that a sweep made of another file than this one."""
    if file is None or file.path is None:
        return 0
    group: Any = zarr.open_group(
        resolve(store, None), path=group_path(run, KIND, variant), mode="r"
    )
    row = np.asarray(group[CHECKPOINT][:]).tolist().index(at[CHECKPOINT].item())
    made_of = np.asarray(group[FINGERPRINT][row])
    layers = np.asarray(group[LAYER][:]).tolist()
    here = made_of[[layers.index(layer) for layer in at[LAYER].values.tolist()]]
    units = at[["status", "params"]].transpose(LAYER, CHANNEL)
    is_measured = fingerprint_of(units.params.values, parameters_of(at)) == WEIGHTS
    label, weights = at[CHECKPOINT].item(), fingerprint(file.path, file.weights_key)
    expected = np.full(here.shape, weights, np.uint64)
    for place, layer in enumerate(at[LAYER].values.tolist()):
        read_out = None if along is None else along.at(layer, label)
        if read_out is not None:
            hashes = with_directions(weights, read_out.fingerprints)
            expected[place, list(read_out.numbers)] = hashes
    is_other = is_measured & (here != 0) & (here != expected)
    return int(((units.status.values == Status.COMPLETE) & is_other).sum())


def _load(
    model: Model, file: CheckpointFile | None, device: str, report: VerifyReport
) -> nn.Module | None:
    if file is None:
        return None
    try:
        return load_model(model, file, device)
    except CheckpointError as err:
        report.faults.append(f"{file.label}: {err}")
        return None


def _verify(
    model: nn.Module | None,
    dataset: xr.Dataset,
    variant: str,
    tolerance: float,
    report: VerifyReport,
    along: Directions | None,
) -> Iterator[int]:
    """Verify one checkpoint's units of a variant, a batch at a time; yield how many were seen."""
    for layer in dataset[LAYER].values.tolist():
        of_layer = dataset.sel({LAYER: layer})
        channels = np.flatnonzero(of_layer.status.values == Status.COMPLETE)
        read_out = None if along is None else along.at(layer, dataset[CHECKPOINT].item())
        is_told = read_out is not None or not Variant.parse(variant).is_directed
        for first in range(0, len(channels), _BATCH):
            units = of_layer.isel({CHANNEL: channels[first : first + _BATCH]}).load()
            is_known = units.value_min.notnull() & units.activation.notnull() & (units.params >= 0)
            known = units.isel({CHANNEL: np.flatnonzero(is_known.values)})
            if model is None or not known.sizes[CHANNEL] or not is_told:
                report.n_unknown += units.sizes[CHANNEL]
            else:
                report.n_unknown += units.sizes[CHANNEL] - known.sizes[CHANNEL]
                numbers = tuple(known[CHANNEL].values.tolist())
                task = FeatureTask(
                    layer, Variant.parse(variant).objective, numbers, read_out=read_out
                )
                _compare(model, known, task, variant, tolerance, report)
            yield units.sizes[CHANNEL]


def _compare(
    model: nn.Module,
    units: xr.Dataset,
    task: FeatureTask,
    variant: str,
    tolerance: float,
    report: VerifyReport,
) -> None:
    layer, like = task.layer, next(model.parameters())
    table = parameters_of(units)
    tables = [table[i] for i in units.params.values.tolist()]
    of_units = (units[name].values for name in ("image", "value_min", "value_max"))
    inputs = [
        coloured_input(image, low, high, table)
        for image, low, high, table in zip(*of_units, tables, strict=True)
    ]
    images = torch.from_numpy(np.stack(inputs)).to(like)
    outputs = trace_layers(model, images[:1])
    if layer not in outputs:
        report.faults.append(f"the model has no layer {layer!r}, of which there are images")
        return
    reached = activations(model, outputs, objectives_of(task, outputs[layer]), images)
    expected = units.activation.values
    is_near = np.abs(reached - expected) <= tolerance * np.abs(expected) + 1e-6
    for i in np.flatnonzero(~is_near).tolist():
        report.faults.append(
            f"{units[CHECKPOINT].item()}, {layer}, {variant}, channel {units.channel[i].item()}: "
            f"the store says {expected[i]:.6g}, its image gives {reached[i]:.6g}"
        )
    report.n_verified += int(is_near.sum())
