"""The LLC's part of the page: its curve over training, of a run."""

from collections.abc import Iterator

from dvis.kinds.llc.joined import shown_entry, shown_estimates
from dvis.kinds.parts import Asked, Curves, Line
from dvis.schema import CHECKPOINT


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
                remarks=[_said(int(n)) for n in found["n_diverged"].values],
                beside_slider="LLC",
            )
        ],
        band="± standard error",
        remark="chains diverged and do not count",
    )


def _said(n_diverged: int) -> str:
    if not n_diverged:
        return ""
    return f"{n_diverged} {'chain' if n_diverged == 1 else 'chains'} diverged"
