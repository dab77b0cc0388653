"""The LLC's part of the page: its curve over training, of a run."""

from collections.abc import Iterator

import numpy as np

from dvis.kinds.llc.joined import shown_entry, shown_estimates
from dvis.kinds.parts import Asked, Curves, Line
from dvis.schema import CHECKPOINT, counted


def llc_curve(asked: Asked) -> Iterator[Curves]:
    """The LLC of a run's checkpoints with its error, as `dvis.open` joins it to units."""
    entry = shown_entry(asked.contents, asked.run)
    if asked.unit is not None or entry is None:
        return
    found = shown_estimates(asked.store, asked.contents, entry)
    if found is None:
        return
    llc, error = found["llc"].values, found["llc_se"].values
    yield Curves(
        title="Local learning coefficient",
        checkpoints=[str(label) for label in found[CHECKPOINT].values],
        lines=[
            Line(
                label="LLC",
                values=llc,
                low=llc - error,
                high=llc + error,
                remarks=[
                    _said(int(n_diverged), bool(is_known and not is_settled))
                    for n_diverged, is_settled, is_known in zip(
                        found["n_diverged"].values,
                        found["is_settled"].values,
                        np.isfinite(llc),
                        strict=True,
                    )
                ],
                beside_slider="LLC",
            )
        ],
        band="± standard error",
        remark="chains diverged and do not count, or have not settled",
    )


def _said(n_diverged: int, is_unsettled: bool) -> str:
    diverged = f"{counted(n_diverged, 'chain')} diverged" if n_diverged else ""
    return ", ".join(filter(None, (diverged, "not settled" if is_unsettled else "")))
