"""Pictures out: a store becomes the jpg/json tree again.

A store in, `{out}/{model}/{run}/{checkpoint}/...` out: imported pictures byte for byte, and
info.json files, in UTF-8, equal in content to those that were imported.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dvis.disk import MOST_NAME_BYTES, inside, is_file_name, write_atomically
from dvis.kinds.features.images.block_reader import Block, BlockReader
from dvis.kinds.features.read import flat_checkpoints
from dvis.kinds.features.tree.differences import is_difference, with_difference
from dvis.kinds.features.tree.tree_names import image_name, info_name, stem_of
from dvis.kinds.features.tree.unit_files import Info, rebuild_info
from dvis.kinds.features.words import KIND, Form, Variant
from dvis.progress import progress_bar
from dvis.schema import Status
from dvis.store.contents import contents, open_group
from dvis.store.picture_files import encode_png

_MOST_ROUND_LAYER = 100  # bytes that a file's name can have beside its layer
_SCALARS = ("activation", "stop_step", "seed", "params")


@dataclass
class ExportReport:
    """What an export wrote."""

    folder: Path
    n_images: int = 0
    n_infos: int = 0
    n_unchanged: int = 0
    n_encoded: int = 0
    faults: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def export_tree(
    store: str | Path, out: str | Path, *, overwrite: bool = False, progress: bool = False
) -> ExportReport:
    """Write the jpg/json tree of a store, each file by the name that it was imported by.

    Parameters
    ----------
    store : str or Path
        A store on a local disk.
    out : str or Path
        Folder that gets `{model}/{run}/{checkpoint}/...`. Files there that are the same are left
        alone, so that an export that was cut off goes on.
    overwrite : bool
        Replace files there that differ.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ExportReport
        `n_encoded` counts the pictures that a store holds as pixels: they become jpgs of quality
        95, which are not what made them, and pngs where they came from pngs. `faults` lists
        pictures that are damaged in the store and so left out, `others` groups of other kinds that
        the store holds: the tree has no place for them.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    FileExistsError
        When a file there differs and `overwrite` is false.
    ValueError
        When a label of the store is no name of a file or folder, before anything is written; when
        a symbolic link lies in the folder where something is to be written.
    """
    store = Path(store).expanduser()
    found = contents(store)
    root, model = Path(out).expanduser(), str(found.attrs["model"])
    entries = [each for each in found.of(KIND) if not Variant.parse(each.name).is_directed]
    readers = [BlockReader(store, open_group(store, entry)) for entry in entries]
    _require_names(store, model, readers)
    report = ExportReport(root / model)
    others = [entry for entry in found.entries if entry not in entries]
    report.others = [f"{entry.kind} {entry.name} of {entry.run}" for entry in others]
    n_blocks = sum(reader.n_blocks for reader in readers)
    with progress_bar(n_blocks, "blocks", f"export {model}", shown=progress) as bar:
        for reader in readers:
            flat = set(flat_checkpoints(found, reader.run))
            for block in reader.walk():
                for path, data in _files(reader, block, flat, report):
                    _write(inside(root, model, *path.parts), data, root, overwrite, report)
                bar.update()
    return report


def _files(
    reader: BlockReader, block: Block, flat: set[str], report: ExportReport
) -> Iterator[tuple[Path, bytes]]:
    """Paths below the model's folder and contents of a block's files."""
    kept = (block.status == Status.COMPLETE) | (block.status == Status.INCOMPLETE)
    if not kept.any():
        return
    variant = Variant.parse(str(reader.group.attrs["variant"]))
    layer = reader.layers[block.layer]
    scalars = _Scalars(reader, block)
    for row, column in zip(*np.nonzero(kept), strict=True):
        label = reader.labels[block.row + row]
        parents = [] if label in flat else reader.run.split("/")
        form = int(block.form[row, column]) or Form.HAS_IMAGE | Form.HAS_INFO
        channel = block.channel + int(column)
        folder, stem = Path(*parents, label), stem_of(layer, channel, variant, form)
        picture = folder / image_name(stem, form)
        data = block.images.get((int(row), int(column)))
        if form & Form.HAS_IMAGE and data is None:
            fault = block.fault or "is damaged, or not there"
            report.faults.append(f"{picture}: its picture {fault}")
        elif form & Form.HAS_IMAGE and data is not None:
            if reader.blocks.codec == "raw":
                data = _encode(data, reader, picture.suffix)
                report.n_encoded += 1
            report.n_images += 1
            yield picture, data
        if form & Form.HAS_INFO:
            text = scalars.info_text(int(row), int(column), layer, channel, variant, form)
            report.n_infos += 1
            yield folder / info_name(stem, form), text.encode()


def _require_names(store: Path, model: str, readers: Sequence[BlockReader]) -> None:
    """Raise where a label would not become the name of a file or folder, but a path."""
    _require_name(store, "model", model, [model])
    for reader in readers:
        _require_name(store, "run", reader.run, reader.run.split("/"))
        for label in _used_labels(reader):
            _require_name(store, "checkpoint", label, [label])
        for index, layer in enumerate(reader.layers):
            _require_name(store, "layer", layer, [f"layer_{layer}", *_long_names(reader, index)])


def _require_name(store: Path, what: str, label: str, names: Sequence[str]) -> None:
    if not all(map(is_file_name, names)):
        raise ValueError(
            f"The {what} {label!r} of {store} can be no name of a file or folder, for it is too "
            "long, or would lead elsewhere: then the store is damaged, or somebody means harm. "
            "Nothing was written"
        )


def _long_names(reader: BlockReader, index: int) -> Iterator[str]:
    """Names of a layer's files, where some may be too long."""
    variant, layer = Variant.parse(str(reader.group.attrs["variant"])), reader.layers[index]
    if len(layer.encode(errors="surrogatepass")) + _MOST_ROUND_LAYER <= MOST_NAME_BYTES:
        return
    status = np.asarray(reader.array("status")[:, index])
    forms = np.asarray(reader.array("source/form")[:, index])
    kept = (status == Status.COMPLETE) | (status == Status.INCOMPLETE)
    for row, channel in np.argwhere(kept).tolist():
        form = int(forms[row, channel]) or Form.HAS_IMAGE | Form.HAS_INFO
        stem = stem_of(layer, channel, variant, form)
        if form & Form.HAS_IMAGE:
            yield image_name(stem, form)
        if form & Form.HAS_INFO:
            yield info_name(stem, form)


