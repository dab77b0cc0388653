"""One unit's two files, read and judged: the work that an import hands to its processes.

A jpg and an info.json in, what a store keeps of them out. Each file is looked at as something that
a killed job, a full disk or a stranger may have left.
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from dvis.kinds.features.tree.differences import difference
from dvis.kinds.features.tree.tree_names import image_name, info_name, stem_of
from dvis.kinds.features.words import CENTER, MAX_LOSS_STEPS, Form, Variant
from dvis.schema import Status
from dvis.store.picture_files import PictureError, inspect

# A thousand steps take 25 kB, an image of 224 px 40 kB.
MAX_INFO_BYTES = 8 * 2**20
MAX_IMAGE_BYTES = 64 * 2**20

_LOSS = "Loss Values"
_KEYS = {
    "Layer",
    "Channel",
    "Neuron",
    "Aggregation",
    "Activation",
    "Convergence Iteration",
    "Parameters",
    _LOSS,
}
_TO_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # on Windows a file is text otherwise
_EMPTY = np.empty(0, np.float32)
_FLOAT32 = struct.Struct("<f")  # ten times as fast as np.float32 for one number


class InfoError(ValueError):
    """An info.json that is damaged, or lacks what a store keeps of it."""


class ContradictionError(ValueError):
    """An info.json that speaks of another unit than its file's name."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a store keeps of an info.json."""

    activation: float
    stop_step: int = -1
    seed: int = -1
    parameters: bytes | None = None  # json, without the seed where `seed` holds it
    loss: np.ndarray = field(default_factory=lambda: _EMPTY)
    is_numbered: bool = False
    # Where the rest cannot repeat the file's content: what differs, or its text.
    verbatim: str = ""


@dataclass(frozen=True, kw_only=True)
class UnitRead:
    """What became of a unit's files."""

    status: Status
    form: int
    image: bytes | None = None
    size: tuple[int, int] | None = None
    info: Info | None = None
    problem: str = ""
    is_retriable: bool = False  # the fault may lie with the disk or the rights, not with the files


def read_unit(folder: str, layer: str, channel: int, variant: Variant, form: int) -> UnitRead:
    """Read a unit's files, whichever its form says are there."""
    stem = stem_of(layer, channel, variant, form)
    image_file, info_file = image_name(stem, form), info_name(stem, form)
    problems, retriable, image, size, info = [], False, None, None, None
    kept = form & ~(Form.HAS_IMAGE | Form.HAS_INFO)
    try:
        if form & Form.HAS_IMAGE:
            data = _read_file(folder + os.sep + image_file, MAX_IMAGE_BYTES, PictureError)
            picture = inspect(data)
            image, size, kept = data, (picture.height, picture.width), kept | Form.HAS_IMAGE
            remarks = [_called_otherwise(image_file, picture.format), picture.remark]
            problems += [f"{image_file}: {remark}" for remark in remarks if remark]
        else:
            problems.append(f"{info_file}: there is no picture beside it")
    except PictureError as err:
        problems.append(f"{image_file}: {err}")
    except OSError as err:
        problems.append(f"{image_file}: cannot be read: {err.strerror or err}")
        retriable = True
    try:
        if form & Form.HAS_INFO:
            text = _read_file(folder + os.sep + info_file, MAX_INFO_BYTES, InfoError)
            info = parse_info(text, layer, channel, variant)
            kept |= Form.HAS_INFO | (Form.NUMBERED_INFO if info.is_numbered else 0)
        else:
            problems.append(f"{image_file}: there is no info.json beside it")
    except ContradictionError as err:
        return UnitRead(status=Status.FAILED, form=0, problem=f"{info_file}: {err}")
    except InfoError as err:
        problems.append(f"{info_file}: {err}")
    except OSError as err:
        problems.append(f"{info_file}: cannot be read: {err.strerror or err}")
        retriable = True
    return UnitRead(
        status=_judge(image, info),
        form=kept,
        image=image,
        size=size,
        info=info,
        problem="; ".join(problems),
        is_retriable=retriable,
    )


def _called_otherwise(name: str, format: str) -> str:
    is_called_png = name.lower().endswith(".png")
    return "" if is_called_png == (format == "PNG") else f"is a {format.lower()} by another name"


def without_image(read: UnitRead, problem: str) -> UnitRead:
    """The same unit after its picture turned out not to decode."""
    return replace(
        read,
        status=_judge(None, read.info),
        form=read.form & ~Form.HAS_IMAGE,
        image=None,
        size=None,
        problem="; ".join(filter(None, [read.problem, problem])),
    )


def _judge(image: bytes | None, info: Info | None) -> Status:
    if image and info:
        return Status.COMPLETE
    return Status.INCOMPLETE if image or info else Status.FAILED


