"""The reference of commands: the help that `dvis COMMAND --help` prints, a page a command."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dvis import cli

Words = tuple[str, ...]
_COLUMNS = "100"
_RULE = re.compile(r"^ -{20,}\s*$\n?", re.M)


def help_of(words: Words) -> str:
    """Help of a command, or of one of its subcommands, without colours."""
    printed = io.StringIO()
    plain = {"COLUMNS": _COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}
    with patch.dict(os.environ, plain), redirect_stdout(printed):
        try:
            cli.main([*words, "--help"])
        except SystemExit as ended:
            if ended.code:
                raise ValueError(f"no command dvis {' '.join(words)}") from ended
    plain_text = _RULE.sub("", printed.getvalue())
    return "\n".join(line.rstrip() for line in plain_text.splitlines()).strip() + "\n"


def subcommands_in(help_text: str) -> list[str]:
    """Names of the subcommands that a help lists."""
    usage = help_text.partition("\n\n")[0]
    listed = re.search(r"\{([\w,\s-]+)\}\s*$", usage)
    return re.split(r",\s*", listed[1]) if listed and "\n subcommands\n" in help_text else []


def options_in(help_text: str) -> set[str]:
    """Every spelling of the options that a help lists."""
    lines = [line.strip() for line in help_text.splitlines()]
    heads = [line.partition("  ")[0] for line in lines if line.startswith("-")]
    return {word for head in heads for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", head)}


def commands() -> Iterator[tuple[Words, str]]:
    """Each command and subcommand with its help, in the order of `dvis --help`."""
    for name in cli.commands():
        text = help_of((name,))
        yield (name,), text
        for sub in subcommands_in(text):
            yield (name, sub), help_of((name, sub))


def write_pages(folder: Path) -> None:
    """Write a page a command, and the list of them, where they differ from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[str, list[str]] = {}
    rows = ["| command | |", "| --- | --- |"]
    for words, text in commands():
        name, title = words[0], " ".join(words)
        if words[1:]:
            pages[name].append(f"\n## dvis {title}\n\n```text\n{text}```\n")
            continue
        says = " ".join(text.partition("\n\n")[2].partition("\n\n")[0].split())
        rows.append(f"| [`dvis {title}`]({name}.md) | {_escaped(says)} |")
        pages[name] = [f"# dvis {title}\n\n```text\n{text}```\n"]
    for name, parts in pages.items():
        _write(folder / f"{name}.md", "".join(parts))
    hidden = "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "```", ""])
    intro = (
        "# Commands\n\nWhat `dvis COMMAND --help` prints. The files in `scripts/` are the same "
        "commands: `python scripts/respond.py` is `dvis respond`.\n\n"
    )
    _write(folder / "index.md", intro + "\n".join(rows) + "\n" + hidden)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")


def _write(path: Path, text: str) -> None:
    """Write a file if its text is new, so that sphinx reads again only what has changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before sphinx looks for documents."""
    app.connect(
        "config-inited", lambda app, _: write_pages(Path(app.srcdir) / "generated/commands")
    )
    return {"parallel_read_safe": True}
