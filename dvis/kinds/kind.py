"""What a kind of measurement is to the rest of dvis: one record of functions.

Everything else about a kind lies in its folder; one line in `dvis.kinds.registry` names its record.
Records are light: reading all of them loads neither torch nor matplotlib.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from dvis.kinds.listed import ListedUnits
from dvis.kinds.mapped import MapSource
from dvis.kinds.parts import Asked, Part
from dvis.kinds.picture import Picture
from dvis.kinds.shown import Selection, ShownUnits
from dvis.kinds.told import Section
from dvis.schema import Words
from dvis.store.contents import Contents, Entry, StoreLike
from dvis.store.faults import Fault, part_faults
from dvis.store.group import Group
from dvis.store.reader import Reader
from dvis.store.tally import describe_groups, group_problems

Command = Callable[[Sequence[str]], Callable[..., int]]


def plainly(command: Callable[..., int]) -> Command:
    """A command whose defaults do not depend on its arguments."""
    return lambda _arguments: command


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of measurement.

    Parameters
    ----------
    reader : Reader
        How its groups are named, found and opened.
    words : callable
        Words of a group by its attributes: dims, arrays, marks.
    group : type
        What its groups are open as.
    faults : callable
        Faults of a group's parts, beyond its schema and labels, which are looked at for all kinds
        alike; of a group, what to call it, and whether to show a progress bar.
    describe : callable
        Lines of `dvis info`, of a store and its groups of the kind.
    problems : callable
        What was met at its parts, in a line each, of a store and one of its groups.
    join : callable, optional
        Scalars of checkpoints for the Dataset that `dvis.open` gives of units: of that Dataset, the
        store, what it holds and the run.
    parts : callable, optional
        Its parts of the page, of a run or of one unit: plain data in a few shapes.
    shown : callable, optional
        Its units as the page shows them, of a store and a selection of it.
    listed : callable, optional
        Its lists of units for the page, of a store, what it holds and the run.
    maps : callable, optional
        Its maps of units over training for the page, of a run.
    told : callable, optional
        Its sections of a report, of a run: what was found, with its controls, figures and caveats.
    imported : callable, optional
        Makes a store of a folder that is none, and returns its path.
    commands : mapping of str to callable
        Its commands by their names. What is given to each are the arguments after its name, for
        commands that make their defaults of them; it returns the function that tyro reads.
    pictures : mapping of str to Picture
        Pictures that `dvis plot` draws of it.
    """

    reader: Reader
    words: Callable[[Mapping[str, Any]], Words]
    group: type[Group] = Group
    faults: Callable[[Group, str, bool], Iterator[Fault]] = part_faults
    describe: Callable[[StoreLike, Sequence[Entry], str], list[str]] = describe_groups
    problems: Callable[[StoreLike, Entry], Iterator[str]] = group_problems
    join: Callable[[xr.Dataset, StoreLike, Contents, str], xr.Dataset] | None = None
    parts: Callable[[Asked], Iterable[Part]] | None = None
    shown: Callable[[str | Path, Selection], ShownUnits] | None = None
    listed: Callable[[Asked], Iterable[ListedUnits]] | None = None
    maps: Callable[[Asked], Iterable[MapSource]] | None = None
    told: Callable[[Asked], Iterable[Section]] | None = None
    imported: Callable[[Path], Path] | None = None
    commands: Mapping[str, Command] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Folder of its groups in a run, and their attribute `dvis_kind`."""
        return self.reader.kind

    @property
    def noun(self) -> str:
        """What a group holds."""
        return self.reader.noun

    def opened(self, store: Path, group: zarr.Group) -> Group:
        """A group of a store on a local disk, to look at or to mend."""
        return self.group(store, self.words(group.attrs), group)
