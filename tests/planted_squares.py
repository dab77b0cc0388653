"""Pictures with a bright square each at a known place, a network that sees it, and its store."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import dvis

SIDE, CELL = 32, 8  # of a picture and of a square, in pixels: a map of 4 by 4 places
CLASSES = ("cats", "dogs", "owls")
N_OF_CLASS = 5
LAYER, RUN = "conv", "checkpoints"
LABELS = ("step_1.pth", "step_2.pth")


class SquareNet(nn.Module):
    """The first channel is the brightness of a place, the second that of its right half alone."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, CELL, stride=CELL, bias=True)
        self.head = nn.Linear(2, len(CLASSES))
        with torch.no_grad():
            self.conv.weight.fill_(gain / self.conv.weight[0].numel())
            self.conv.weight[1, :, :, : CELL // 2] = 0
            self.conv.bias.copy_(torch.tensor([0.0, -gain]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).mean((2, 3)))
        return logits


def write_squares(folder: Path) -> dict[str, tuple[int, int]]:
    """Write the pictures, a folder a class; return the place, (row, column), of each one's square.

    The brighter a square, the later its number; the first of each class is grey as a whole.
    """
    places = {}
    for number, name in enumerate(CLASSES):
        (folder / "train" / name).mkdir(parents=True)
        for each in range(N_OF_CLASS):
            row, column = each % 4, (3 * each + number) % 4
            pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
            if each:
                square = np.s_[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
                pixels[square] = 100 + 10 * number + 30 * each
            Image.fromarray(pixels).save(folder / "train" / name / f"{each}.png")
            places[f"{name}/{each}.png"] = (row, column)
    return places


def keep_squares(folder: Path, store: Path, **options: Any) -> None:
    """Keep activations of the network at two checkpoints, which differ in gain alone."""
    if not (folder / "images").exists():
        write_squares(folder / "images")
    states = {label: SquareNet(1.0 + n).state_dict() for n, label in enumerate(LABELS)}
    given: dict[str, Any] = {
        "layers": [LAYER],
        "dataset": "folder",
        "data_path": folder / "images",
        "split": "train",
        "store": store,
        "workers": 0,
        "input_size": SIDE,
        "name": "squares",
        "dtype": "float32",
        "keep": ("values", "top:4"),
    }
    report = dvis.measure.activations(SquareNet(), states, **{**given, **options})
    assert report.n_failed == 0
