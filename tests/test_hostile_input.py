"""What a killed job, a full disk or a stranger may leave in a tree: a clear report, no crash."""

import io
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from PIL import Image
from recorded_stores import write_store
from slowly import slowly
from trees import CHECKPOINTS, decoded, info_of, jpg_of, pixels_of, write_tree, write_unit

import dvis
from dvis.cli import main
from dvis.info import list_problems
from dvis.kinds.features.tally import count_units
from dvis.kinds.llc.words import WORDS
from dvis.kinds.responses.words import response_words
from dvis.schema import Status
from dvis.store.writer import restructuring
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import read_run
from dvis.sweep.runner import carry_out


def png_of(pixels: np.ndarray | Image.Image) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def png_16_bit() -> bytes:
    """An RGB png of 16 bits a colour, written by hand: Pillow writes none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(96)) for _ in range(16))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def claiming(data: bytes, height: int, width: int) -> bytes:
    """The same jpg with another size in its frame header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint's folder in a tree with one good unit: channel 0 of layer1."""
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    return tree / "checkpoints" / CHECKPOINTS[0]


def imported(folder: Path) -> Path:
    store = folder.parents[3] / "s.zarr"
    dvis.ingest_tree(folder.parents[1], store=store)
    assert dvis.check_store(store) == []
    (again,) = dvis.ingest_tree(folder.parents[1], store=store)
    assert again.n_read == 0
    return store


def status_of(store: Path, channel: int) -> Status:
    return Status(int(dvis.open(store).status.isel(checkpoint=0).sel(channel=channel).squeeze()))


@pytest.mark.parametrize(
    ("jpg", "status", "said"),
    [
        (claiming(jpg_of(1), 60_000, 60_000), Status.INCOMPLETE, "60000 x 60000 pixels"),
        (jpg_of(1)[:200], Status.INCOMPLETE, "cut short"),
        slowly(jpg_of(1)[:-2], Status.INCOMPLETE, "cut short"),
        (b"", Status.INCOMPLETE, "no jpg or png"),
        slowly(b"not a picture at all", Status.INCOMPLETE, "no jpg or png"),
        slowly(b"\xff\xd8" + bytes(500) + b"\xff\xd9", Status.INCOMPLETE, "no jpg or png"),
        (png_16_bit(), Status.INCOMPLETE, "16 bits a colour"),
        slowly(png_of(Image.new("I;16", (16, 16))), Status.INCOMPLETE, "16 bits a colour"),
        (jpg_of(1, mode="CMYK"), Status.COMPLETE, "CMYK"),
        (png_of(pixels_of(1)), Status.COMPLETE, "is a png"),
        slowly(png_of(Image.fromarray(pixels_of(1)).convert("P")), Status.COMPLETE, "is a png"),
        slowly(jpg_of(1, progressive=True), Status.COMPLETE, None),
        (jpg_of(1, mode="L"), Status.COMPLETE, None),
        (jpg_of(1) + bytes(10), Status.COMPLETE, None),
    ],
)
def test_odd_pictures(folder: Path, jpg: bytes, status: Status, said: str | None) -> None:
    write_unit(folder, channel=1).with_name("layer_layer1_channel_1_average.jpg").write_bytes(jpg)
    store = imported(folder)
    assert status_of(store, 0) is Status.COMPLETE
    assert status_of(store, 1) is status
    problems = list_problems(store)
    assert [said in problem for problem in problems] == ([True] if said else [])
    if status is Status.COMPLETE:
        image = dvis.open(store).image.isel(checkpoint=0).sel(channel=1).squeeze()
        np.testing.assert_array_equal(image, decoded(jpg))
        out = dvis.export_tree(store, folder.parents[3] / "out").folder
        assert (
            out / "checkpoints" / CHECKPOINTS[0] / ("layer_layer1_channel_1_average.jpg")
        ).read_bytes() == jpg


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("", Status.INCOMPLETE, "is empty"),
        ("[1, 2]", Status.INCOMPLETE, "no object"),
        slowly("{}", Status.INCOMPLETE, "no number as Activation"),
        ('{"Activation": "high"}', Status.INCOMPLETE, "'high'"),
        ("[" * 100_000, Status.INCOMPLETE, "damaged or cut short"),
        ('{"Activation": 1' + "0" * 400 + "}", Status.COMPLETE, None),
        ('{"Activation": -Infinity, "Loss Values": [NaN, null]}', Status.COMPLETE, None),
        ('{"Activation": 1, "Layer": "layer2"}', Status.FAILED, "says Layer 'layer2'"),
        ('{"Activation": 1, "Neuron": [3, 4]}', Status.FAILED, "says Neuron"),
        slowly('{"Activation": 1, "Aggregation": "sum"}', Status.FAILED, "says Aggregation 'sum'"),
        slowly('{"Activation": 1, "Image Number": 1}', Status.FAILED, "says Image Number 1"),
    ],
)
def test_odd_infos(folder: Path, text: str, status: Status, said: str | None) -> None:
    write_unit(folder, channel=1, info=text or " ")
    store = imported(folder)
    assert status_of(store, 1) is status
    assert [said in problem for problem in list_problems(store)] == ([True] if said else [])
    if status is Status.COMPLETE:
        out = dvis.export_tree(store, folder.parents[3] / "out").folder
        name = Path("checkpoints", CHECKPOINTS[0], "layer_layer1_channel_1_average.info.json")
        assert (out / name).read_text() == text


