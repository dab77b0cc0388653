"""The command `layers`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from dvis.models.input_options import InputOptions
from dvis.models.torch_guard import needing_torch


@dataclass(frozen=True, kw_only=True)
class LayersOptions(InputOptions):
    """Which model's layers are listed.

    Parameters
    ----------
    model
        Name of a torchvision classification model, timm:NAME, open_clip:NAME (its visual tower), or
        package.module:function of a factory.
    checkpoint_path
        A checkpoint, which tells the model's number of classes and image size.
    """

    model: Positional[str]
    checkpoint_path: Path | None = None


def layers(options: Annotated[LayersOptions, tyro.conf.arg(name="")]) -> int:
    """List the layers of a model: names to measure, types, and shapes of what they give.

    Parameters
    ----------
    options
        Which model's.
    """
    with needing_torch("layers"):
        from dvis.models.layer_table import layer_table

    table = layer_table(options.model, options.checkpoint_path, options).reset_index()
    if not table["tokens"].any():
        table = table.drop(columns="tokens")
    rows = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0
