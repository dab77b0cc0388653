"""A group made in a store, found there, or held against what is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import zarr

from dvis.disk import remove_tree
from dvis.schema import VariableSpec, Words, group_path, run_group
from dvis.store.checksums import create_array
from dvis.store.contents import groups_below
from dvis.store.guarded import GuardedStore
from dvis.store.read_store import GENERATION, generation_path


def make_group(
    store: Path, words: Words, run: str, name: str, attrs: Mapping[str, Any]
) -> zarr.Group:
    """An empty group; the caller is `restructuring` the store.

    Raises
    ------
    ValueError
        When its place is that of another run, or in a group of one.
    """
    path = group_path(run, words.kind, name)
    see_that_no_other_run_is_at(store, path, run)
    # Of one whose making was cut off, or that is overwritten.
    remove_tree(store / path, root=store)
    files = GuardedStore(store)
    zarr.open_group(files, path=run_group(run), mode="a").update_attributes({"run": run})
    group = zarr.open_group(files, path=path, mode="a")
    for array, of_array in words.arrays.items():
        if not of_array.is_optional:
            _make_array(group, array, of_array, words.sizes)
    named = {"run": run, words.name_attr: name, "coordinates": " ".join(words.coordinates)}
    generation = uuid4().hex[:16]
    group.create_group(generation_path(generation))
    group.update_attributes({GENERATION: generation})
    # Only now is it one: a group without its kind is of a making that was cut off.
    group.update_attributes({**named, **attrs})
    group.update_attributes({"dvis_kind": words.kind})
    return group


def _make_array(
    group: zarr.Group, name: str, of_array: VariableSpec, sizes: Mapping[str, int]
) -> None:
    create_array(
        group,
        name,
        shape=tuple(sizes.get(dim, 0) for dim in of_array.dims),
        dtype=of_array.dtype,
        fill_value=of_array.fill,
        dimension_names=of_array.dims,
        attributes=dict(of_array.attrs),
        **of_array.created_with(),
    )


def add_later_arrays(group: zarr.Group, words: Words) -> list[str]:
    """Give a whole group of an earlier dvis the arrays that came since, empty; their names."""
    later = [name for name, of_array in words.arrays.items() if of_array.is_later]
    added = add_arrays(group, words, later)
    if added:
        group.update_attributes({"coordinates": " ".join(words.coordinates)})
    return added


def add_arrays(group: zarr.Group, words: Words, names: Sequence[str]) -> list[str]:
    """Give a whole group those arrays that it lacks, empty; the caller is `restructuring`.

    Labels along a dim that it lacks too come before what has the dim.
    """
    missing = [name for name in names if name not in group]
    for name in missing:
        of_array = words.arrays[name]
        labels: Any = {dim: group[dim] for dim in of_array.dims if dim in group}
        _make_array(group, name, of_array, {dim: each.shape[0] for dim, each in labels.items()})
    return missing


def see_that_no_other_run_is_at(store: Path, path: str, run: str) -> None:
    """Raise where a group would lie in another run's group, or take the place of one."""
    for there, attrs in groups_below(zarr.open_group(GuardedStore(store), mode="r")).items():
        other = attrs.get("run")
        is_around = "dvis_kind" in attrs and f"{path}/".startswith(f"{there}/")
        if other not in (None, run) and (is_around or f"{there}/".startswith(f"{path}/")):
            raise ValueError(
                f"run {run!r} would have its group at {path}, where run {other!r} has {there}. "
                "Give another --run or --name"
            )


def existing_group(store: Path, words: Words, run: str, name: str) -> zarr.Group | None:
    """The group as Zarr has it, for writing; None where there is none that is whole."""
    path = group_path(run, words.kind, name)
    if not (store / path / "zarr.json").exists():
        return None
    group = zarr.open_group(GuardedStore(store), path=path, mode="r+", use_consolidated=False)
    return group if group.attrs.get("dvis_kind") == words.kind else None


def other_settings(
    noun: str,
    where: str,
    stored: Mapping[str, Any],
    asked: Mapping[str, Any],
    differing: Sequence[str],
    *,
    can_be_named: bool = True,
) -> str:
    """Text of an error for a group that was made with other settings, by the names of these."""
    texts = []
    for key in differing:
        there, here = stored.get(key), asked[key]
        if isinstance(there, dict) and isinstance(here, dict):
            parts = [part for part in here if there.get(part) != here[part]]
            whose = f"{key}'" if key.endswith("s") else f"{key}'s"
            texts.append(f"{whose} {' and '.join(parts)}")
        else:
            texts.append(f"{key} ({there} there, {here} asked for)")
    were, them = ("were", "them") if noun.endswith("s") else ("was", "it")
    another = "another --name, or " if can_be_named else ""
    return (
        f"The {noun} {where} {were} made with other settings: {'; '.join(texts)}. Give {another}"
        f"--overwrite to replace {them}"
    )
