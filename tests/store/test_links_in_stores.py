"""A store that somebody else made may hold links: nothing that they point to is touched."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from made_up_chains import prepare, record_all, recording
from made_up_responses import GROUP as RESPONSES_GROUP
from made_up_responses import write_responses
from recorded_stores import Task, record, recording_features, write_store
from slowly import slowly
from trees import CHECKPOINTS, write_tree

import dvis
from dvis.cli import main
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.images.block_reader import BlockReader
from dvis.kinds.features.images.compaction import compact_store
from dvis.names import parse_checkpoint
from dvis.page.swap import place_beside
from dvis.schema import group_path
from dvis.store.guarded import GuardedStore
from dvis.store.metrics import write_metrics
from dvis.store.writer import restructuring

LABELS, LAYERS = ["step_0", "step_1"], ["conv1"]
FEATURES_GROUP = group_path("checkpoints", "features", "average-0")
LLC_GROUP = group_path("1", "llc", "llc")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that no store may change."""
    home = tmp_path / "home"
    (home / "0").mkdir(parents=True)
    (home / "thesis").write_text("years of work")
    (home / "0" / "0").write_text("more of it")
    return home


def state_of(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def write_features(store: Path) -> None:
    write_store(store, LABELS, LAYERS, model="resnet18")


def write_chains(store: Path) -> None:
    with recording(store) as recorder:
        prepare(recorder)
        record_all(recorder)


KINDS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "features": (write_features, FEATURES_GROUP, "status"),
    "responses": (lambda store: write_responses(store, "image"), RESPONSES_GROUP, "response"),
    "llc": (write_chains, LLC_GROUP, "loss"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of each kind, to copy."""
    folder = tmp_path_factory.mktemp("written")
    for kind, (write, _, _) in KINDS.items():
        write(folder / kind)
    return folder


def replace_by_link(path: Path, home: Path) -> None:
    """Put what lies at a path into a folder outside of the store, and a link in its place."""
    target = home / "moved"
    shutil.move(path, target)
    path.symlink_to(target)


def damage(path: Path) -> None:
    """Cut the files below a folder short, so that a check has something to fix."""
    for file in [p for p in path.rglob("*") if p.is_file() and p.name != "zarr.json"]:
        file.write_bytes(file.read_bytes()[:5])


@pytest.mark.parametrize("place", ["group", "array", "chunks", "chunk", "zarr.json", "run", "root"])
@pytest.mark.parametrize("kind", KINDS)
def test_check_names_links_and_fixes_nothing(
    kind: str, place: str, written: Path, tmp_path: Path, home: Path
) -> None:
    _, group, array = KINDS[kind]
    store = Path(shutil.copytree(written / kind, tmp_path / "s.zarr"))
    damage(store / group / array)
    chunks = store / group / array / "c"
    replace_by_link(
        {
            "group": store / group,
            "array": store / group / array,
            "chunks": chunks,
            "chunk": next(path for path in sorted(chunks.rglob("*")) if path.is_file()),
            "zarr.json": store / group / array / "zarr.json",
            "run": store / group.split("/")[0],
            "root": store / "zarr.json",
        }[place],
        home,
    )
    before, before_store = state_of(home), state_of(store)
    for fix in (False, True):
        (fault,) = dvis.check_store(store, fix=fix)
        assert "is a symbolic link, which dvis does not follow" in str(fault)
    assert state_of(home) == before
    assert state_of(store) == before_store


def test_a_link_that_is_mended_lets_a_check_go_on(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    replace_by_link(store / FEATURES_GROUP, home)
    with pytest.raises(SystemExit, match="1"):
        main(["check", str(store)])
    (store / FEATURES_GROUP).unlink()
    shutil.move(home / "moved", store / FEATURES_GROUP)
    assert dvis.check_store(store, fix=True) == []


@pytest.mark.parametrize("place", ["", FEATURES_GROUP, f"{FEATURES_GROUP}/image", "elsewhere/deep"])
def test_compaction_stops_at_a_link_anywhere(place: str, tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    (store / place).mkdir(parents=True, exist_ok=True)
    for name in ("c.0.0.0.0.0.0", "notes"):
        (store / place / name).symlink_to(home / "thesis" if name == "notes" else home)
    before, images = state_of(home), dvis.open(store).image.values
    with pytest.raises(ValueError, match=r"is a symbolic link.*remove it"):
        compact_store(store)
    assert state_of(home) == before
    for name in ("c.0.0.0.0.0.0", "notes"):
        (store / place / name).unlink()
    shutil.rmtree(store / "elsewhere", ignore_errors=True)
    assert compact_store(store) == 1
    np.testing.assert_array_equal(dvis.open(store).image.values, images)


def test_a_block_that_is_a_link_is_neither_read_nor_written(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    group = FeatureGroup.existing(store, "checkpoints", "average-0")
    assert group is not None
    blocks = group.blocks
    block = blocks.path(0, 0, 0)
    replace_by_link(block, home)
    before = state_of(home)
    with pytest.raises(ValueError, match="symbolic link"):
        blocks.read(block)
    with pytest.raises(ValueError, match="symbolic link"):
        blocks.merge(block, {(0, 0): bytes(24 * 24 * 3)})
    assert state_of(home) == before
    report = dvis.export_tree(store, tmp_path / "out")
    assert "is a symbolic link" in report.faults[0]


def test_a_link_made_while_a_sweep_runs_is_not_followed(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    before = state_of(home)
    parameters = {"input_mean": [0.0] * 3, "input_std": [1.0] * 3}
    with recording_features(
        store, "net", "1", image_size=24, number_of_images=1, parameters=parameters
    ) as recorder:
        names = [parse_checkpoint(label) for label in LABELS]
        recorder.prepare(names, {}, {"n_channels": {"conv1": 3}}, [Task("conv1", (0,))], {})
        record(recorder, LABELS[0], (0, 0), Task("conv1", (0, 1, 2)), size=24)
        image = store / group_path("1", "features", "average-0") / "image" / "c"
        shutil.rmtree(image)
        image.symlink_to(home)
        with pytest.raises(ValueError, match="c is a symbolic link"):
            record(recorder, LABELS[1], (1, 0), Task("conv1", (0, 1, 2)), size=24)
    assert state_of(home) == before


@pytest.mark.parametrize("kind", ["responses", "llc"])
def test_scalars_are_not_written_through_a_link(kind: str, tmp_path: Path, home: Path) -> None:
    write, group, array = KINDS[kind]
    store = tmp_path / "s.zarr"
    write(store)
    opened = zarr.open_group(GuardedStore(store), path=group, mode="r+", use_consolidated=False)
    found: Any = opened[array]
    replace_by_link(store / group / array / "c", home)
    before = state_of(home)
    for change in (
        lambda: found.__setitem__(..., 1.0),
        lambda: found.resize((0,) * found.ndim),
    ):
        with pytest.raises(ValueError, match="c is a symbolic link"):
            change()
        assert state_of(home) == before
    replace_by_link(store / group / "status" / "zarr.json", home / "0")
    before = state_of(home)
    with pytest.raises(ValueError, match=r"zarr.json is a symbolic link"):
        opened["status"].update_attributes({"evil": 1})
    assert state_of(home) == before


@pytest.mark.filterwarnings("ignore:Object at")  # Zarr's, of the files that the link points to
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_that_is_a_link_is_not_made_anew_elsewhere(
    kind: str, tmp_path: Path, home: Path
) -> None:
    write, group, _ = KINDS[kind]
    store = tmp_path / "s.zarr"
    write_store(
        store, ["other"], ["conv1"], run="other", model="resnet18" if kind != "llc" else "net"
    )
    (store / group).parent.mkdir(parents=True)
    (store / group).symlink_to(home)  # as the place of a group whose making was cut off
    before = state_of(home)
    with pytest.raises(ValueError, match="symbolic link"):
        write(store)
    assert state_of(home) == before


def test_numbers_of_a_training_are_not_written_through_a_link(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    (store / "checkpoints" / "training").symlink_to(home)
    before = state_of(home)
    with pytest.raises(ValueError, match="training is a symbolic link"):
        write_metrics(store, "checkpoints", {"step_0": {"loss": 1.0}})
    assert state_of(home) == before


def test_an_import_into_a_store_with_links_writes_inside_it(tmp_path: Path, home: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2], ("layer1",), 2)
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    group = store / FEATURES_GROUP
    replace_by_link(group / "image" / "c", home)
    (home / "killed.partial").write_text("mine")
    (group / "loss" / "old").symlink_to(home)
    before = state_of(home)
    write_tree(tmp_path, CHECKPOINTS[2:3], ("layer1",), 2)
    with pytest.raises(ValueError, match="symbolic link"):
        dvis.ingest_tree(tree, store=store)
    assert state_of(home) == before


def test_overwriting_a_store_that_is_a_link_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    dvis.ingest_tree(tree, store=tmp_path / "real.zarr")
    (tmp_path / "s.zarr").symlink_to(tmp_path / "real.zarr")
    with pytest.raises(ValueError, match="symbolic link"):
        dvis.ingest_tree(tree, store=tmp_path / "s.zarr", overwrite=True)
    assert dvis.open(tmp_path / "real.zarr").sizes["checkpoint"] == 1
    assert (tmp_path / "s.zarr").is_symlink()


def reader_of(store: Path, elsewhere: str) -> BlockReader:
    path = f"{elsewhere}/{FEATURES_GROUP}"
    return BlockReader(store, zarr.open_group(GuardedStore(store), path=path, mode="r"))


@pytest.mark.parametrize("elsewhere", ["../other", "x/../../other"])
def test_a_group_that_the_root_says_lies_elsewhere_is_refused(
    elsewhere: str, tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    shutil.copytree(store, tmp_path / "other")
    with pytest.raises(ValueError, match=r"leads out of|\.\."):
        reader_of(store, elsewhere)


@pytest.mark.parametrize("elsewhere", ["/{other}", "{other}/"])
def test_a_group_with_an_absolute_path_is_one_inside_the_store(
    elsewhere: str, tmp_path: Path
) -> None:
    store, other = tmp_path / "s.zarr", tmp_path / "other"
    write_features(store)
    shutil.copytree(store, other)
    with pytest.raises(FileNotFoundError):
        reader_of(store, elsewhere.format(other=other))
    inside = store / str(other).lstrip("/")
    shutil.copytree(store, inside)  # where Zarr looks for it
    shutil.rmtree(other)
    blocks = list(reader_of(store, elsewhere.format(other=other)).walk())
    assert blocks
    assert all(block.images and block.path.is_relative_to(inside) for block in blocks)


@pytest.mark.parametrize(
    "link", ["index.html", "data", *map(slowly, ("pictures/x", "assets/page.js"))]
)
def test_a_page_is_put_in_the_place_of_one_with_links(
    link: str, tmp_path: Path, home: Path
) -> None:
    store, page = tmp_path / "s.zarr", tmp_path / "page"
    write_features(store)
    dvis.export_page(store, page)
    path = page / link
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(home if link == "data" else home / "thesis")
    before = state_of(home)
    dvis.export_page(store, page, overwrite=True)
    assert state_of(home) == before
    assert not any(path.is_symlink() for path in page.rglob("*"))


def test_the_place_where_a_page_is_made_is_no_link(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    monkeypatch.setattr("os.getpid", lambda: 7)
    place_beside(tmp_path / "page").symlink_to(home)
    before = state_of(home)
    with pytest.raises(FileExistsError):
        dvis.export_page(store, tmp_path / "page")
    assert state_of(home) == before


def test_a_locks_folder_that_came_with_a_store_is_not_followed(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    shutil.rmtree(tmp_path / ".s.zarr.locks")
    (tmp_path / ".s.zarr.locks").symlink_to(home)
    before = state_of(home)
    for change in (compact_store, lambda s: dvis.check_store(s, fix=True), write_features):
        with pytest.raises(ValueError, match=r"\.s\.zarr\.locks is a symbolic link"):
            change(store)
    assert state_of(home) == before


def test_a_root_that_is_a_link_is_not_written(tmp_path: Path, home: Path) -> None:
    store = tmp_path / "s.zarr"
    write_features(store)
    replace_by_link(store / "zarr.json", home)
    before = state_of(home)
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match=r"zarr\.json is a symbolic link"),
        restructuring(store),
    ):
        warnings.simplefilter("ignore")
    assert state_of(home) == before
