"""Junk in any file of any array is found, named and mended: all at once, and status alone."""

from pathlib import Path
from typing import Any

import pytest
import zarr

import dvis
from dvis.schema import Status

GROUP = "checkpoints/features/average-0"
MEASURED = ("activation", "loss", "stop_step", "seed", "value_min", "source/info")


def chunks(store: Path, name: str, group: str = GROUP) -> list[Path]:
    return sorted(path for path in (store / group / name / "c").rglob("*") if path.is_file())


@pytest.mark.parametrize("names", [(*MEASURED, "image"), ("status",)], ids=["values", "status"])
def test_junk_in_files_is_named_and_mended_at_once(own_store: Path, names: tuple[str, ...]) -> None:
    n_before = int((dvis.open(own_store).status == Status.COMPLETE).sum())
    group: Any = zarr.open_group(own_store, path=GROUP, mode="r+", use_consolidated=False)
    group["source/info"][0, 0, 0] = "{}"
    for name in names:
        chunks(own_store, name)[0].write_bytes(b"junk")
    said = "\n".join(map(str, dvis.check_store(own_store)))
    for name in names:
        assert f"its {name} is damaged" in said or name == "image"
    assert dvis.check_store(own_store, fix=True)
    assert dvis.check_store(own_store) == []
    dataset = dvis.open(own_store).load()
    assert int((dataset.status == Status.COMPLETE).sum()) < n_before


def test_complete_units_without_their_activation_are_faults(own_store: Path) -> None:
    is_complete = (dvis.open(own_store).status == Status.COMPLETE).isel(layer=0)
    chunks(own_store, "activation")[0].unlink()
    found = dvis.check_store(own_store, fix=True)
    assert len(found) == int(is_complete.sum())
    assert all("is complete, but has no activation" in str(fault) for fault in found)
    assert dvis.check_store(own_store) == []


def test_labels_that_cannot_be_read_are_named_and_left(own_store: Path) -> None:
    (file,) = chunks(own_store, "layer")
    file.write_bytes(b"junk")
    (fault,) = dvis.check_store(own_store, fix=True)
    assert "layer: " in str(fault)
    assert "--fix` does not mend labels" in str(fault)
    assert file.read_bytes() == b"junk"
