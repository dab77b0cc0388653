"""The read layout: image blocks that span several checkpoints, so that a timeline is few reads.

A store whose sweep is finished in, the same store with fewer, larger blocks out. An import writes
this layout by itself.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import zarr

from dvis.disk import (
    files_below,
    inside,
    require_no_links,
    unlink_inside,
    write_atomically,
    write_lock,
)
from dvis.kinds.features.images.block_reader import BlockReader
from dvis.kinds.features.images.blocks import ImageBlocks, image_layout
from dvis.kinds.features.words import IMAGE, KIND, block_checkpoints
from dvis.progress import progress_bar
from dvis.schema import Status
from dvis.store.compaction import add_checksums
from dvis.store.contents import Entry, contents, open_group
from dvis.store.writer import clear_unfinished, restructuring

# The two key encodings of Zarr v3 name the same blocks by different files: the old layout stays
# whole beside the new one until the array's metadata, in one rename, point to the new.
_OTHER_SEPARATOR = {"/": ".", ".": "/"}


def compact_store(store: str | Path, *, progress: bool = False) -> int:
    """Bring the feature images of a store on a local disk into the read layout.

    Arrays of an earlier dvis, of any kind, get the checksums that they lack. Responses are written
    in the read layout: a file holds many units of a layer with all of their images at a checkpoint,
    or of feature images many checkpoints.

    Cut off at any moment, the store is as before or as after, and a second run goes on. A reader
    that has the store open finds the old blocks emptied and gets an error, never a wrong image; it
    opens the store again.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    progress : bool
        Show a progress bar.

    Returns
    -------
    int
        Groups that were rewritten; those in the read layout, with checksums, are left alone.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    ValueError
        When there is a symbolic link in the store.
    OSError
        When a block is damaged; `dvis check --fix` first.
    StoreLockedError
        When arrays lack checksums, and another process writes a part of the store.
    """
    store = Path(store).expanduser()
    entries = contents(store).of(KIND)
    require_no_links(store)
    n_rewritten = 0
    for entry in entries:
        with write_lock(store, f"{entry.run}/{KIND}"):
            clear_unfinished(store, entry.run, KIND)
            n_rewritten += _compact_group(store, entry, progress)
    return n_rewritten + add_checksums(store, progress=progress)


def _compact_group(store: Path, entry: Entry, progress: bool) -> bool:
    reader = BlockReader(store, open_group(store, entry))
    old = reader.blocks
    span = block_checkpoints(old.height, old.width, old.codec)
    if old.checkpoints == span and old.is_checked:
        _retire_other_layout(store, old)  # where an earlier compaction was cut off
        return False
    for path in _other_layout(old):
        # New blocks of a compaction that was cut off; no reader knows them yet.
        unlink_inside(path, root=store)
    metadata = _metadata(reader.array("image"), old, span)
    other = _OTHER_SEPARATOR[old.separator]
    new = replace(old, separator=other, checkpoints=span, is_checked=True)
    title = f"compact {entry.run}, {entry.name}"
    with progress_bar(reader.n_blocks, "blocks", title, shown=progress) as bar:
        for block in reader.walk():
            lost = (block.status == Status.COMPLETE).sum() > len(block.images)
            if block.fault or lost:
                fault = block.fault or "a picture is damaged"
                raise OSError(f"{block.path}: {fault}; `dvis check --fix` first")
            _move(block.row, block.layer, block.channel // old.channels, block.images, old, new)
            bar.update()
    write_atomically(old.folder / "zarr.json", json.dumps(metadata).encode(), root=store)
    with restructuring(store):
        pass  # which shows readers the new layout
    _retire_other_layout(store, new)
    return True


def _move(
    row: int,
    layer: int,
    column: int,
    images: dict[tuple[int, int], bytes],
    old: ImageBlocks,
    new: ImageBlocks,
) -> None:
    by_block: dict[int, dict[tuple[int, int], bytes]] = {}
    for (checkpoint, channel), data in images.items():
        block_row, inside = divmod(row + checkpoint, new.checkpoints)
        by_block.setdefault(block_row, {})[inside, channel] = data
    for block_row, inside_block in by_block.items():
        new.merge(new.path(block_row, layer, column), inside_block)


def _metadata(array: zarr.Array[Any], old: ImageBlocks, span: int) -> dict[str, Any]:
    """The array's metadata with the other layout and the other key encoding."""
    layout = image_layout(old.height, old.width, old.codec, checkpoints=span)
    scratch = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=array.shape,
        dtype=IMAGE.dtype,
        fill_value=IMAGE.fill,
        dimension_names=IMAGE.dims,
        attributes=dict(array.attrs),
        chunk_key_encoding={"name": "default", "separator": _OTHER_SEPARATOR[old.separator]},
        **layout,
    )
    return dict(scratch.metadata.to_dict())


def _retire_other_layout(store: Path, blocks: ImageBlocks) -> None:
    """Empty the blocks of the layout that the array's metadata no longer name.

    Emptied, never removed: who opened the store before reads a missing block as black images, an
    empty one as an error. Readers are shown the present layout first, for a compaction may have
    been cut off before it did so.
    """
    full = [path for path in _other_layout(blocks) if path.lstat().st_size]
    if full:
        with restructuring(store):
            pass
    for path in full:
        write_atomically(path, b"", root=store)


def _other_layout(blocks: ImageBlocks) -> list[Path]:
    """Files of blocks in the other key encoding."""
    if blocks.separator == "/":
        found = blocks.folder.glob("c.*")
        return [path for path in found if path.is_file() and not path.is_symlink()]
    return list(files_below(inside(blocks.folder, "c")))
