"""A jpg/json tree of plain colours for tests of the page, with odd labels and every state."""

import io
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from trees import info_of, write_unit

N_CHANNELS = 70  # more than one sheet of thumbnails
ODD = '<img src=x onerror="window.hacked=1">\'&amp;'
LABELS = [
    "checkpoint_2024-03-25-00h28_epoch_0_train_0.pth.tar",
    "checkpoint_2024-03-25-00h35_epoch_0_train_200.pth.tar",
    "checkpoint_2024-03-25-00h42_epoch_1_train_0.pth.tar",
    "checkpoint_2024-03-25-00h49_epoch_1_train_200.pth.tar",
    "<script>window.hacked=2<script>\n\"quoted\" 'label' %2e%2e",
]
ADDED = "checkpoint_2024-03-25-00h56_epoch_2_train_0.pth.tar"


def encoded(text: str) -> str:
    """A text as JavaScript's encodeURIComponent has it."""
    return quote(text, safe="!'()*~")


ABSENT, INCOMPLETE, FAILED, BLACK = 1, 2, 3, 4  # channels of layer1 at the third checkpoint
SPECIAL_AT = 2


def colour_of(checkpoint: int, channel: int) -> tuple[int, int, int]:
    """A colour that no other channel has at the checkpoint, nor the channel at another."""
    if (checkpoint, channel) == (SPECIAL_AT, BLACK):
        return 0, 0, 0
    return 40 + 40 * checkpoint, 3 * channel + 20, 255 - 3 * channel


def jpg_of_colour(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def activation_of(checkpoint: int, channel: int) -> float:
    """Rises at a checkpoint that depends on the channel; every fifth falls instead."""
    if channel % 5 == 0:
        return float(np.float32(2.0 - 0.5 * checkpoint))
    return float(np.float32((channel + 1) / 10 if checkpoint >= channel % 5 else 0.001))


def write_checkpoint(run: Path, checkpoint: int, label: str, n_channels: int = N_CHANNELS) -> None:
    for layer, n in (("layer1", n_channels), (ODD, 3)):
        for channel in range(n):
            if layer == "layer1" and (checkpoint, channel) == (SPECIAL_AT, ABSENT):
                continue
            stem = write_unit(
                run / label,
                layer,
                channel,
                jpg=jpg_of_colour(colour_of(checkpoint, channel)),
                info=info_of(layer, channel, Activation=activation_of(checkpoint, channel)),
            )
            if layer == "layer1" and (checkpoint, channel) == (SPECIAL_AT, INCOMPLETE):
                stem.with_name(stem.name + ".info.json").unlink()
            if layer == "layer1" and (checkpoint, channel) == (SPECIAL_AT, FAILED):
                stem.with_name(stem.name + ".jpg").write_bytes(b"no picture")
                stem.with_name(stem.name + ".info.json").write_text("{")
    write_unit(run / label, "layer1", 0, kind="sum", jpg=jpg_of_colour((9, 9, 9)))
