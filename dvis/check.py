"""Does a store keep its promises: schema, labels, status against data, every image decodes.

A store on a local disk in, a list of faults out; with `fix`, units that cannot be trusted become
failed, so that an import or a sweep makes them again.
"""

from pathlib import Path

from dvis.kinds.features.check import check_features
from dvis.kinds.llc.check import check_llc
from dvis.kinds.responses.check import check_responses
from dvis.opening import contents
from dvis.store.faults import Fault
from dvis.store.writer import restructuring

# One for each kind of group.
_CHECKS = (check_features, check_responses, check_llc)


def check_store(store: str | Path, *, fix: bool = False, progress: bool = False) -> list[Fault]:
    """Faults of a store on a local disk.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    fix : bool
        Mark units whose data cannot be trusted failed, under the lock of their run, and set
        half-grown groups right.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Fault
        Those that were found, fixed or not.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    store = Path(store).expanduser()
    if fix:
        contents(store)  # raises where there is no store, before anything is written
        with restructuring(store):
            pass  # which sets half-grown groups right
    found = contents(store)
    faults: list[Fault] = []
    if found.features and found.attrs.get("default_run") not in found.runs:
        faults.append(Fault(str(store), "its import has not ended; run it again"))
    for check in _CHECKS:
        faults += check(store, fix=fix, progress=progress)
    return faults