def parse_info(text: bytes, layer: str, channel: int, variant: Variant) -> Info:
    """What a store keeps of an info.json's text.

    Raises
    ------
    InfoError
        When the text is no json object, or holds no activation.
    ContradictionError
        When it speaks of another unit.
    """
    record = _parse_json(text)
    if not isinstance(record, dict):
        raise InfoError("is json, but no object")
    _check_unit(record, layer, channel, variant)
    activation: Any = record.get("Activation")
    if type(activation) not in (int, float):
        raise InfoError(f"has no number as Activation, but {_short(activation)}")
    loss, loss_is_exact = _loss(record.get(_LOSS, ()))
    parameters, seed = _parameters(record.get("Parameters"))
    stop_step = record.get("Convergence Iteration", -1)
    is_stop_exact = type(stop_step) is int and 0 <= stop_step < 2**31
    is_numbered = "Image Number" in record
    is_exact = (
        loss_is_exact
        and is_stop_exact
        and parameters is not None
        and type(activation) is float  # 0 would come back as 0.0
        and _is_float32(activation)
        and record.keys() - {"Image Number"} == _KEYS
        and record["Neuron"] == variant.neuron
        and type(record["Channel"]) is int
    )
    info = Info(
        activation=_as_float32(activation),
        stop_step=stop_step if is_stop_exact else -1,
        seed=seed,
        parameters=parameters,
        loss=loss,
        is_numbered=is_numbered,
    )
    if is_exact:
        return info
    if not loss_is_exact:
        return replace(info, verbatim=_decoded(text))
    known = {} if parameters is None else _loaded(parameters)
    repeated = rebuild_info(replace(info, loss=_EMPTY), layer, channel, variant, known)
    # The loss is as large as all else together, and exact.
    more = difference(record | {_LOSS: []}, repeated)
    if "e+" in more:  # it may have been a whole number beyond 64 bits, which Python's json keeps
        more = difference(json.loads(_decoded(text)) | {_LOSS: []}, repeated)
    return replace(info, verbatim=more)


def rebuild_info(
    info: Info, layer: str, channel: int, variant: Variant, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of the info.json that `parse_info` read, where it was not kept verbatim."""
    record: dict[str, Any] = {
        "Layer": layer,
        "Channel": channel,
        "Neuron": variant.neuron,
        "Aggregation": variant.aggregation,
    }
    if info.is_numbered:
        record["Image Number"] = variant.image
    seed = {"seed": info.seed} if info.seed >= 0 else {}
    return record | {
        "Activation": info.activation,
        "Convergence Iteration": info.stop_step,
        "Parameters": {**parameters, **seed},
        _LOSS: info.loss.tolist(),
    }


def _read_file(path: str, limit: int, refusal: type[ValueError]) -> bytes:
    # Half of the system calls that a file object makes, of which an import has most of its time.
    file = os.open(path, _TO_READ)
    try:
        left = os.fstat(file).st_size
        if left > limit:
            raise refusal(f"is larger than {limit // 2**20} MB; such a file is not read")
        parts = []
        while left > 0 and (part := os.read(file, left)):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(file)


def _parse_json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        # Python's json takes the bare words NaN and Infinity, which such files hold.
        return json.loads(_decoded(text))
    except (ValueError, RecursionError) as err:
        if not text.strip():
            raise InfoError("is empty") from err
        raise InfoError(f"is damaged or cut short: {err}") from err


def _decoded(text: bytes) -> str:
    """Text of a file in UTF-8, -16 or -32, with a byte order mark, as Windows writes it, or not."""
    return text.decode(json.detect_encoding(text))


def _check_unit(record: dict[str, Any], layer: str, channel: int, variant: Variant) -> None:
    number = record.get("Image Number", variant.image)
    aggregation = record.get("Aggregation", variant.aggregation)
    neuron = record.get("Neuron", variant.neuron)
    for key, there, named in (
        ("Layer", record.get("Layer", layer), layer),
        ("Channel", record.get("Channel", channel), channel),
        ("Image Number", number, variant.image),
        ("Aggregation", aggregation, variant.aggregation),
        ("Neuron", neuron if variant.objective != CENTER else None, variant.neuron),
    ):
        if there != named or isinstance(there, bool):
            raise ContradictionError(f"says {key} {_short(there)}, its name {_short(named)}")


def _loss(values: Any) -> tuple[np.ndarray, bool]:
    """Loss curve, and whether it is held exactly; an odd one is kept verbatim alone."""
    if not isinstance(values, list) or len(values) > MAX_LOSS_STEPS:
        return _EMPTY, False
    kinds = set(map(type, values))
    if not kinds <= {float, int}:
        return _EMPTY, False
    try:
        exact = np.array(values, np.float64)
    except OverflowError:  # an integer beyond every float
        return _EMPTY, False
    loss = _as_float32s(exact)
    # NaN pads the end of a curve in the store, so one that ends in NaN would come back shorter.
    if int in kinds or (values and math.isnan(loss[-1])):
        return loss, False
    is_exact = loss.astype(np.float64).tobytes() == exact.tobytes()
    return loss, is_exact or bool(((loss == exact) | np.isnan(exact)).all())


@np.errstate(over="ignore")
def _as_float32s(exact: np.ndarray) -> np.ndarray:
    return exact.astype(np.float32)


def _parameters(parameters: Any) -> tuple[bytes | None, int]:
    """Text of the parameters less their seed, and the seed where it is a plain one."""
    if not isinstance(parameters, dict):
        return None, -1
    seed = parameters.get("seed")
    if type(seed) is int and 0 <= seed < 2**31:
        parameters = {key: value for key, value in parameters.items() if key != "seed"}
    else:
        seed = -1
    try:
        text = orjson.dumps(parameters)
    except TypeError:  # an integer beyond 64 bits
        return None, seed
    # orjson writes NaN as null: such parameters are kept verbatim alone.
    return (text, seed) if _loaded(text) == parameters else (None, seed)


@lru_cache(maxsize=64)
def _loaded(text: bytes) -> Any:
    return orjson.loads(text)


def _as_float32(value: float) -> float:
    try:
        (single,) = _FLOAT32.unpack(_FLOAT32.pack(float(value)))
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return float(single)


def _is_float32(value: float) -> bool:
    return math.isnan(value) or _as_float32(value) == value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
