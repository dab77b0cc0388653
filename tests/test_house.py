"""The bench of the house: what it finds in made-up packages, and the checkout at its targets."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "scripts" / "bench"
TARGETS = (
    "circles of packages",
    "modules at the root",
    "imports against the order",
    "packages without a floor",
    "files that name a kind elsewhere",
    "files past 400 lines",
    "functions past 60 lines",
)
KINDS = {
    "dvis/kinds/__init__.py": "",
    "dvis/kinds/features/__init__.py": "",
    "dvis/kinds/llc/__init__.py": "",
    "dvis/kinds/responses/__init__.py": "",
}

Figures = Mapping[str, Any]
Lay = Callable[[Mapping[str, str]], Figures]


@pytest.fixture(scope="module")
def house() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module("house")


@pytest.fixture(scope="module")
def own(house: ModuleType) -> Figures:
    return {figure.name: figure for figure in house.measure(ROOT)}


@pytest.fixture
def lay(house: ModuleType, tmp_path: Path) -> Lay:
    """Figures of a house of the files given."""

    def lay_and_measure(files: Mapping[str, str]) -> Figures:
        write(tmp_path, files)
        return {figure.name: figure for figure in house.measure(tmp_path)}

    return lay_and_measure


def write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCH / "house.py", *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize("name", TARGETS)
def test_house_is_at_its_target(own: Figures, name: str) -> None:
    figure = own[name]
    found = "\n".join(figure.found)
    assert figure.is_met, f"{name}: {figure.value}, target at most {figure.target}\n{found}"


def test_every_target_is_tested(own: Figures) -> None:
    assert {name for name, figure in own.items() if figure.target is not None} == set(TARGETS)


def test_bench_finds_the_kinds_and_the_files_of_the_checkout(own: Figures) -> None:
    assert own["files that name a kind elsewhere"].value is not None
    assert own["lines of Python"].value > 10_000
    assert own["lines of js, css and html"].value > 1_000


def test_circle_found_also_through_a_function(lay: Lay) -> None:
    figures = lay(
        {
            "dvis/schema.py": "def late():\n    from dvis.store import group\n",
            "dvis/store/__init__.py": "",
            "dvis/store/group.py": "from dvis.schema import late\n",
            "dvis/names.py": "import dvis.schema\n",
        }
    )
    assert figures["circles of packages"].found == ["2 packages: schema, store"]
    assert figures["circles by imports at the top alone"].value == 0
    assert figures["imports in a function"].value == 1


@pytest.mark.parametrize("flag", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_import_for_types_makes_no_circle(lay: Lay, flag: str) -> None:
    figures = lay(
        {
            "dvis/schema.py": f"if {flag}:\n    from dvis.names import A\nelse:\n    A = None\n",
            "dvis/names.py": "from dvis.schema import A\n",
        }
    )
    assert figures["circles of packages"].value == 0
    assert figures["imports for types only"].value == 1
    assert figures["imports against the order"].value == 0
    assert figures["against the order, for types only"].value == 1


def test_levels_and_arrows_count_packages_and_a_circle_once(lay: Lay) -> None:
    figures = lay(
        {
            "dvis/schema.py": "",
            "dvis/names.py": "from dvis import schema\nfrom dvis.schema import A, B\n",
            "dvis/models/__init__.py": "from dvis.names import A\nfrom dvis.store import B\n",
            "dvis/store/__init__.py": "from dvis.models.hooks import A\n",
            "dvis/models/hooks.py": "from dvis.models import A\n",
            "dvis/opening.py": "import dvis.store\n",
            "scripts/train.py": "import dvis.opening\nimport dvis.models.hooks\n",
        }
    )
    assert figures["packages"].value == 5
    assert figures["arrows between packages"].value == 5
    assert figures["arrows from scripts/"].value == 2
    assert figures["levels of packages"].value == 4  # schema, names, models and store, opening


def test_wrong_order_found_wherever_the_import_stands(lay: Lay) -> None:
    figures = lay(
        {
            **KINDS,
            "dvis/schema.py": "from dvis.models.hooks import A\n",
            "dvis/models/__init__.py": "",
            "dvis/models/hooks.py": "import numpy\n\ndef f():\n    import dvis.check\n",
            "dvis/check.py": "from dvis.models import hooks\nimport dvis.schema\n",
            "dvis/analysis/__init__.py": "LATE = 'dvis.check:check_store'\n",
            "dvis/disk.py": "import scripts.train\n",
        }
    )
    told = [place.split(" imports ")[0] for place in figures["imports against the order"].found]
    assert told == [
        "analysis -> check: dvis/analysis/__init__.py:1",
        "disk -> scripts: dvis/disk.py:1",
        "models -> check: dvis/models/hooks.py:4",
        "schema -> models: dvis/schema.py:1",
    ]


def test_kinds_stand_between_kind_and_registry_and_beside_each_other(lay: Lay) -> None:
    figures = lay(
        {
            **KINDS,
            "dvis/kinds/kind.py": "",
            "dvis/kinds/registry.py": "from dvis.kinds.llc import kind\n",
            "dvis/kinds/llc/kind.py": "from dvis.kinds.kind import Kind\n",
            "dvis/kinds/llc/read.py": "import dvis.kinds.registry\nimport dvis.kinds.features\n",
            "dvis/kinds/responses/read.py": "from dvis.kinds import features\n",
            "dvis/page/__init__.py": "from dvis.kinds.registry import KINDS\n",
        }
    )
    told = [place.split(":")[0] for place in figures["imports against the order"].found]
    assert told == ["kinds.llc -> kinds.registry", "kinds.llc -> kinds.features"]


def test_package_that_the_order_does_not_name_is_found(lay: Lay) -> None:
    figures = lay({"dvis/schema.py": "", "dvis/extras/__init__.py": "", "dvis/kinds/odd.py": ""})
    assert figures["packages without a floor"].found == ["extras, kinds.odd"]


@pytest.mark.parametrize(
    "line",
    [
        "import dvis.kinds.llc.read",
        "from dvis.kinds import llc as chains",
        "import_module('dvis.kinds.llc')",
        "name = 'llc'",
        "place = f'kinds/llc/{name}'",
        "LLC = 1",
        "def with_llc(): pass",
        "def f(llc_name): pass",
        "open(llc=True)",
        "dataset.llc_se",
        "class LLCEntry: pass",
        "from dvis.schema import LLC",
    ],
)
def test_kind_named_elsewhere_is_found(lay: Lay, line: str) -> None:
    figures = lay({**KINDS, "dvis/opening.py": f"x = 1\n{line}\n"})
    (told,) = figures["files that name a kind elsewhere"].found
    assert told.startswith("dvis/opening.py names llc: ")
    assert told.endswith(":2")


@pytest.mark.parametrize(
    "text",
    [
        '"""Opens kinds/llc."""\n',
        "def f():\n    'llc'\n",
        "x = 1  # llc\n",
        "label = 'llc_se'\n",
        "allclose = llcx = None\n",
        "from starlette.responses import Response\nanswer = Response('')\n",
        "width = linear.in_features\n",
    ],
)
def test_prose_and_other_libraries_name_no_kind(lay: Lay, text: str) -> None:
    figures = lay({**KINDS, "dvis/page/__init__.py": text})
    assert figures["files that name a kind elsewhere"].found == []


def test_file_called_like_a_kind_names_it(lay: Lay) -> None:
    figures = lay({**KINDS, "dvis/commands/llc.py": ""})
    assert figures["files that name a kind elsewhere"].found == [
        "dvis/commands/llc.py names llc: llc:1"
    ]


def test_kind_is_named_in_its_folder_the_registry_and_apart_in_doors(lay: Lay) -> None:
    name_all = "from dvis.kinds import llc\n"
    figures = lay(
        {
            **KINDS,
            "dvis/kinds/llc/read.py": name_all,
            "dvis/kinds/registry.py": name_all,
            "dvis/accessor.py": name_all,
            "dvis/__init__.py": name_all,
            "dvis/measure/models.py": name_all,
            "dvis/kinds/kind.py": name_all,
        }
    )
    assert figures["files that name a kind elsewhere"].found == [
        "dvis/kinds/kind.py names llc: llc:1"
    ]
    assert figures["doors that name a kind"].value == 3


def test_one_kind_names_another_only_where_it_may_import_it(lay: Lay) -> None:
    figures = lay(
        {
            **KINDS,
            "dvis/kinds/responses/plan.py": "def feature_images(): pass\n",
            "dvis/kinds/features/read.py": "def has_responses(): pass\n",
        }
    )
    assert figures["files that name a kind elsewhere"].found == [
        "dvis/kinds/features/read.py names responses: has_responses:1"
    ]


@pytest.mark.parametrize(
    ("script", "is_found"),
    [
        ("const llcBand = 1;", True),
        ("draw(unit.responses);", True),
        ('title("The LLC");', True),
        ("title(`${n} feature images`);", True),
        ("// llc\n/* features\n responses */ const x = 'http://a';", False),
        ("const featureless = allcaps;", False),
    ],
)
def test_kind_named_in_a_script_of_the_page(lay: Lay, script: str, is_found: bool) -> None:
    figures = lay({**KINDS, "dvis/page/__init__.py": "", "dvis/page/assets/a.js": script})
    assert figures["files that name a kind elsewhere"].value == is_found


def test_no_kinds_no_figure_of_their_names(lay: Lay) -> None:
    figures = lay({"dvis/opening.py": "llc = 1\n"})
    assert figures["files that name a kind elsewhere"].value is None


def test_long_files_are_found_whatever_their_language(lay: Lay) -> None:
    figures = lay(
        {
            "dvis/schema.py": "x = 1\n" * 400,
            "dvis/names.py": "x = 1\n" * 401,
            "dvis/page/assets/page.js": "let x;\n" * 500,
        }
    )
    assert figures["files past 400 lines"].found == [
        "dvis/page/assets/page.js: 500",
        "dvis/names.py: 401",
    ]
    assert figures["lines of Python"].value == 801
    assert figures["lines of js, css and html"].value == 500


def test_long_functions_are_found_and_docstrings_not_counted(lay: Lay) -> None:
    docstring = '    """One.\n\n' + "    More.\n" * 30 + '    """\n'
    figures = lay(
        {
            "dvis/schema.py": f"def fits(a,\n  b):\n{docstring}" + "    x = 1\n" * 60,
            "dvis/names.py": "class A:\n    async def long(self):\n        x = 1\n"
            + "\n" * 59
            + "        y = 1\n",
            "dvis/disk.py": "def empty():\n    'Nothing.'\n",
        }
    )
    assert figures["functions past 60 lines"].found == ["dvis/names.py:2 long: 61"]


def test_modules_at_the_root_are_counted_without_init(lay: Lay) -> None:
    names = [f"dvis/module{n}.py" for n in range(11)]
    files = dict.fromkeys(["dvis/__init__.py", "dvis/models/hooks.py", *names], "")
    figure = lay(files)["modules at the root"]
    assert figure.value == 11
    assert not figure.is_met


def test_status_says_with_check_whether_targets_are_met(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    write(good, {"dvis/schema.py": "", "dvis/names.py": "import dvis.schema\n"})
    write(bad, {"dvis/schema.py": "import dvis.cli\n", "dvis/cli.py": ""})
    assert run("--root", good, "--check").returncode == 0
    assert run("--root", bad).returncode == 0
    missed = run("--root", bad, "--check")
    assert missed.returncode == 1
    assert "schema -> cli: dvis/schema.py:1 imports dvis.cli at the top" in missed.stdout


def test_two_checkouts_are_printed_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "now", {"dvis/schema.py": "", "dvis/names.py": ""})
    write(tmp_path / "before", {"dvis/schema.py": ""})
    printed = run("--root", tmp_path / "now", "--against", tmp_path / "before").stdout
    lines = [line.split() for line in printed.splitlines()]
    assert ["house", "now", "before", "target"] in lines
    assert ["packages", "2", "1"] in lines


def test_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    refused = run("--root", tmp_path)
    assert refused.returncode == 2
    assert f"No dvis/ in {tmp_path}: there is other." in refused.stderr