def _used_labels(reader: BlockReader) -> list[str]:
    """Labels of checkpoints; none for rows without units that a killed writer has left."""
    if all(reader.labels):
        return reader.labels
    is_used = (np.asarray(reader.array("status")[:]) != Status.ABSENT).any((1, 2))
    return [label for label, used in zip(reader.labels, is_used, strict=True) if label or used]


class _Scalars:
    """What a group's variables say of a block's units."""

    def __init__(self, reader: BlockReader, block: Block) -> None:
        rows, columns = block.status.shape
        self._region = (
            slice(block.row, block.row + rows),
            block.layer,
            slice(block.channel, block.channel + columns),
        )
        self._values = {name: np.asarray(reader.array(name)[self._region]) for name in _SCALARS}
        self._loss = np.asarray(reader.array("loss")[self._region])
        self._verbatim = np.asarray(reader.array("source/info")[self._region])
        self._parameters: list[dict[str, Any]] = list(reader.group.attrs.get("parameters", []))  # type: ignore[arg-type]

    def info_text(
        self, row: int, column: int, layer: str, channel: int, variant: Variant, form: int
    ) -> str:
        """Text of a unit's info.json."""
        verbatim = str(self._verbatim[row, column])
        if verbatim and not is_difference(verbatim):
            return verbatim
        loss = self._loss[row, column]
        known = np.flatnonzero(~np.isnan(loss))
        info = Info(
            activation=float(self._values["activation"][row, column]),
            stop_step=int(self._values["stop_step"][row, column]),
            seed=int(self._values["seed"][row, column]),
            loss=loss[: known[-1] + 1 if len(known) else 0],
            is_numbered=bool(form & Form.NUMBERED_INFO),
        )
        index = int(self._values["params"][row, column])
        parameters = self._parameters[index] if index >= 0 else {}
        record = rebuild_info(info, layer, channel, variant, parameters)
        return json.dumps(with_difference(record, verbatim) if verbatim else record, indent=2)


def _encode(pixels: bytes, reader: BlockReader, suffix: str) -> bytes:
    array = np.frombuffer(pixels, np.uint8)
    array = array.reshape(reader.blocks.height, reader.blocks.width, 3)
    if suffix.lower() == ".png":
        return encode_png(array)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _write(path: Path, data: bytes, root: Path, overwrite: bool, report: ExportReport) -> None:
    if os.path.lexists(path):
        if path.is_file() and path.read_bytes() == data:
            report.n_unchanged += 1
            return
        if not overwrite:
            raise FileExistsError(
                f"{path} is there and differs; give an empty folder, or --overwrite"
            )
    write_atomically(path, data, root=root)
