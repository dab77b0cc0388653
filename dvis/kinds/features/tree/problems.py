"""What an import says of a tree's files that it did not take, or not as they are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """Something in the tree that was not taken, or not as it is."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def problem_at(root: Path, path: Path, message: str) -> Problem:
    """A problem with a file or folder, called from the folder of the tree's model on."""
    shown = str(path.relative_to(root.parent))
    return Problem(shown.encode(errors="backslashreplace").decode(), message)
