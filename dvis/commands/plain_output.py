r"""What a command prints, as text alone: names of a store are written by others.

A checkpoint, a layer or a file can be called so that a terminal hides a line, sets its title or
types into it. Such letters are printed as what they are, `\x1b`, whoever prints them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from typing import IO, Any

_KEPT = "\n\t"
_LETTERS = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200E, 0x2010),  # marks that turn the direction of a line
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
_SHOWN = {
    letter: f"\\x{letter:02x}" if letter < 0x100 else f"\\u{letter:04x}"
    for letter in _LETTERS
    if chr(letter) not in _KEPT
}


def as_text(text: str) -> str:
    r"""A text in which what a terminal would obey is written out.

    Examples
    --------
    >>> print(as_text("layer1" + chr(27) + "[2K" + chr(13)))
    layer1\x1b[2K\x0d
    """
    return text.translate(_SHOWN)


class _PlainStream:
    """A stream to which texts go as they can be shown."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; progress bars begin at the left of their line."""
        start = "\r" if text.startswith("\r") and self._stream is not sys.__stdout__ else ""
        self._stream.write(start + as_text(text.removeprefix(start)))
        return len(text)

    def writelines(self, texts: list[str]) -> None:
        """Write texts."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def plain_output() -> Iterator[None]:
    """Let all that is printed meanwhile be text alone."""
    out, err = sys.stdout, sys.stderr
    with redirect_stdout(_PlainStream(out)), redirect_stderr(_PlainStream(err)):
        yield


def printing_plainly(command: Callable[..., int]) -> Callable[..., int]:
    """The same command, whose output is text alone."""

    @wraps(command)
    def plain(*arguments: Any, **named: Any) -> int:
        with plain_output():
            return command(*arguments, **named)

    return plain
