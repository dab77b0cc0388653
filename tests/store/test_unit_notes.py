"""Notes about units: kept with the run, found again in every opening, in pictures and in files."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from made_up_responses import WIDTHS, write_responses
from recorded_stores import write_store

import dvis
from dvis.cli import main
from dvis.kinds.saes.words import sae_words
from dvis.names import parse_checkpoint
from dvis.store.group import Group
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring, writing

LABELS = ["a.pt", "b.pt"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "s.zarr", LABELS, ["conv1", "conv2"])


def with_autoencoder(store: Path, layer: str = "conv2", name: str = "wide") -> Path:
    """The store with a group of autoencoders of twelve latents, none of which is trained."""
    with writing(store, "net", "checkpoints", "saes") as path, restructuring(path):
        settings = {"layer": layer, "kind": "topk", "k": 2}
        group = Group.open(path, sae_words(), "checkpoints", f"{layer}/{name}", settings)
        group.grow(
            [parse_checkpoint(each) for each in LABELS], {"latent": range(12), "channel": range(3)}
        )
    return store


def test_a_note_about_a_latent_is_in_its_opening_and_beside_those_of_channels(store: Path) -> None:
    with_autoencoder(store)
    dvis.note(store, "bird heads", layer="conv2", channel=1)
    dvis.note(store, "wheels", layer="conv2", latent=11)
    dvis.note(store, "spokes of wheels", layer="conv2", latent=4, name="wide")
    found = dvis.notes(store, search="wheels")
    assert found.text.values.tolist() == ["spokes of wheels", "wheels"]
    assert found.latent.values.tolist() == [4, 11]
    assert set(found.autoencoder.values) == {"wide"}
    assert set(found.channel.values) == {-1}
    of_channel = dvis.notes(store, search="bird")
    assert (of_channel.latent.item(), of_channel.autoencoder.item()) == (-1, "")
    ds = dvis.saes(store, "conv2")
    assert ds.where(ds.note != "", drop=True).latent.values.tolist() == [4, 11]
    assert (dvis.open(store).note != "").sum() == 1
    dvis.note(store, "", layer="conv2", latent=4)
    assert dvis.saes(store, "conv2").note.values[4] == ""


@pytest.mark.parametrize(
    ("unit", "error", "text"),
    [
        ({"layer": "conv2", "latent": 12}, KeyError, "No latent 12 in wide of conv2.*0 to 11"),
        ({"layer": "conv2", "latent": 1, "name": "wid"}, KeyError, "Did you mean 'wide'"),
        ({"layer": "conv1", "latent": 1}, KeyError, "No layer 'conv1' in the autoencoders"),
        ({"layer": "conv2"}, ValueError, "about one unit"),
        ({"layer": "conv2", "latent": 1, "channel": 1}, ValueError, "about one unit"),
        ({"layer": "conv2", "channel": 1, "name": "wide"}, ValueError, "about one unit"),
    ],
)
def test_a_latent_that_is_not_there_is_refused(
    store: Path, unit: dict[str, object], error: type[Exception], text: str
) -> None:
    with_autoencoder(store)
    with pytest.raises(error, match=text):
        dvis.note(store, "eyes", **unit)  # type: ignore[arg-type]
    assert dvis.notes(store).sizes["note"] == 0


def test_of_several_autoencoders_one_is_named(store: Path) -> None:
    with_autoencoder(with_autoencoder(store), name="narrow")
    with pytest.raises(ValueError, match="name one of narrow, wide"):
        dvis.note(store, "eyes", layer="conv2", latent=1)


def test_notes_about_latents_go_to_a_file_and_the_older_form_still_comes(
    tmp_path: Path, store: Path
) -> None:
    with_autoencoder(store)
    other = with_autoencoder(write_store(tmp_path / "other.zarr", LABELS, ["conv1", "conv2"]))
    file = tmp_path / "notes.json"
    dvis.note(store, "bird heads", layer="conv2", channel=1)
    dvis.save_notes(store, file)
    assert json.loads(file.read_text())["format"] == "dvis notes 1"
    assert dvis.add_notes(other, file) == 1
    dvis.note(store, "wheels", layer="conv2", latent=11)
    assert dvis.save_notes(store, file) == 2
    document = json.loads(file.read_text())
    assert document["format"] == "dvis notes 2"
    assert [*document["notes"][1]] == ["run", "layer", "autoencoder", "latent", "text", "written"]
    assert dvis.add_notes(other, file) == 1
    assert dvis.notes(other).identical(dvis.notes(store))
    document["notes"][1]["latent"] = 99
    file.write_text(json.dumps(document))
    with pytest.raises(KeyError, match="No latent 99"):
        dvis.add_notes(other, file)


def test_a_note_is_in_every_opening(store: Path) -> None:
    assert "note" not in dvis.open(store).coords
    dvis.note(store, " bird heads ", layer="conv2", channel=1)
    ds = dvis.open(store)
    assert ds.note.dims == ("layer", "channel")
    assert ds.sel(layer="conv2", channel=1).note.item() == "bird heads"
    assert (ds.note != "").sum() == 1
    assert dvis.check_store(store) == []


def test_pictures_are_headed_by_it(store: Path) -> None:
    dvis.note(store, "bird heads", layer="conv2", channel=1)
    ds = dvis.open(store)
    for figure in (
        ds.dvis.timeline("conv2", 1),
        ds.dvis.trajectory("conv2", 1),
    ):
        assert figure.get_suptitle() == "conv2, channel 1: bird heads"
    assert ds.dvis.timeline("conv1", 1).get_suptitle() == "conv1, channel 1"


def test_notes_are_replaced_taken_away_and_searched(store: Path) -> None:
    dvis.note(store, "eyes", layer="conv1", channel=0)
    dvis.note(store, "Heads of birds", layer="conv2", channel=1)
    dvis.note(store, "round eyes", layer="conv1", channel=0)
    found = dvis.notes(store)
    assert found.text.values.tolist() == ["round eyes", "Heads of birds"]
    assert found.layer.values.tolist() == ["conv1", "conv2"]
    assert (np.datetime64("now") - found.written < np.timedelta64(1, "h")).all()
    assert dvis.notes(store, search="bird head").channel.values.tolist() == [1]
    assert dvis.notes(store, search="bird wing").sizes["note"] == 0
    dvis.note(store, "  ", layer="conv1", channel=0)
    assert dvis.notes(store).text.values.tolist() == ["Heads of birds"]


def test_responses_have_them_too(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    write_responses(store, "image")
    layer = next(iter(WIDTHS))
    dvis.note(store, "eyes", layer=layer, channel=0)
    assert dvis.responses(store).sel(layer=layer, channel=0).note.item() == "eyes"


@pytest.mark.parametrize(
    ("unit", "error", "text"),
    [
        ({"layer": "conv3", "channel": 0}, KeyError, "Did you mean"),
        ({"layer": "conv1", "channel": 99}, KeyError, "there are"),
        ({"layer": "conv1", "channel": 0, "run": "other"}, KeyError, "checkpoints"),
    ],
)
def test_a_unit_that_is_not_there_is_refused(
    store: Path, unit: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        dvis.note(store, "eyes", **unit)  # type: ignore[arg-type]
    assert dvis.notes(store).sizes["note"] == 0


def test_notes_go_to_a_file_and_into_a_copy_of_the_store(tmp_path: Path, store: Path) -> None:
    other = write_store(tmp_path / "other.zarr", LABELS, ["conv1", "conv2"])
    dvis.note(store, "eyes", layer="conv1", channel=0)
    dvis.note(store, "Schnäbel", layer="conv2", channel=1)
    file = tmp_path / "notes.json"
    assert dvis.save_notes(store, file) == 2
    assert dvis.add_notes(other, file) == 2
    assert dvis.notes(other).identical(dvis.notes(store))
    assert dvis.add_notes(other, file) == 0  # again, it changes nothing


def test_of_two_notes_about_a_unit_the_newer_is_kept(tmp_path: Path, store: Path) -> None:
    dvis.note(store, "eyes", layer="conv1", channel=0)
    file = tmp_path / "notes.json"
    dvis.save_notes(store, file)
    document = json.loads(file.read_text())
    for written, text in (("2001-01-01T00:00:00", "older"), ("2999-01-01T00:00:00Z", "newer")):
        document["notes"][0] |= {"written": written, "text": text}
        file.write_text(json.dumps(document))
        dvis.add_notes(store, file)
        assert dvis.notes(store).text.item() == ("eyes" if text == "older" else "newer")


@pytest.mark.parametrize(
    "document",
    [
        "nonsense",
        "[]",
        '{"format": "other", "notes": []}',
        '{"format": "dvis notes 1", "notes": [{"layer": "conv1"}]}',
        '{"format": "dvis notes 1", "notes": [{"run": "checkpoints", "layer": "conv1", '
        '"channel": "0", "text": "x", "written": "2020-01-01"}]}',
        '{"format": "dvis notes 1", "notes": [{"run": "checkpoints", "layer": "conv1", '
        '"channel": 0, "text": "x", "written": "yesterday"}]}',
    ],
)
def test_a_file_that_holds_no_notes_is_refused(tmp_path: Path, store: Path, document: str) -> None:
    (tmp_path / "notes.json").write_text(document)
    with pytest.raises(ValueError, match="holds no notes of dvis"):
        dvis.add_notes(store, tmp_path / "notes.json")


def test_notes_of_a_unit_that_is_not_there_are_not_taken_in_part(
    tmp_path: Path, store: Path
) -> None:
    larger = write_store(tmp_path / "larger.zarr", LABELS, ["conv1", "conv2", "conv3"])
    for layer in ("conv1", "conv3"):
        dvis.note(larger, "eyes", layer=layer, channel=0)
    dvis.save_notes(larger, tmp_path / "notes.json")
    with pytest.raises(KeyError, match="conv3"):
        dvis.add_notes(store, tmp_path / "notes.json")
    assert dvis.notes(store).sizes["note"] == 0


def test_a_damaged_attribute_is_named(store: Path) -> None:
    dvis.note(store, "eyes", layer="conv1", channel=0)
    with restructuring(store):
        group = zarr.open_group(GuardedStore(store), path="checkpoints", mode="a")
        group.update_attributes({"unit_notes": [3]})
    with pytest.raises(dvis.SchemaError, match="unit_notes"):
        dvis.notes(store)


def test_notes_that_are_written_at_once_are_all_kept(store: Path) -> None:
    units = [(layer, channel) for layer in ("conv1", "conv2") for channel in range(3)]
    threads = [
        threading.Thread(
            target=dvis.note, args=(store, f"{u}"), kwargs={"layer": u[0], "channel": u[1]}
        )
        for u in units
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dvis.notes(store).text.values.tolist() == [f"{u}" for u in units]


def test_the_commands(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: str = "0") -> str:
        with pytest.raises(SystemExit, match=code):
            main([*arguments])
        told = capsys.readouterr()
        return told.out + told.err

    of_unit = ("--layer", "conv2", "--channel", "1")
    assert "'bird heads'" in run("note", str(store), "bird heads", *of_unit)
    assert run("notes", str(store)).splitlines() == ["conv2, channel 1: bird heads", "1 note"]
    assert "0 notes" in run("notes", str(store), "--search", "wings")
    file = str(tmp_path / "notes.json")
    assert "0 notes" in run("notes", str(store), "--search", "nothingsuch", "--save", file)
    assert "1 note" in run("notes", str(store), "--save", file)
    assert "no note" in run("note", str(store), "", *of_unit)
    assert "1 note new" in run("notes", str(store), "--add", file)
    with_autoencoder(store)
    of_latent = ("--layer", "conv2", "--latent", "3", "--sae", "wide")
    assert "latent 3 of wide: 'wheels'" in run("note", str(store), "wheels", *of_latent)
    assert "conv2, latent 3 of wide: wheels" in run("notes", str(store))
    opened = dvis.open(store, kind="saes", name="conv2/wide")  # as pictures have it
    assert opened.note.sel(latent=3) == "wheels"
    assert "about one unit" in run("note", str(store), "x", "--layer", "conv2", code="2")
    assert "Did you mean" in run(
        "note", str(store), "x", "--layer", "conv", "--channel", "1", code="2"
    )
