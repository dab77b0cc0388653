"""Junk in any file of any array is found, named and mended: all at once, and status alone."""

from pathlib import Path
from typing import Any

import pytest
import zarr

import dvis
from dvis.cli import main
from dvis.commands.store import forget
from dvis.info import describe
from dvis.schema import Status

GROUP = "checkpoints/features/average-0"
MEASURED = ("activation", "loss", "stop_step", "seed", "value_min", "source/info")


def chunks(store: Path, name: str, group: str = GROUP) -> list[Path]:
    return sorted(path for path in (store / group / name / "c").rglob("*") if path.is_file())


@pytest.mark.parametrize("names", [(*MEASURED, "image"), ("status",)], ids=["values", "status"])
def test_junk_in_files_is_named_and_mended_at_once(own_store: Path, names: tuple[str, ...]) -> None:
    n_before = int((dvis.open(own_store).status == Status.COMPLETE).sum())
    group: Any = zarr.open_group(own_store, path=GROUP, mode="r+", use_consolidated=False)
    group["source/info"][0, 0, 0], group["value_min"][0, 0, 0] = "{}", 0.0
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
    of_layer = [fault for fault in found if fault.unit and fault.unit[1] == 0]
    assert len(of_layer) == len(found) == int(is_complete.sum())
    assert all("a file of its activation is missing" in str(fault) for fault in found)
    assert dvis.check_store(own_store) == []


def test_labels_that_cannot_be_read_are_named_and_left(own_store: Path) -> None:
    (file,) = chunks(own_store, "layer")
    file.write_bytes(b"junk")
    (fault,) = dvis.check_store(own_store, fix=True)
    assert "layer: " in str(fault)
    assert "--fix` does not mend labels" in str(fault)
    assert file.read_bytes() == b"junk"


def test_commands_say_which_array_is_damaged(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chunks(own_store, "status")[0].write_bytes(b"junk")
    with pytest.raises(SystemExit):
        main(["info", str(own_store)])
    said = capsys.readouterr().err
    assert said.startswith("dvis: ")
    assert f"{GROUP}/status is damaged" in said
    assert "dvis check --fix" in said
    assert len(said.splitlines()) == 1


def test_a_broken_root_and_a_plain_file_are_named(own_store: Path, tmp_path: Path) -> None:
    (own_store / "zarr.json").write_text("{")
    with pytest.raises(dvis.SchemaError, match=r"resnet18\.zarr/zarr\.json.*is damaged"):
        dvis.contents(own_store)
    file = tmp_path / "file.zarr"
    file.write_text("")
    with pytest.raises(FileNotFoundError, match="is a file; a store is a folder"):
        dvis.contents(file)


def test_forgetting_no_checkpoint_is_refused(own_store: Path) -> None:
    with pytest.raises(ValueError, match="names no checkpoint"):
        forget(own_store, checkpoint=())


def test_steps_that_repeat_are_told(own_store: Path) -> None:
    first, second = dvis.open(own_store).checkpoint.values.tolist()[:2]
    said = dvis.set_steps(own_store, {first: 10**6, second: 10**6}, "checkpoints")
    assert "2 checkpoints have step 1,000,000" in said
    assert any("have step 1,000,000" in line for line in describe(own_store))
