"""What a user tells of checkpoints: files of steps, and patterns that choose some.

    name,step,epoch
    a.pth,100,1

or the same in json: `{"a.pth": 100}`, `{"a.pth": {"step": 100, "epoch": 1}}`, or a list of such
rows with their `name`.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from dvis.names.run import Told, whole_number
from dvis.schema import did_you_mean

Steps: TypeAlias = str | Path | Mapping[str, Any]

_FIELDS = ("name", "step", "epoch")
_HOW = "Write name,step or name,step,epoch in each line, or the same as json"


def read_told(steps: Steps) -> dict[str, Told]:
    """Steps and epochs by checkpoint, of a csv or json file, or of a mapping.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is neither, names a checkpoint twice, or has a step that is no whole number.
    """
    if isinstance(steps, Mapping):
        return _told(_rows_of_mapping(steps), "steps")
    path = Path(steps).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"No file {steps}, from which steps are to be read")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _rows_of_json(text) if path.suffix.lower() == ".json" else _rows_of_csv(text)
        return _told(rows, str(steps))
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as err:
        raise ValueError(f"{steps} cannot be read as steps: {err}. {_HOW}") from err


def check_told(told: Iterable[str], there: Iterable[str], where: str) -> None:
    """Raise where a checkpoint whose step was told is none of those there are.

    Raises
    ------
    ValueError
        With the wrong names, and those there are.
    """
    labels = list(dict.fromkeys(there))
    wrong = [label for label in told if label not in set(labels)]
    if wrong:
        more = f" {len(wrong)} names in the steps are wrong in all." if len(wrong) > 1 else ""
        raise ValueError(did_you_mean("checkpoint", wrong[0], labels, where) + more)


def chosen(labels: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The labels that one of some patterns fits; all where there is no pattern.

    Raises
    ------
    ValueError
        When a pattern fits none.

    Examples
    --------
    >>> chosen(["epoch_1.pth", "epoch_2.pth", "best.pth"], ["epoch_*"])
    ['epoch_1.pth', 'epoch_2.pth']
    """
    for pattern in patterns:
        if not any(fits(label, [pattern]) for label in labels):
            shown = ", ".join(labels[:10])
            shown += f", ... ({len(labels)} in all)" if len(labels) > 10 else ""
            raise ValueError(
                f"No checkpoint is called like {pattern!r}; there are: {shown}. Patterns are like "
                "those of file names: 'epoch_*', 'step_?000.pth'"
            )
    return [label for label in labels if fits(label, patterns)]


def fits(label: str, patterns: Sequence[str]) -> bool:
    """Whether one of some patterns fits a label; each does where there is no pattern."""
    return not patterns or any(fnmatchcase(label, pattern) for pattern in patterns)


def _rows_of_csv(text: str) -> Iterator[Mapping[str, Any]]:
    dialect: Any = csv.excel_tab if "\t" in text.partition("\n")[0] else csv.excel
    rows = [row for row in csv.reader(io.StringIO(text), dialect, skipinitialspace=True) if row]
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    header = names if names[:1] in (["name"], ["checkpoint"], ["label"]) else []
    if header:
        header[0] = "name"
    for row in rows[bool(header) :]:
        if len(row) < 2 or len(row) > len(header or _FIELDS):
            raise ValueError(f"{','.join(row)!r} is no row of steps. {_HOW}")
        cells = [cell.strip() for cell in row]
        yield {key: cell for key, cell in zip(header or _FIELDS, cells, strict=False) if cell}


def _rows_of_json(text: str) -> Iterator[Mapping[str, Any]]:
    # Pairs, for a dict would keep the last of two equal names without a word.
    content = json.loads(text, object_pairs_hook=_Pairs)
    if isinstance(content, _Pairs):
        yield from _rows_of_pairs(content)
        return
    for row in content if isinstance(content, list) else [content]:
        if not isinstance(row, _Pairs):
            raise ValueError(f"{row!r} is no row of steps. {_HOW}")
        yield dict(row)


class _Pairs(list[tuple[str, Any]]):
    """An object of json as it is written."""


def _rows_of_mapping(steps: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return _rows_of_pairs(steps.items())


def _rows_of_pairs(pairs: Iterable[tuple[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for label, value in pairs:
        is_row = isinstance(value, _Pairs | Mapping)
        yield {**(dict(value) if is_row else {"step": value}), "name": label}


def _told(rows: Iterable[Mapping[str, Any]], source: str) -> dict[str, Told]:
    told: dict[str, Told] = {}
    for row in rows:
        label = row.get("name")
        if not isinstance(label, str) or not label:
            raise ValueError(f"{source}: {dict(row)} names no checkpoint. {_HOW}")
        if label in told:
            raise ValueError(f"{source} names {label!r} twice; give each checkpoint one row")
        numbers = {
            key: _number(row[key], f"{key} of {label!r}", source)
            for key in _FIELDS[1:]
            if key in row
        }
        if not numbers:
            raise ValueError(f"{source} tells no step of {label!r}. {_HOW}")
        told[label] = Told(**numbers)
    if not told:
        raise ValueError(f"{source} tells no steps. {_HOW}")
    return told


def _number(value: Any, what: str, source: str) -> int:
    try:
        number = whole_number(float(value) if isinstance(value, str) else _plain(value))
    except ValueError:
        number = None
    if number is None:
        raise ValueError(f"{source}: the {what} is {value!r}; it must be a whole number from 0 on")
    return number


def _plain(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item() if hasattr(value, "item") else value
