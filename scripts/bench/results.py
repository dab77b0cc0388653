"""Rows of a bench and how they are printed: a quantity, ours and a peer's, and a target."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a bench's table; `is_met` is None where there is no target."""

    name: str
    ours: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    is_met: bool | None = None


def faster(name: str, ours_s: float, peer_s: float, target: float | None = None) -> Row:
    """Row of two times, and how many times faster we are than the peer."""
    return Row(
        name=name,
        ours=seconds(ours_s),
        peer=seconds(peer_s),
        ratio=f"{peer_s / ours_s:.2f}x",
        target="" if target is None else f">= {target:g}x",
        is_met=None if target is None else peer_s / ours_s >= target,
    )


def at_most(name: str, value: float, target: float, ours: str, peer: str = "") -> Row:
    """Row of a ratio that is not to grow beyond a target."""
    return Row(
        name=name,
        ours=ours,
        peer=peer,
        ratio=f"{value:.3g}x",
        target=f"<= {target:g}x",
        is_met=value <= target,
    )


def seconds(value: float) -> str:
    """A time with a unit that suits it."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"


def print_machine() -> None:
    """Print what the numbers depend on."""
    packages = " ".join(f"{name} {version(name)}" for name in ("zarr", "xarray", "pillow", "numpy"))
    cores = len(os.sched_getaffinity(0))
    print(f"python {platform.python_version()} {packages}, {cores} cores, {platform.platform()}")


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows below the names of their first columns."""
    verdicts = {None: "", True: "PASS", False: "MISS"}
    lines = [[*columns, ""], *([*_cells(row), verdicts[row.is_met]] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())


def _cells(row: Row) -> list[str]:
    return [row.name, row.ours, row.peer, row.ratio, row.target]
