"""Paths of labels stay inside their folder, and nothing is written or removed through a link."""

import os
from pathlib import Path

import pytest

from dvis.disk import (
    files_below,
    inside,
    links_below,
    remove_tree,
    require_no_links,
    unlink_inside,
    write_atomically,
    write_lock,
    write_new,
)

NO_NAMES = ["", ".", "..", "/", "/etc", "a/", "a//b", "../a", "a/../../b", "a/..", "./a", "nul\0"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, beside another one that nothing may touch."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "file").write_text("old")
    return tmp_path / "root"


def outside(root: Path) -> dict[str, str]:
    thesis = root.parent / "thesis"
    return {path.name: path.read_text() for path in thesis.iterdir()}


@pytest.mark.parametrize("label", NO_NAMES)
def test_a_label_that_is_a_path_elsewhere_is_refused(root: Path, label: str) -> None:
    for labels in ((label,), ("a", label), (label, "a")):
        with pytest.raises(ValueError, match="leads out of"):
            inside(root, *labels)


@pytest.mark.parametrize("label", ["a\\b", "...", "..a", " ", "zarr.json", "c", "~", "$HOME", "é"])
def test_other_names_are_kept_verbatim(root: Path, label: str) -> None:
    path = inside(root, label, "x/y")
    assert path == root / label / "x" / "y"
    write_atomically(path, b"new", root=root)
    assert (root / label / "x" / "y").read_bytes() == b"new"


@pytest.mark.parametrize("target", ["../thesis", "a", "nowhere", "."])
def test_a_link_on_the_way_is_refused_wherever_it_leads(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    for labels in (("link",), ("link", "chapter"), ("link/x/y",)):
        with pytest.raises(ValueError, match="link is a symbolic link"):
            inside(root, *labels)
    with pytest.raises(ValueError, match="symbolic link"):
        require_no_links(root)
    assert list(links_below(root)) == [root / "link"]


def test_the_folder_itself_may_be_a_link_for_the_caller_named_it(root: Path) -> None:
    named = root.with_name("named")
    named.symlink_to(root)
    write_atomically(inside(named, "a/file"), b"new", root=named)
    assert (root / "a" / "file").read_bytes() == b"new"
    require_no_links(named)


def test_nothing_is_written_or_removed_through_a_link(root: Path) -> None:
    before = outside(root)
    (root / "link").symlink_to(root.parent / "thesis")
    (root / "file").symlink_to(root.parent / "thesis" / "chapter")
    for path in (root / "link" / "chapter", root / "link" / "new", root / "file"):
        with pytest.raises(ValueError, match="symbolic link"):
            write_atomically(path, b"gone", root=root)
        with pytest.raises(ValueError, match="symbolic link"):
            write_new(path, b"gone", root=root)
        with pytest.raises(ValueError, match="symbolic link"):
            unlink_inside(path, root=root)
    for path in (root / "link", root / "link" / "sub"):
        with pytest.raises(ValueError, match="symbolic link"):
            remove_tree(path, root=root)
    assert outside(root) == before


def test_a_link_where_the_unfinished_file_would_be_is_replaced_not_followed(root: Path) -> None:
    before = outside(root)
    (root / "a" / "file.partial").symlink_to(root.parent / "thesis" / "chapter")
    write_atomically(root / "a" / "file", b"new", root=root)
    assert (root / "a" / "file").read_bytes() == b"new"
    assert outside(root) == before
    (root / "a" / "file.partial").symlink_to(root.parent / "thesis" / "not there yet")
    write_atomically(root / "a" / "file", b"newer", root=root)
    assert outside(root) == before
    assert [path.name for path in (root / "a").iterdir()] == ["file"]


def test_a_hard_link_to_a_file_elsewhere_is_replaced(root: Path) -> None:
    chapter = root.parent / "thesis" / "chapter"
    for name in ("file.partial", "other"):
        os.link(chapter, root / "a" / name)
    write_atomically(root / "a" / "file", b"new", root=root)
    write_atomically(root / "a" / "other", b"new", root=root)
    assert chapter.read_text() == "years of work"


def test_a_link_that_is_made_after_a_look_is_refused_at_the_next(root: Path) -> None:
    path = inside(root, "a", "file")
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(root.parent / "thesis")
    for write in (
        lambda: write_atomically(path, b"x", root=root),
        lambda: remove_tree(root / "a", root=root),
    ):
        with pytest.raises(ValueError, match="symbolic link"):
            write()
    assert list(outside(root)) == ["chapter"]


@pytest.mark.parametrize("path", ["thesis/chapter", "root/../thesis/chapter", "root", "rooted/x"])
def test_what_lies_outside_is_refused(root: Path, path: str) -> None:
    before = outside(root)
    for change in (
        lambda path: write_atomically(path, b"x", root=root),
        lambda path: write_new(path, b"x", root=root),
        lambda path: unlink_inside(path, root=root),
        lambda path: remove_tree(path, root=root),
    ):
        with pytest.raises(ValueError, match=r"outside of|leads out of|the folder itself"):
            change(root.parent / path)
    assert outside(root) == before
    assert (root / "a" / "file").exists()
    assert not (root.parent / "rooted").exists()


def test_removing_a_folder_takes_the_links_in_it_and_not_what_they_point_to(root: Path) -> None:
    (root / "a" / "link").symlink_to(root.parent / "thesis")
    remove_tree(root / "a", root=root)
    assert list(root.iterdir()) == []
    assert outside(root) == {"chapter": "years of work"}
    remove_tree(root / "a", root=root)  # what is not there needs no removing


def test_walking_a_folder_follows_no_link(root: Path) -> None:
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "file link").symlink_to(root / "a" / "file")
    (root / "thesis").symlink_to(root.parent / "thesis")
    assert list(files_below(root)) == [root / "a" / "file"]
    assert {path.name for path in links_below(root)} == {"loop", "file link", "thesis"}
    assert list(files_below(root / "none")) == []


def test_a_locks_folder_that_is_a_link_is_refused(root: Path) -> None:
    before = outside(root)
    (root / ".s.zarr.locks").symlink_to(root.parent / "thesis")
    with pytest.raises(ValueError, match="symbolic link"), write_lock(root / "s.zarr", "store"):
        pass
    assert outside(root) == before


@pytest.mark.parametrize("name", ["store.lock", "store.holder.json"])
def test_a_lock_that_is_a_link_is_refused(root: Path, name: str) -> None:
    before = outside(root)
    locks = root / ".s.zarr.locks"
    locks.mkdir()
    (locks / name).symlink_to(root.parent / "thesis" / "chapter")
    with pytest.raises(ValueError, match="symbolic link"), write_lock(root / "s.zarr", "store"):
        pass
    assert outside(root) == before
    (locks / name).unlink()
    with write_lock(root / "s.zarr", "store", wait=False):
        pass  # it was released


@pytest.mark.parametrize("name", ["../x", "/abs", "a/b", ".", ".."])
def test_names_of_locks_are_no_paths(root: Path, name: str) -> None:
    with write_lock(root / "s.zarr", name):
        made = {path.parent.name for path in root.rglob("*") if path.is_file()}
    assert made == {"a", ".s.zarr.locks"}
