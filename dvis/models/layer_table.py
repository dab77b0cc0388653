"""Layers of a model as a table: what each gives, and where tokens that are no patches stand.

A model in, one row for each layer whose output has channels out.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import nn

from dvis.models.architectures import load_model
from dvis.models.building import build_model
from dvis.models.checkpoints import load_checkpoint
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.models.input_options import InputOptions
from dvis.models.model_input import find_input
from dvis.models.model_reference import Model

COLUMNS = ("type", "shape", "channels", "tokens")


def layer_table(model: Model, checkpoint: Path | None, options: InputOptions) -> pd.DataFrame:
    """Every layer whose output has channels, in the order of the first call.

    Parameters
    ----------
    model : str or GivenModel
        The model.
    checkpoint : Path or None
        A file of its weights, which tells its number of classes and image size.
    options : InputOptions
        What the model takes, where the caller tells.

    Returns
    -------
    DataFrame, (layer,), with `type`, `shape` (of one image's output, without the batch),
    `channels`, and `tokens`: what the rows of (token, channel) stand for.

    Raises
    ------
    FileNotFoundError, CheckpointError, ImportError
        When a file or a model's library is not there, or the weights do not fit.
    ValueError
        When there is no such model, or it takes no such images.
    """
    with torch.random.fork_rng(devices=[]):
        module = build_model(model) if checkpoint is None else load_model(model, checkpoint)
    facts = {} if checkpoint is None else load_checkpoint(checkpoint).facts
    transform = find_input(options, facts, model, module).transform
    some = next(module.parameters(), torch.zeros(()))
    images = some.new_zeros(1, transform.channels, transform.size, transform.size)
    try:
        outputs = trace_layers(module, images)
    except RuntimeError as err:  # torch's, of a layer that the images do not fit
        raise ValueError(
            f"{model} takes no images of {transform.channels} channels and {transform.size} x "
            f"{transform.size} px: {str(err).splitlines()[0]}. Give another --input-size or "
            "--input-channels"
        ) from err
    modules = dict(module.named_modules())
    n_prefix = prefix_tokens(module)
    rows = {
        layer: (
            type(modules[layer]).__name__,
            " x ".join(map(str, output.shape[1:])),
            output.n_channels,
            _tokens(output, n_prefix),
        )
        for layer, output in outputs.items()
        if layer
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.rename_axis("layer")


def prefix_tokens(module: nn.Module) -> int | None:
    """Tokens of a transformer before its patches: the class's and registers; None if not known."""
    of_timm = getattr(module, "num_prefix_tokens", None)
    if isinstance(of_timm, int):
        return of_timm
    names = ("class_token", "class_embedding")  # torchvision's, OpenCLIP's
    return 1 if any(isinstance(getattr(module, n, None), torch.Tensor) for n in names) else None


def _tokens(output: LayerOutput, n_prefix: int | None) -> str:
    """What rows of (token, channel) are: class and registers first, then patches row by row."""
    if len(output.shape) != 3 or n_prefix is None:
        return ""
    n_patches = output.shape[1] - n_prefix
    side = round(max(n_patches, 0) ** 0.5)
    if n_patches < 1 or side * side != n_patches:
        return ""
    before = {0: "", 1: "class, "}.get(n_prefix, f"class and {n_prefix - 1} registers, ")
    return f"{before}{side} x {side} patches"
