"""The commands `info`, `steps`, `check` and `forget`, of what a store holds."""

from pathlib import Path

from tyro.conf import Positional

from dvis.check import check_store
from dvis.info import describe, list_problems
from dvis.kinds.forgetting import forget_checkpoints
from dvis.schema import counted
from dvis.store.contents import contents
from dvis.store.places import set_steps


def info(store: Positional[str], *, problems: bool = True) -> int:
    """What a store holds, and the problems that imports met.

    Parameters
    ----------
    store
        A store's folder or URL.
    problems
        List the problems.
    """
    found = contents(store)
    print(f"{store}: {found.attrs['model']}, made {found.attrs['created']}")
    for line in describe(store):
        print(line)
    listed = list_problems(store)
    if listed:
        print(counted(len(listed), "problem") + (":" if problems else ""))
    for problem in listed if problems else ():
        first, *more = problem.splitlines() or [""]  # a refusal's program is said at measuring
        print(f"  {first}{' ...' if more else ''}")
    return 0


def steps(store: Positional[Path], file: Positional[Path], *, run: str | None = None) -> int:
    """Tell a store the training steps of its checkpoints; every later opening goes by them.

    Parameters
    ----------
    store
        A store's folder.
    file
        A csv or json file: name,step or name,step,epoch in each line.
    run
        The run (default: the only one).
    """
    print(f"{store}: steps: {set_steps(store, file, run)}")
    return 0


def check(store: Positional[Path], *, fix: bool = False) -> int:
    """Check a store: schema, labels, status against data, every image decodes. Exit 1 on faults.

    Parameters
    ----------
    store
        A store's folder.
    fix
        Mark units that cannot be trusted failed, so that they are made again, and remove half-made
        image sets that nothing is of.
    """
    faults = check_store(store, fix=fix, progress=True)
    for fault in faults:
        print(fault)
    n_units = len({fault.place for fault in faults if fault.unit is not None})
    marked = counted(n_units, "unit")
    fixed = f"; {marked} marked failed, to be made again by the next import or run"
    print(f"{store}: {counted(len(faults), 'fault')}{fixed if fix and n_units else ''}")
    return 1 if faults else 0


def forget(store: Positional[Path], *, checkpoint: tuple[str, ...], run: str | None = None) -> int:
    """Take checkpoints back: images, responses, chains and all else that was measured of them.

    Cut off, run it again. The checkpoints may be measured or imported again.

    Parameters
    ----------
    store
        A store's folder.
    checkpoint
        Labels of the checkpoints.
    run
        Their run, where several have one of them.
    """
    if not checkpoint:
        raise ValueError("--checkpoint names no checkpoint: give the labels of those to take back")
    for removed in forget_checkpoints(store, checkpoint, run=run):
        print(removed)
    return 0
