"""Does a store keep its promises: schema, labels, status against data, every image decodes.

A store on a local disk in, a list of faults out; with `fix`, units that cannot be trusted become
failed, so that an import or a sweep makes them again.
"""

from itertools import islice
from pathlib import Path

from dvis.disk import links_below
from dvis.kinds.features.check import check_features
from dvis.kinds.llc.check import check_llc
from dvis.kinds.responses.check import check_responses
from dvis.opening import contents
from dvis.store.faults import Fault
from dvis.store.writer import restructuring

# One for each kind of group.
_CHECKS = (check_features, check_responses, check_llc)
_MAX_LINKS = 100


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
        Those that were found, fixed or not. Where there are symbolic links in the store, these
        alone: nothing else is looked at or fixed, for they may lead anywhere.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    store = Path(store).expanduser()
    contents(store)  # raises where there is no store, before anything is written
    if links := [_link_fault(store, path) for path in islice(links_below(store), _MAX_LINKS)]:
        return links
    if fix:
        with restructuring(store):
            pass  # which sets half-grown groups right
    found = contents(store)
    faults: list[Fault] = []
    if found.features and found.attrs.get("default_run") not in found.runs:
        faults.append(Fault(str(store), "its import has not ended; run it again"))
    for check in _CHECKS:
        faults += check(store, fix=fix, progress=progress)
    return faults


def _link_fault(store: Path, link: Path) -> Fault:
    return Fault(
        str(link.relative_to(store)),
        "is a symbolic link, which dvis does not follow: put what it points to in its place, or "
        "remove it. Nothing else was looked at",
    )
