"""Files of a tree that look like feature files and are not taken: renamed by a sync or zip program.

Names in, problems out: the first file of each kind, and how many there are.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from dvis.kinds.features.tree.problems import Problem, problem_at
from dvis.kinds.features.tree.tree_names import split_feature_file
from dvis.kinds.features.words import OBJECTIVE
from dvis.models.image_files import PICTURE_SUFFIXES, is_passed_over
from dvis.schema import counted

_PICTURE = "|".join(map(re.escape, PICTURE_SUFFIXES))
_LOOKS_ALIKE = re.compile(rf"layer_.+_channel_\d+.*(?:{_PICTURE}|\.json)", re.IGNORECASE)
# A whole name with something put between its stem and its suffix, or before it.
_RENAMED = re.compile(
    rf".*?(?P<stem>layer_.+_channel_\d+_(?:{OBJECTIVE})(?:-\d+)?)"
    r".*?(?P<suffix>(?i:\.info)?\.\w+)"
)
_CAPITALS = ("LAYER_", "Layer_")


class Lookalikes:
    """Those of a tree, by what is wrong with them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, list[Path]] = {}

    def look(self, folder: Path, others: Iterable[str], taken: Collection[str]) -> None:
        """Keep those among the names of a folder's other files, beside the ones that are taken."""
        for name in sorted(others):
            fault = _fault(name, taken)
            if fault:
                self._found.setdefault(fault, []).append(folder / name)

    def problems(self) -> list[Problem]:
        """The first of each kind, and how many are like it."""
        return [
            problem_at(self._root, paths[0], _counted(fault, len(paths)))
            for fault, paths in self._found.items()
        ]


def _fault(name: str, taken: Collection[str]) -> str:
    """What keeps a file from being the feature file that it looks like; "" of all others."""
    if is_passed_over(name) or not _LOOKS_ALIKE.search(name):
        return ""
    if "\\" in name:
        return (
            "its name holds the folders that it was in, as of an archive made on Windows; unpack "
            "that again with a program that makes folders of them"
        )
    if name.startswith(_CAPITALS):
        return "its name is in capitals, by which no layer can be told; give it its own name again"
    renamed = _RENAMED.fullmatch(name)
    if renamed is None:
        return (
            "looks like a feature file, but its name does not end in average, sum, center or "
            "neuron_ROW_COLUMN and, perhaps, a number"
        )
    original = renamed["stem"] + renamed["suffix"]
    if split_feature_file(original) is None:
        return (
            "looks like a feature file, but its suffix is none of .jpg, .jpeg, .png and .info.json"
        )
    if original in taken:
        return "looks like a renamed copy of a feature file that lies beside it; remove one of them"
    return "looks like a feature file that was renamed, as sync programs do; rename it back"


def _counted(fault: str, n_files: int) -> str:
    return fault if n_files == 1 else f"{fault} ({counted(n_files, 'such file')})"
