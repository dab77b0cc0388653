"""Kernels between channels at every checkpoint of a run, with batch norm folded in.

A run's checkpoints in, one labelled Dataset out; nothing is stored, for the checkpoints hold it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.edges.input_layers import norm_behind, same_channels
from dvis.kinds.edges.measure import EdgeShares
from dvis.kinds.edges.options import KernelsOptions
from dvis.kinds.edges.plan import shares_of
from dvis.kinds.edges.sums import Weighted, n_inputs, weighted_layers
from dvis.kinds.edges.words import INPUT_CHANNEL
from dvis.models.architectures import load_model
from dvis.models.devices import find_device
from dvis.models.hooks import find_layer, trace_layers
from dvis.models.model_input import find_input
from dvis.models.model_reference import model_name
from dvis.names import CheckpointName
from dvis.schema import CHANNEL, CHECKPOINT, X, Y
from dvis.sweep.probing import probe_of
from dvis.sweep.run_facts import RunFacts, run_of


def read_kernels(options: KernelsOptions) -> xr.Dataset:
    r"""Kernels between channels over checkpoints.

    With the batch norm that reads the layer,

    .. math:: K'_{dcij} = \gamma_d K_{dcij} / \sqrt{v_d + \epsilon}.

    Parameters
    ----------
    options : KernelsOptions
        Model, checkpoints, layer and channels.

    Returns
    -------
    Dataset, (checkpoint, channel, input_channel, y, x)
        - `kernel`, float32, 0 between groups;
        - `share` (checkpoint, channel, input_channel), float32, as `dvis.edges` has it, where
          images are given;
        - `step` and `epoch` of checkpoints.

        `attrs` tell `layer`, the batch norm that was folded (`norm`, "" where there is none), whose
        statistics (`batch_norm`), and `input_layers`, whose channels the inputs are.

    Raises
    ------
    KeyError, ValueError
        When there is no such layer or channel, or it has no kernel.
    FileNotFoundError, CheckpointError
        When there are no checkpoints, or one cannot be loaded into the model.
    """
    find_device(options.device)
    run = run_of(options)
    model, first = run.first_model(options.model)
    measured = shares_of(probe_of(options, run)) if options.given else None
    taken = find_input(options, run.facts.get(first, {}), options.model, model, options.image_size)
    transform, some = taken.transform, next(model.parameters())
    image = some.new_zeros(1, transform.channels, transform.size, transform.size)
    weighted = _layer(model, options.layer, image)
    channels = _chosen("channels", options.channels, weighted.weight.shape[0], options.layer)
    inputs = _chosen("inputs", options.inputs, n_inputs(weighted), options.layer)
    norm = norm_behind(model, options.layer, image)
    found = []
    for checkpoint in run.checkpoints:
        if checkpoint.label in run.unreadable:
            raise run.unreadable[checkpoint.label]
        loaded = load_model(options.model, checkpoint, options.device)
        found.append(_of_model(loaded, options.layer, norm, measured, channels, inputs))
    kernels = xr.concat(
        found, CHECKPOINT, data_vars="all", coords="minimal", join="exact"
    ).assign_coords(_places(run))
    kernels.attrs = {
        "model": model_name(options.model),
        "run": options.run,
        "layer": options.layer,
        "norm": norm,
        "batch_norm": options.batch_norm if measured is not None else "running",
        "input_layers": same_channels(model, options.layer, image),
    }
    return kernels


def _layer(model: nn.Module, layer: str, image: Tensor) -> Weighted:
    module = find_layer(model, layer)
    there = weighted_layers(model, trace_layers(model, image))
    if layer not in there:
        raise ValueError(
            f"layer {layer!r} is a {type(module).__name__} without a kernel; take one of "
            f"{', '.join([*there][:10])}"
        )
    return there[layer]


def _chosen(option: str, asked: Sequence[int], n: int, layer: str) -> list[int]:
    if any(not 0 <= number < n for number in asked):
        raise ValueError(f"{option} are {list(asked)}; {layer} has {n} of them: 0 to {n - 1}")
    return list(asked or range(n))


def _of_model(
    model: nn.Module,
    layer: str,
    norm: str,
    measured: EdgeShares | None,
    channels: list[int],
    inputs: list[int],
) -> xr.Dataset:
    """Kernels of one checkpoint."""
    calibrated = model if measured is None else measured.recalibrated(model)
    kernel = _dense(find_layer(calibrated, layer))
    if norm:
        kernel = kernel * _gain(find_layer(calibrated, norm))[:, None, None, None]
    dims = (CHANNEL, INPUT_CHANNEL)
    at = np.ix_(channels, inputs)
    variables: dict[str, Any] = {"kernel": ((*dims, Y, X), kernel.float().cpu().numpy()[at])}
    if measured is not None:
        variables["share"] = (dims, measured.shares(model, [layer])[layer].values[at])
    made = xr.Dataset(variables, {CHANNEL: channels, INPUT_CHANNEL: inputs})
    made["kernel"].attrs = {"long_name": "kernel with batch norm folded in", "units": "1"}
    if measured is not None:
        made["share"] = made["share"].astype(np.float32)
        made["share"].attrs = {"long_name": "share of the channel's variance", "units": "1"}
    return made


def _dense(layer: nn.Module) -> Tensor:
    """Kernel (channel, input_channel, y, x), float64, with zeros between groups."""
    assert isinstance(layer, Weighted)
    kernel = layer.weight.detach().double()
    if isinstance(layer, nn.Linear):
        return kernel[:, :, None, None]
    n_groups = layer.groups
    blocks = kernel.reshape(n_groups, -1, *kernel.shape[1:])
    whole = blocks.new_zeros(n_groups, blocks.shape[1], n_groups, *kernel.shape[1:])
    groups = torch.arange(n_groups)
    whole[groups, :, groups] = blocks
    return whole.reshape(len(kernel), -1, *kernel.shape[2:])


def _gain(norm: nn.Module) -> Tensor:
    """What batch norm multiplies a channel with, (channel,), float64."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    if norm.running_var is None:
        raise ValueError(
            "the batch norm behind the layer has no running statistics, so that there is no one "
            "kernel; take another layer"
        )
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    return gain if norm.weight is None else gain * norm.weight.detach().double()


def _places(run: RunFacts) -> dict[str, tuple[str, list[float]] | list[str]]:
    """Label, step and epoch of checkpoints."""
    names: list[CheckpointName] = [checkpoint.name for checkpoint in run.checkpoints]
    steps = run.steps
    return {
        CHECKPOINT: [name.label for name in names],
        "step": (CHECKPOINT, [steps.get(name.label, np.nan) for name in names]),
        "epoch": (CHECKPOINT, [name.epoch if name.epoch >= 0 else np.nan for name in names]),
    }
