"""Names that a terminal would obey are printed as text, in output and in errors."""

import io
import logging
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from recorded_stores import write_store

from dvis import cli
from dvis.commands.plain_output import as_text, plain_output

ODD = "a\x1b]0;title\x07\x1b[2K\x9b31m\u202eb"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        cli.main(list(arguments))
    printed = capsys.readouterr()
    return printed.out + printed.err


@pytest.mark.parametrize(
    "arguments", [("info", "{store}"), ("steps", "{store}"), ("check", "{store}")]
)
def test_commands_print_no_escapes_of_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    store = write_store(tmp_path / "s.zarr", [ODD, "b"], [f"conv{ODD}"])
    text = said(capsys, *(each.format(store=store) for each in arguments))
    assert not set("\x1b\x07\x9b\u202e") & set(text)


def test_errors_print_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "info", str(tmp_path / ODD))
    assert "\\x1b" in text
    assert "\x1b" not in text


def test_warnings_print_none() -> None:
    record = logging.LogRecord("dvis", logging.WARNING, "a.py", 1, "of %s", (ODD,), None)
    assert cli._plain(record)
    assert "\x1b" not in record.getMessage()


def test_a_progress_bar_goes_back_to_the_left_of_its_line_and_no_name_does() -> None:
    stream = io.StringIO()
    with redirect_stderr(stream), plain_output():
        sys.stderr.write("\rnet\x1b[A: 3\r4")
    assert stream.getvalue() == "\rnet\\x1b[A: 3\\x0d4"


def test_other_letters_stay() -> None:
    assert as_text("Größe 層 é\n\t🙂") == "Größe 層 é\n\t🙂"
