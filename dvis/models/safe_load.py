"""Read a file of `torch.save` without running anything that it names.

Tensors and plain values come out; a file that holds more, or less than it should, is refused with
the reason and a way out. A pickle can name any function; torch's `weights_only` calls none but
those that rebuild tensors, and files that torch did not write are not opened as pickles at all.
"""

import re
import threading
import zipfile
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dvis.models.stand_ins import STAND_INS

_ZIP_START = b"PK\x03\x04"
# The number with which torch.save began its files before it wrote zips (torch 1.6).
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_READ_BYTES = 2**20
_WANTED = "Give a file that torch.save or safetensors wrote"


class CheckpointError(ValueError):
    """A file that is no checkpoint, is cut short, would run code, or does not fit the model."""


def load_safely(path: Path, *, is_for_weights: bool = True) -> Any:
    """Content of a file of `torch.save`: tensors, on the CPU, and plain values.

    A zip's checksums are compared with what is in it; of tensors only where it `is_for_weights`.

    A zip's tensors are read from the file when they are first used. Beside what torch takes for
    harmless, what `stand_ins` knows is read: paths, arguments, times, and numpy's numbers.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When torch did not write it, it is cut short or damaged, or it asks for code to be run.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the file of a checkpoint in it")
    in_zip = is_zip(path)
    if reason := _reason_against_zip(path) if in_zip else _reason_against_legacy(path):
        raise CheckpointError(f"{path} {reason}")
    if in_zip and (reason := _damage(path, is_for_weights, *_stamp(path))):
        raise CheckpointError(f"{path} is damaged: {reason}. Save or fetch it again")
    try:
        return _load_plain(path, in_zip)
    except (OSError, MemoryError):
        raise
    except UnpicklingError as err:
        raise CheckpointError(_refusal(path, in_zip, err)) from err
    except Exception as err:  # damaged bytes make torch raise nearly everything
        reason = str(err).partition("\n")[0].rstrip(".") or type(err).__name__
        raise CheckpointError(f"{path} is damaged: {reason}. Save or fetch it again") from err


def is_of_torch(path: Path) -> bool:
    """Whether `torch.save` wrote a file, by how it begins and what a zip lists; it is not read."""
    if is_zip(path):
        try:
            return any(name == "data.pkl" for name, _, _ in records_of(path))
        except CheckpointError:
            return False
    return _reason_against_legacy(path) is None


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, as torch.save writes since version 1.6."""
    with path.open("rb") as file:
        return file.read(len(_ZIP_START)) == _ZIP_START


def records_of(path: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and CRC-32 of each record in a zip, without the folder's name.

    The folder is called like the file; the CRC is 0 where `torch.save` was told to make none.

    Raises
    ------
    CheckpointError
        When the zip is cut short.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as err:
        raise CheckpointError(
            f"{path} is cut short: it ends after {path.stat().st_size} bytes without a table of "
            "contents. Save or fetch it again"
        ) from err
    return [(entry.filename.partition("/")[2], entry.file_size, entry.CRC) for entry in entries]


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4096)  # a file is read for this once, while it does not change
def _damage(path: Path, is_whole: bool, _inode: int, n_bytes: int, _changed: int) -> str | None:
    """What of a zip is not what its table of contents tells: torch checks no checksum.

    Tensors are left out unless it is to be the whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return "its records are compressed, as torch.save never writes them"
            if sum(entry.file_size for entry in entries) > n_bytes:
                return f"its records are larger together than its {n_bytes} bytes"
            if not any(entry.CRC for entry in entries):  # saved without checksums
                return None
            for entry in entries:
                if not is_whole and "/data/" in entry.filename:
                    continue
                with archive.open(entry) as record:
                    while record.read(_READ_BYTES):
                        pass
    except zipfile.BadZipFile as err:
        return str(err)
    except (RuntimeError, NotImplementedError, ValueError, EOFError) as err:
        return str(err) or type(err).__name__
    return None


def _reason_against_zip(path: Path) -> str | None:
    names = {name for name, _, _ in records_of(path)}
    if "constants.pkl" in names:
        return (
            "is a TorchScript program, which runs code. Only if you trust where it comes from, "
            "save the weights of its model once in Python, into another folder:\n"
            "    import torch\n"
            f"    model = torch.jit.load({str(path.absolute())!r}, map_location='cpu')\n"
            f"    torch.save({{'model_state_dict': model.state_dict()}}, {path.name!r})"
        )
    return None if "data.pkl" in names else f"is a zip that torch.save did not write. {_WANTED}"


def _reason_against_legacy(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_START))
    if start == _LEGACY_START:
        return None
    what = f"begins with {start[:8]!r}, which is not torch.save's" if start else "is empty"
    return f"is no checkpoint: it {what}. {_WANTED}"


def _load_plain(path: Path, in_zip: bool) -> Any:
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True, "mmap": in_zip}
    try:
        return torch.load(path, **options)
    except UnpicklingError:
        stand_ins: list[Any] = [(made, name) for name, made in STAND_INS.items()]
        with _STAND_INS_LOCK, torch.serialization.safe_globals(stand_ins):
            return torch.load(path, **options)


_STAND_INS_LOCK = threading.Lock()  # torch keeps one list for all threads

# What a refusal prints: it keeps weights and plain values, and writes the rest as text.
_CONVERSION = """\
    import torch

    def plain(value):
        if isinstance(value, torch.nn.Module):
            return plain(value.state_dict())
        if isinstance(value, torch.Tensor) or value is None:
            return value
        for kind in (bool, int, float, str):
            if isinstance(value, kind):
                return kind(value)
        if hasattr(value, "tolist"):
            return plain(value.tolist())
        if isinstance(value, dict):
            return {{k if type(k) is int else str(k): plain(v) for k, v in value.items()}}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        return str(value)

    content = plain(torch.load({given!r}, map_location="cpu", weights_only=False))
    torch.save(content, {name!r})"""


def _refusal(path: Path, in_zip: bool, err: UnpicklingError) -> str:
    """Why a file is refused that holds more than weights and plain values, and the way out."""
    names = re.findall(r"GLOBAL ([\w.]+)", str(err))[:1]
    if in_zip:
        names = sorted(_foreign_names(path)) or names
    what = ", ".join(names[:10]) or "what is neither tensors nor plain values"
    conversion = _CONVERSION.format(given=str(path.absolute()), name=path.name)
    return (
        f"{path} asks for {what} to be loaded, which may run code: refused, and nothing was run. "
        "Only if you trust where the file comes from, convert it once in Python, into another "
        f"folder under the same name:\n{conversion}"
    )


def _foreign_names(path: Path) -> set[str]:
    """Functions and classes that a zip file names beyond tensors and what dvis reads itself."""
    try:
        named = set(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # a pickle that torch cannot follow: its refusal has said what it met
        return set()
    return named - STAND_INS.keys()
