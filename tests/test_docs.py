"""README and the documentation: their code runs, their commands and links exist."""

import importlib
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if not {"generated", "_build"} & set(path.parts) and path.name != "gallery.md"
)
BLOCK = re.compile(r"(?:<!-- not run: (.*?) -->\n+)?^```python\n(.*?)^```$", re.M | re.S)
# Scripts that are commands under another name, and those that are none.
OTHER_SCRIPTS = {"gallery", "story", "small_vit", "execution_order", "digit_net", "circuit_film"}
MOST_NOT_RUN = 6


class Block(NamedTuple):
    """A piece of Python, and why it is not run where it is not."""

    page: str
    code: str
    why_not: str | None


def blocks_of(page: Path) -> list[Block]:
    name = str(page.relative_to(ROOT))
    return [Block(name, code, why) for why, code in _pairs(page.read_text())]


def _pairs(text: str) -> Iterator[tuple[str | None, str]]:
    for found in BLOCK.finditer(text):
        yield found[1], found[2]


BLOCKS = [block for page in (README, *PAGES) for block in blocks_of(page)]


@pytest.fixture(scope="module")
def extension() -> Iterator[Any]:
    """Imports a module of `docs/extensions`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))

        def load(name: str) -> ModuleType:
            return importlib.import_module(f"extensions.{name}")

        yield load
        for name in [name for name in sys.modules if name.split(".")[0] == "extensions"]:
            del sys.modules[name]


def command_lines() -> list[tuple[str, list[str]]]:
    """Every line of README and the pages that is a command of dvis, in words."""
    found = []
    for page in (README, *PAGES):
        text = page.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            written = re.match(r"(?: {4})?((?:dvis|python scripts/\w+\.py) .*)$", line)
            # A sentence may begin a line with the name; a command line is code.
            if written and (line.startswith("    ") or _in_fence(text, line)):
                words = shlex.split(written[1].replace("dvis sae …", ""), comments=True)
                found.append((str(page.relative_to(ROOT)), words))
    return found


def _in_fence(text: str, line: str) -> bool:
    return any(line in fence for fence in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S))


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    not_run = [block for block in BLOCKS if block.why_not is not None]
    assert len(not_run) <= MOST_NOT_RUN
    for block in not_run:
        assert re.match(r"needs \w+", block.why_not or ""), block
    for block in BLOCKS:
        compile(block.code, block.page, "exec")


def test_the_lines_of_the_readme_are_there_word_for_word() -> None:
    lines = README.read_text().splitlines()
    assert "python scripts/ingest.py feature_images/resnet50" in lines
    assert 'ds.sel(layer="layer2", channel=0).activation.plot()' in lines
    assert len(README.read_text().split()) <= 1000


def test_commands_exist_with_their_options(extension: Any) -> None:
    commands = extension("commands")
    known = dict(commands.commands())
    wrong = []
    for page, words in command_lines():
        rest = words[1:]
        if words[0] == "python":
            name = Path(words[1]).stem
            assert (ROOT / words[1]).exists(), (page, words)
            if name in OTHER_SCRIPTS or name == "bench":
                continue
            rest = [name, *words[2:]]
        path = tuple(rest[:2]) if tuple(rest[:2]) in known else tuple(rest[:1])
        if path not in known:
            wrong.append((page, " ".join(words), "no such command"))
            continue
        options = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
        strange = options - commands.options_in(known[path])
        wrong += [(page, " ".join(words), option) for option in sorted(strange)]
    assert wrong == []


def test_commands_of_the_table_exist(extension: Any) -> None:
    known = {" ".join(words) for words, _ in extension("commands").commands()}
    named = re.findall(r"`dvis (\w+)", "".join(page.read_text() for page in (README, *PAGES)))
    assert {name for name in named if name.islower()} - {"COMMAND"} <= known


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    relative = [link for link in links if "://" not in link]
    assert relative
    assert [link for link in relative if not (ROOT / link).exists()] == []


def test_every_tutorial_is_listed_and_compiles() -> None:
    listed = (DOCS / "tutorials" / "index.md").read_text()
    for tutorial in (DOCS / "tutorials").glob("plot_*.py"):
        assert f"../generated/tutorials/{tutorial.stem}\n" in listed
        compile(tutorial.read_text(), str(tutorial), "exec")


def test_the_gallery_names_pictures_that_there_are(extension: Any) -> None:
    from dvis.commands.plot import pictures

    commands, lines = extension("commands"), extension("picture_lines")
    options = commands.options_in(commands.help_of(("plot",)))
    for line in lines.PICTURES:
        compile(line.python, line.name, "eval")
        if line.command:
            assert line.name in pictures()
            assert set(re.findall(r"--[a-z-]+", line.command)) <= options
    assert set(pictures()) - {line.name for line in lines.PICTURES} == set(lines.NOT_SHOWN)


def test_the_first_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block, *_) = blocks_of(README)
    found: dict[str, Any] = {}
    torch.manual_seed(0)  # of some weights a chain diverges, whose LLC is not known
    exec(block.code, found)
    assert found["ds"].activation.sel(layer="2", channel=[0, 1]).notnull().all()
    assert found["ds"].llc.notnull().all()


@pytest.fixture(scope="module")
def stores(extension: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stores that the pages open."""
    import shutil

    import dvis

    folder = tmp_path_factory.mktemp("docs")
    store = extension("small_store").write_store(folder)
    other = store.with_name("resnet50.zarr")
    shutil.copytree(store, other)
    assert dvis.open(other).sizes["layer"] == 5
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda p: p.stem)
def test_code_of_a_page_runs(page: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stores)
    store = "stores/resnet18.zarr"
    names: dict[str, Any] = {}
    exec(f"import dvis\nimport numpy as np\nds = dvis.open({store!r})\nstore = {store!r}", names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few checkpoints and images, which a small store has
        for block in blocks_of(page):
            if block.why_not is None:
                exec(compile(block.code, block.page, "exec"), names)
