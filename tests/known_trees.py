"""Trees of units as `concurrency_programs` makes them, so that a reader knows what is right."""

import json
from collections.abc import Iterable
from pathlib import Path

import concurrency_programs as programs
from concurrency_programs import faults_of, info_of, jpg_of

import dvis
from dvis.schema import SchemaError

MODEL, RUN = "resnet18", "checkpoints"


class Tree:
    """A jpg/json tree of units as `concurrency_programs` makes them."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "feature_images" / MODEL

    def write(
        self,
        labels: Iterable[str],
        layer: str,
        channels: Iterable[int],
        *,
        run: str = RUN,
        version: int = 0,
        side: int = programs.SIDE,
        without: str = "",
    ) -> None:
        """Write or replace a layer's units, both files of each but the one called `without`."""
        channels = list(channels)
        for label in labels:
            folder = self.root / run / label
            folder.mkdir(parents=True, exist_ok=True)
            for channel in channels:
                stem = folder / f"layer_{layer}_channel_{channel}_average"
                if without != "jpg":
                    jpg = jpg_of(label, layer, channel, version, side)
                    stem.with_name(stem.name + ".jpg").write_bytes(jpg)
                if without != "info.json":
                    info = json.dumps(info_of(label, layer, channel, version))
                    stem.with_name(stem.name + ".info.json").write_text(info)


def labels_of(batches: Iterable[int], epoch: int = 0) -> list[str]:
    """Names of checkpoints that a training saved, one batch a minute."""
    return [
        f"checkpoint_2024-03-{25 + epoch}-{batch // 60:02}h{batch % 60:02}"
        f"_epoch_{epoch}_train_{batch}.pth.tar"
        for batch in batches
    ]


def write_mixed_tree(folder: Path) -> Tree:
    """Two rows and two columns of blocks, incomplete units, and a picture of another size."""
    tree = Tree(folder)
    labels = labels_of(range(0, 20 * 50, 50))
    tree.write(labels, "layer1", [0, 1, 6, 65])
    tree.write(labels[::2], "layer2.0.conv1", range(3))
    tree.write(labels[:3], "layer1", [2], without="jpg")
    tree.write(labels[3:5], "layer1", [2], without="info.json")
    tree.write(labels[5:7], "layer1", [3], version=1)
    tree.write(labels[7:9], "layer1", [3], side=24)
    return tree


def assert_readers_are_safe(store: Path) -> None:
    """Whatever was killed in the store: it is not there yet, or what it shows is right."""
    try:
        dataset = dvis.open(store, RUN, "average-0")
    except (FileNotFoundError, SchemaError):
        return
    assert faults_of(dataset)[1] == []
