"""dvis compact: a sweep's layout becomes the read layout, and the group can grow on."""

from pathlib import Path

import numpy as np
import pytest
from trees import pixels_of

import dvis
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.run_notes import finish_import
from dvis.names import parse_checkpoint
from dvis.schema import Status, group_path
from dvis.store.writer import create_store, restructuring

LABELS = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(20)]
N_CHANNELS = 3


def write_checkpoint(group: FeatureGroup, row: int) -> None:
    """Write a checkpoint's units as a sweep does: a block, then scalars, status last."""
    blocks = group.blocks
    block_row, inside = divmod(row, blocks.checkpoints)
    images = {(inside, c): pixels_of(row, c).tobytes() for c in range(N_CHANNELS)}
    blocks.merge(blocks.path(block_row, 0, 0), images)
    rows, channels = np.full(N_CHANNELS, row), np.arange(N_CHANNELS)
    activation = (row + channels / 10).astype(np.float32)
    status = np.full(N_CHANNELS, int(Status.COMPLETE))
    places = {"checkpoint": rows, "layer": 0, "channel": channels}
    group.write(places, {"activation": activation}, status)


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """A store as a sweep leaves it: raw images, one checkpoint a block."""
    store = tmp_path / "resnet18.zarr"
    create_store(store, "resnet18")
    with restructuring(store):
        group = FeatureGroup.create(
            store,
            "checkpoints",
            "average-0",
            height=16,
            width=16,
            codec="raw",
            block_checkpoints=1,
        )
        group.grow_units([parse_checkpoint(label) for label in LABELS], {"layer1": N_CHANNELS})
    for row in range(len(LABELS)):
        write_checkpoint(group, row)
    finish_import(store, [])
    return store


def files(store: Path) -> list[Path]:
    folder = store / group_path("checkpoints", "features", "average-0") / "image"
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"]


def expected() -> np.ndarray:
    return np.array([[pixels_of(i, c) for c in range(N_CHANNELS)] for i in range(len(LABELS))])


def test_compacting_spans_checkpoints_and_keeps_every_image(swept: Path) -> None:
    before = dvis.open(swept).load()
    assert len(files(swept)) == 20
    assert dvis.compact_store(swept) == 1
    assert sum(path.stat().st_size > 0 for path in files(swept)) == 2
    assert dvis.open(swept).load().identical(before)
    np.testing.assert_array_equal(dvis.open(swept).image.squeeze("layer"), expected())
    assert dvis.check_store(swept) == []
    assert dvis.compact_store(swept) == 0


def test_a_reader_from_before_gets_an_error_never_a_black_image(swept: Path) -> None:
    ds = dvis.open(swept)
    dvis.compact_store(swept)
    for row in range(len(LABELS)):
        with pytest.raises(Exception, match=r".") as caught:
            ds.image.isel(checkpoint=row).load()
        assert not isinstance(caught.value, AssertionError)


def test_a_compacted_group_can_grow(swept: Path) -> None:
    dvis.compact_store(swept)
    group = FeatureGroup.existing(swept, "checkpoints", "average-0")
    assert group is not None
    new = "checkpoint_2024-03-26-00h00_epoch_20_end.pth.tar"
    with restructuring(swept):
        group.grow_units([parse_checkpoint(new)], {"layer1": N_CHANNELS})
    write_checkpoint(group, 20)
    ds = dvis.open(swept)
    assert ds.checkpoint.values.tolist() == [*LABELS, new]
    np.testing.assert_array_equal(
        ds.image.isel(checkpoint=20, layer=0, channel=1), pixels_of(20, 1)
    )
    np.testing.assert_array_equal(
        ds.image.isel(checkpoint=19, layer=0, channel=2), pixels_of(19, 2)
    )


def test_an_import_leaves_the_read_layout(sample_store: Path) -> None:
    assert dvis.compact_store(sample_store) == 0
