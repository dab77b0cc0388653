"""How commands read their arguments, and what their help says of every option."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from dvis import cli, command_line
from dvis.models import torch_guard
from dvis.models.torch_guard import needing_torch, telling_of_torch

_BORDER = re.compile(r"^[│ ] ?|│? *$")


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(arguments))
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def options_without_text(text: str) -> list[str]:
    """Options and positional arguments of a help of which it says nothing."""
    lines = [_BORDER.sub("", line) for line in text.splitlines()]
    missing, n_lines = [], len(lines)
    for i, line in enumerate(lines):
        if not re.match(r"--?\w", line):
            continue
        has_text = re.search(r" {2,}\S", line) or (
            i + 1 < n_lines and re.match(r" {6,}\S", lines[i + 1])
        )
        said = line if re.search(r" {2,}\S", line) else lines[i + 1] if has_text else ""
        words = re.split(r" {2,}", said, maxsplit=1)[-1].strip()
        if not has_text or words.startswith(("(default:", "(required)")):
            missing.append(line)
    return missing


def helps(read: Callable[..., int], path: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """Help of a command and of all below it."""
    found = {path: text_of(read, path)}
    for name in command_line._offered(read, path).subcommands:
        found |= helps(read, (*path, name))
    return found


def text_of(read: Callable[..., int], path: Sequence[str]) -> str:
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        read(args=[*path, "--help"])
    return text.getvalue()


@pytest.mark.parametrize("name", cli.commands())
def test_help_has_a_text_for_every_option(name: str) -> None:
    read = command_line._reader(cli.commands_for([])[name], name)
    for path, text in helps(read, ()).items():
        where = " ".join([name, *path])
        assert options_without_text(text) == [], where
        for unreadable in ("{None}", "(default: )", "(default: None)"):
            assert unreadable not in text, where


def test_commands_come_in_the_order_of_work() -> None:
    names = list(cli.commands())
    order = ("train", "layers", "visualize", "respond", "activations", "sae", "probe", "info")
    assert sorted(order, key=names.index) == list(order)
    assert names.index("info") < names.index("plot") < names.index("page") < names.index("view")


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "--version") == (0, f"dvis {version('dvis')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "meant", "where"),
    [
        (("info", "x", "--problem"), "'--problems'", "dvis info"),
        (("sae", "train", "x", "--lyer=3"), "'--layer'", "dvis sae train"),
        (("plot", "timeline", "x", "--max_imges", "3"), "'--max-images'", "dvis plot"),
        (("sae", "trian"), "'train'", "dvis sae"),
        (("plt",), "'plot'", "dvis"),
    ],
)
def test_a_wrong_word_is_answered_by_the_right_one_of_the_same_command(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], meant: str, where: str
) -> None:
    code, _, err = ended(capsys, *arguments)
    assert code == 2
    assert f" in {where}." in err
    assert f"Did you mean {meant}?" in err
    assert len(err.splitlines()) == 1


def test_what_is_missing_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ended(capsys, "info")
    assert code == 2
    assert "STORE" in err
    assert "A store's folder or URL" in err


def test_none_is_still_a_value(capsys: pytest.CaptureFixture[str], sample_store: Path) -> None:
    assert ended(capsys, "notes", str(sample_store), "--run", "None")[0] == 0


def test_a_terminal_is_told_that_torch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(torch_guard.sys.stderr, "isatty", lambda: True, raising=False)
    with needing_torch("sae"):
        pass
    assert capsys.readouterr().err == ""
    with telling_of_torch(), needing_torch("sae"):
        pass
    assert capsys.readouterr().err == "sae: loading torch ...\n"
