"""Plain values beside weights are read, and a crafted pickle gets nothing run."""

import io
import os
import pickle
import random
import types
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from test_checkpoints import WEIGHTS, Hostile, save

from dvis.models.checkpoints import CheckpointError, load_checkpoint, read_facts

MOMENT = datetime(2024, 3, 25, 0, 28, tzinfo=UTC)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("value", "read"),
    [
        (Path("/data/x"), "/data/x"),
        (PureWindowsPath("c:\\x"), "c:\\x"),
        (np.array([[0.5, 1], [2, 3]], order="F"), [[0.5, 1], [2, 3]]),
        (np.array(["a", "bb"]), ["a", "bb"]),
        (np.array([], np.int64), []),
        (np.str_("resnet"), "resnet"),
        (np.float16(0.5), 0.5),
        (np.uint8(7), 7),
        (timedelta(1), "1 day, 0:00:00"),
        (MOMENT, "2024-03-25T00:28:00+00:00"),
        (date(2024, 1, 1), "2024-01-01"),
        (Namespace(data=Path("a"), lr=[0.1]), {"data": "a", "lr": [0.1]}),
        (Namespace(), {}),
        (types.SimpleNamespace(), {}),
        (types.SimpleNamespace(a=types.SimpleNamespace(b=1)), {"a": {"b": 1}}),
        (defaultdict(list, {"a": [1]}), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (deque([1, 2], 3), [1, 2]),
        (frozenset([1]), [1]),
        ({1}, [1]),
        (random.Random(3).getstate()[2:], [None]),
        (torch.float16, "torch.float16"),
    ],
    ids=str,
)
def test_plain_values_are_read(tmp_path: Path, value: Any, read: Any, is_zip: bool) -> None:
    content = {"model": WEIGHTS, "extra": value, "epoch": 3}
    path = save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=is_zip)
    assert read_facts(path) == {"extra": read, "epoch": 3}


def test_states_of_random_numbers_are_read(tmp_path: Path) -> None:
    states = {
        "numpy": np.random.RandomState(0).get_state(),
        "generator": np.random.default_rng(0).bit_generator.state,
        "python": random.Random(0).getstate(),
        "torch": torch.get_rng_state(),
    }
    path = save(tmp_path / "a.pth", {"model": WEIGHTS, "rng": states, **states})
    facts = read_facts(path)
    assert facts["numpy"][1] == np.random.RandomState(0).get_state()[1].tolist()
    assert facts["generator"] == states["generator"]
    assert "torch" not in facts


def test_what_is_too_much_or_holds_itself_is_no_fact(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = ["x"]
    for _ in range(40):
        doubled = [doubled, doubled]  # a thousand milliard values in forty
    content = {"model": WEIGHTS, "endless": endless, "doubled": doubled, "bank": np.zeros(200_000)}
    assert read_facts(save(tmp_path / "a.pth", {**content, "epoch": 1})) == {"epoch": 1}


class Crafted:
    """Pickled as a call of something, with these arguments and this state."""

    def __init__(self, call: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.call, self.arguments, self.state = call, arguments, state

    def __reduce__(self) -> Any:
        return (self.call, self.arguments, self.state)


_RECONSTRUCT = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
_BIG = (1, (2**40,), np.dtype("f8"), False, b"12345678")
_OF_OBJECTS = (1, (1,), np.dtype("O"), False, [Hostile])


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], object),
        np.datetime64("2024"),
        np.zeros(2, [("a", "i4"), ("b", "O")]),
        Crafted(_RECONSTRUCT, (np.ndarray, (0,), b"b"), _BIG),
        Crafted(_RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (-1,), np.dtype("i1"), False, b"1")),
        Crafted(_RECONSTRUCT, (np.ndarray, (0,), b"b"), _OF_OBJECTS),
        Crafted(_SCALAR, (np.dtype("f8"), b"123")),
        Crafted(_SCALAR, (np.dtype("U1"), b"\xff\xff\xff\xff")),
        Crafted(datetime, (b"\xff" * 10,)),
        Crafted(Path, (Crafted(os.system, ("touch ran",)),)),
        Crafted(defaultdict, (os.system,)),
        Crafted(Namespace, (), Crafted(os.system, ("touch ran",))),
        Crafted(eval, ("open('ran', 'w')",)),
        Crafted(getattr, ("x", "upper")),
        Crafted(__import__, ("os",)),
    ],
    ids=lambda value: getattr(value, "call", type(value)).__name__,
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_crafted_value_is_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, is_zip: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": WEIGHTS, "x": value}
    path = save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"refused, and nothing was run|is damaged"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_stand_in_takes_no_attributes_and_no_methods(tmp_path: Path) -> None:
    """State that would replace a method of a real object is a field among others."""
    state = {"__class__": "x", "__setstate__": 1, "__reduce__": 2, "a": 1}
    path = save(tmp_path / "a.pth", {"model": WEIGHTS, "args": Crafted(Namespace, (), state)})
    assert read_facts(path)["args"] == state


def test_a_pickle_that_names_what_a_stand_in_is_made_of_is_refused(tmp_path: Path) -> None:
    """Names of ours are no way in: only those of the types that they stand for are read."""
    path = tmp_path / "a.pth"
    body = b"\x80\x02cdvis.models.stand_ins\n_path\nX\x01\x00\x00\x00a\x85R."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", body)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"dvis\.models\.stand_ins\._path"):
        load_checkpoint(path)
    assert pickle.loads(body) == "a"
