"""What `dvis info` says of groups of chains: how many, and whether they are long enough."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dvis.kinds.llc.analysis.settling import relaxation_draws
from dvis.kinds.llc.analysis.settling_words import why_too_short
from dvis.kinds.llc.read import is_calibration
from dvis.kinds.llc.words import DRAW, EPSILON, GAMMA
from dvis.store.contents import Entry, StoreLike, open_group
from dvis.store.portable import nested
from dvis.store.tally import describe_groups


def chain_lines(store: StoreLike, entries: Sequence[Entry], noun: str) -> list[str]:
    """A line for each group: its checkpoints, its chains by status, and what their length lacks.

    That is judged by labels and settings alone: whether chains still drift, `dvis.llc` says.
    """
    lines = describe_groups(store, entries, noun)
    return [f"{line}{_lack(store, entry)}" for line, entry in zip(lines, entries, strict=True)]


def _lack(store: StoreLike, entry: Entry) -> str:
    """What the chains lack that are shown of an estimate; "" where they are long enough."""
    shown = nested(entry.attrs.get("shown", {}))
    if is_calibration(entry) or EPSILON not in shown or "burn_in" not in entry.attrs:
        return ""
    group: Any = open_group(store, entry)
    burn_in = int(entry.attrs["burn_in"])
    epsilon, gamma = (np.array(float(shown[name])) for name in (EPSILON, GAMMA))
    if entry.attrs.get("method") == "rmsprop":
        return ""  # its relaxation time follows from norms, which are not read here
    why = why_too_short(
        float(relaxation_draws(epsilon, gamma)), burn_in, group[DRAW].shape[0] - burn_in
    )
    return f"; not settled, {why}" if why else ""