def test_huge_json_is_not_read(folder: Path) -> None:
    huge = folder / "layer_layer1_channel_1_average.info.json"
    write_unit(folder, channel=1)
    with huge.open("r+b") as file:
        file.truncate(200 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = imported(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert status_of(store, 1) is Status.INCOMPLETE
    assert "larger than 8 MB" in list_problems(store)[0]


def test_absurd_channels_and_leading_zeros_are_reported_and_left(folder: Path) -> None:
    write_unit(folder, channel=10**9)
    (folder / "layer_layer1_channel_007_average.jpg").write_bytes(jpg_of(1))
    store = imported(folder)
    assert dvis.open(store).sizes["channel"] == 1
    problems = "\n".join(list_problems(store))
    assert "channel 1000000000 is beyond" in problems
    assert "rename it to layer_layer1_channel_7_average.jpg" in problems


def test_links_are_reported_and_not_followed(folder: Path, tmp_path: Path) -> None:
    run = folder.parent
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpg_of(5))
    (folder / "layer_layer1_channel_1_average.jpg").symlink_to(secret)
    (run / "loop").symlink_to(run)
    (run / "out").symlink_to("/")
    store = imported(folder)
    assert dvis.open(store).sizes["checkpoint"] == 1
    problems = "\n".join(list_problems(store))
    for name in ("loop", "out", "layer_layer1_channel_1_average.jpg"):
        assert f"{name}: is a symbolic link" in problems


def test_names_with_spaces_quotes_and_other_letters(tmp_path: Path) -> None:
    labels = ['it\'s "the" end', "καλό βήμα", "步骤 1%20", "a\\b", "__x", "tab\there"]
    tree = write_tree(tmp_path, labels, ("слой.0", "a b_channel_c'"), 2, run="run 1/\\ ü/__y")
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    assert dvis.runs(store) == ["run 1/\\ ü/__y"]
    ds = dvis.open(store)
    assert sorted(ds.checkpoint.values.tolist()) == sorted(labels)
    assert int((ds.status == Status.COMPLETE).sum()) == 24
    for label in labels:
        image = ds.sel(checkpoint=label, layer="слой.0", channel=1).image
        np.testing.assert_array_equal(image, decoded(jpg_of(labels.index(label), 0, 1)))


def test_names_that_are_no_text_are_reported(folder: Path) -> None:
    bad = os.fsencode(folder) + b"/layer_\xff\xfe_channel_0_average.jpg"
    with open(bad, "wb") as file:
        file.write(jpg_of(1))
    os.makedirs(os.fsencode(folder.parent) + b"/\xff\xfe")
    with open(os.fsencode(folder.parent) + b"/\xff\xfe/layer_a_channel_0_average.jpg", "wb") as f:
        f.write(jpg_of(1))
    store = imported(folder)
    assert sum("not UTF-8" in problem for problem in list_problems(store)) == 2


def test_folder_called_like_a_feature_file_is_reported(folder: Path) -> None:
    (folder / "layer_layer1_channel_1_average.jpg").mkdir()
    os.mkfifo(folder / "layer_layer1_channel_2_average.jpg")
    problems = "\n".join(list_problems(imported(folder)))
    for channel in (1, 2):
        assert f"channel_{channel}_average.jpg: is called like a feature file" in problems


@contextmanager
def powerless() -> Iterator[Path]:
    """A folder for a user without root's power to read and write everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)


def test_unreadable_folders_and_files_are_reported_and_read_later() -> None:
    with powerless() as root:
        tree = write_tree(root, CHECKPOINTS[:3], ("layer1",), 1)
        shut, file = (tree / "checkpoints" / label for label in CHECKPOINTS[:2])
        file = file / "layer_layer1_channel_0_average.info.json"
        shut.chmod(0)
        file.chmod(0)
        dvis.ingest_tree(tree, store=root / "s.zarr")
        problems = "\n".join(list_problems(root / "s.zarr"))
        assert f"{shut.name}: cannot be listed: Permission denied" in problems
        assert f"{file.name}: cannot be read: Permission denied" in problems
        shut.chmod(0o700)
        file.chmod(0o600)
        dvis.ingest_tree(tree, store=root / "s.zarr")
        assert list_problems(root / "s.zarr") == []
        (counts,) = count_units(root / "s.zarr")
        assert counts.n_complete == 3


def test_unwritable_target_is_an_error_and_leaves_nothing() -> None:
    with powerless() as root:
        tree = write_tree(root, CHECKPOINTS[:1])
        (root / "shut").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match="shut"):
            dvis.ingest_tree(tree, store=root / "shut" / "s.zarr")
        assert list((root / "shut").iterdir()) == []


FULL_DISK = """
import resource, signal, sys
import dvis
# A file may not grow beyond this: the kernel refuses the write as a full disk does.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    dvis.ingest_tree(sys.argv[1], store=sys.argv[2])
except dvis.disk.DiskFullError as err:
    sys.exit(f"full: {err}")
"""


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_full_disk_stops_with_what_was_committed_safe(tmp_path: Path, limit: int) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2], ("layer1", "layer2"), 1, size=16)
    for channel in range(1, 40):
        for label in CHECKPOINTS[:2]:
            write_unit(tree / "checkpoints" / label, "layer2", channel, jpg=jpg_of(9, quality=95))
    store = tmp_path / "s.zarr"
    program = [sys.executable, "-c", FULL_DISK, str(tree), str(store), str(limit)]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert "what was committed before is safe" in ended.stderr, ended.stderr
    assert not list(tmp_path.rglob("*.partial"))
    dvis.ingest_tree(tree, store=store)
    (counts,) = count_units(store)
    assert counts.n_complete == 82
    assert dvis.check_store(store) == []


def test_old_infos_without_image_number_and_new_ones_with(folder: Path) -> None:
    numbered = info_of("layer1", 1, **{"Image Number": 0})
    write_unit(folder, channel=1, kind="average-0", info=numbered)
    store = imported(folder)
    assert status_of(store, 1) is Status.COMPLETE
    assert dvis.variants(store) == ["average-0"]


NO_RUNS = ["", "/", "/home", "a/", "a//b", "//", "nul\0", "half \ud800", "x" * 256]


@pytest.mark.parametrize("label", NO_RUNS)
def test_a_run_or_name_that_no_store_can_keep_is_refused_at_the_door(
    label: str, tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    label = label.replace("/home", str(tmp_path / "home"))
    nothing = read_run([])
    for run, name, what in ((label, "llc", "run"), ("1", label, "name")):
        match = f"No {what} can be called .* A {what} is called as a folder is"
        for words in (WORDS, response_words("image")):
            plan = Plan(
                model="net", words=words, name=name, measurement=SimpleNamespace(), tasks=()
            )
            place = SimpleNamespace(**{**vars(Place(store=store)), "run": run})
            place.store_of = lambda _model: store
            with pytest.raises(ValueError, match=match):
                carry_out(plan, nothing, place)
    with pytest.raises(ValueError, match="No run can be called"):
        write_store(store, ["step_0"], ["conv1"], run=label)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "run",
    [
        "..",
        "a\\b",
        "c",
        "zarr.json",
        *map(slowly, (" ", ".", "../x", "__x", "%2E", "a/./b", "x" * 255)),
    ],
)
def test_a_run_of_any_other_name_is_kept_verbatim_inside_the_store(
    run: str, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"], run=run)
    assert dvis.runs(store) == [run]
    assert dvis.open(store, run).image.values.any()
    assert dvis.check_store(store) == []
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", ".s.zarr.locks"}


@pytest.mark.parametrize("model", ["os:abort", "evil:go", "net", "../resnet18", ""])
def test_verify_runs_no_code_that_a_store_names(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "evil.py").write_text("open('run', 'w')\ndef go():\n    open('run', 'w')\n")
    monkeypatch.chdir(tmp_path)
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"])
    torch.save({"model_state_dict": {"a": torch.zeros(1)}}, tmp_path / "step_0")
    with restructuring(store):
        zarr.open_group(store, mode="r+", use_consolidated=False).update_attributes(
            {"model": model}
        )
    with pytest.raises(SystemExit, match="2"):
        main(["verify", str(store), "--checkpoint-path", str(tmp_path / "step_0")])
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert f"{model!r}, which is none of torchvision's: give the --model" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["../x", "/x", "a/b", "nul\0"])
def test_the_name_of_a_model_is_no_path_of_its_store(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is no name of a model"):
        dvis.ingest_tree(folder.parents[1], model=model)
    assert sorted(tmp_path.rglob("*")) == before
