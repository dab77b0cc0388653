"""Two dates of an attribute: from when on a layer tells it, and from when on the output uses it.

A Dataset of `dvis.attributes` in, checkpoints with intervals out.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import xarray as xr

from dvis.analysis.baselines import (
    FIRST,
    IN_WORDS,
    SHUFFLED,
    UNTRAINED,
    require_baseline,
    untrained_label,
)
from dvis.analysis.requirements import require, require_whole_numbers
from dvis.analysis.resampling import BOUND, MIDDLE, resamples
from dvis.analysis.staying import stays_above
from dvis.analysis.trajectories import (
    in_one_piece,
    labels_of,
    looked_up,
    of_complete_units,
    origin,
    steps_of,
)
from dvis.kinds.attributes.words import (
    ATTRIBUTE,
    CANNOT_TELL,
    EXCHANGED,
    PAIR,
    QUESTIONS,
    TELLS,
    USES,
)
from dvis.schema import CHECKPOINT, LAYER

AttributeBaseline = Literal["shuffled", "first", "untrained"]
QUESTION = "question"
ADVICE = "Open one with dvis.attributes"
DATED, ALWAYS, NEVER, ABSENT = "dated", "always", "never", "absent"
# What pairs have of each question: what is summed, and what that is divided by.
_OF_PAIRS: Mapping[str, tuple[str, str | None]] = {
    TELLS: ("told", None),
    USES: ("lost", "squared"),
}
_LONG_NAMES = {
    "from": "checkpoint from which on it is so",
    "earliest": "lower end of its interval",
    "latest": "upper end of its interval",
}


def attribute_dates(
    dataset: xr.Dataset,
    *,
    above: AttributeBaseline = "shuffled",
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """From which checkpoint on each layer tells each attribute, and from which the output uses it.

    It is the first from which, to the end of training, `tells` or `uses` stays above what it is
    held against. What a layer does not tell the output does not use: `uses` counts while `tells` is
    above its null. Pairs are drawn anew with replacement, the same at all checkpoints, and each
    draw has its own date: the interval holds the middle 95 % of them. Where draws have none they
    count as later than all checkpoints. Checkpoints of which nothing is known are passed over. It
    is computed at once.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.attributes` gave.
    above : {"shuffled", "first", "untrained"}
        What they are to be above: the upper end of the null, of exchanged sides and of random
        directions; what they were at the first checkpoint; or at that of step 0, the network
        untrained, which is the question of what training adds: without one all are absent.
    n_resamples : int
        Draws of pairs.
    seed : int
        Of the draws.

    Returns
    -------
    Dataset, (question, layer, attribute)
        - `question` is "tells" or "uses";
        - `position`, int32: along `checkpoint`, -1 where there is none;
        - `from_checkpoint`, `earliest_checkpoint`, `latest_checkpoint`, str: labels, "" where there
          is none;
        - `from_step`, `earliest_step`, `latest_step`, float64: training steps, NaN where there is
          none or it is not known;
        - `certainty`, float64: share of draws that have a date;
        - `state`, str: "dated"; "always", from the first checkpoint on; "never", not at the end;
          "absent", where nothing is known;
        - `reason`, str: why there is no date, "" where there is one.

        `attrs["cannot_tell"]` says what is left open.

    Raises
    ------
    SchemaError
        When the Dataset has no attributes.
    ValueError
        When there is no such baseline, draws are fewer than 2, or a dimension was selected away.

    Notes
    -----
    Where sides differ by chance alone both are above their nulls in 1 % of made-up layers at most;
    `uses` alone would be in 6 to 18 % (`scripts/bench/levels_attributes.py`). In 300 simulations of
    60 pairs about values that rise through the null at a known checkpoint the interval held it in
    94 %. The null is taken as it is: its own error is in no interval. An order of the two dates is
    only as sure as their intervals are apart. A layer that tells from the first checkpoint on may
    have been made so by its inputs alone: hold it against `pixel_tells`.
    """
    _check(dataset, above, n_resamples)
    parts = [_dates_of(dataset, question, above, n_resamples, seed) for question in QUESTIONS]
    found = xr.concat(parts, xr.DataArray(list(QUESTIONS), dims=QUESTION, name=QUESTION))
    attrs = {"above": above, "n_resamples": n_resamples, "cannot_tell": CANNOT_TELL}
    exchanged = "; ".join(f"{name}: {what}" for name, what in EXCHANGED.items())
    return found.assign_attrs({**origin(dataset), **attrs, "exchangeable": exchanged})


def _dates_of(
    dataset: xr.Dataset, question: str, above: str, n_resamples: int, seed: int
) -> xr.Dataset:
    values = _read(dataset, question)
    margins, of_draws = _margins(dataset, question, above, n_resamples, seed)
    if question == USES:  # of what cannot be told nothing is used
        told, told_draws = _margins(dataset, TELLS, SHUFFLED, n_resamples, seed)
        margins, of_draws = np.minimum(margins, told), np.minimum(of_draws, told_draws)
    like = values.isel({CHECKPOINT: 0}, drop=True)
    position = stays_above(margins)
    of_draws = stays_above(of_draws)
    n = values.sizes[CHECKPOINT]
    later = np.where(of_draws < 0, n, of_draws)
    ends = np.quantile(later, MIDDLE, axis=0, method="inverted_cdf").astype(np.int64)
    at = {
        "from": position,
        **dict(zip(("earliest", "latest"), np.where(ends < n, ends, -1), strict=True)),
    }
    labels, steps = labels_of(values), steps_of(values)
    found: dict[str, xr.DataArray] = {}
    is_known = np.isfinite(margins).any(-1)
    for name, place in at.items():
        placed = like.copy(data=np.where(is_known, place, -1))
        found[f"{name}_checkpoint"] = looked_up(placed, labels, "").assign_attrs(
            long_name=_LONG_NAMES[name], units="1"
        )
        found[f"{name}_step"] = looked_up(placed, steps, np.nan).assign_attrs(
            long_name=f"training step: {_LONG_NAMES[name]}", units="1"
        )
    states = _states(margins, position, is_known)
    found["position"] = like.copy(data=position.astype(np.int32))
    found["certainty"] = like.copy(data=np.where(is_known, (of_draws >= 0).mean(0), np.nan))
    found["state"] = like.copy(data=states)
    found["reason"] = like.copy(data=_reasons(states, question, above))
    return xr.Dataset(found)


def _margins(
    dataset: xr.Dataset, question: str, above: str, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """By how much numbers are above what they are held against, and those of draws of pairs."""
    values = _read(dataset, question).values
    drawn = _drawn(dataset, question, n_resamples, seed)
    if above == SHUFFLED:
        level = _read(dataset, f"null_{question}", BOUND).sel({BOUND: "upper"}, drop=True).values
        return values - level, drawn - level
    labels = [str(each) for each in dataset[CHECKPOINT].values]
    label = labels[0] if above == FIRST else untrained_label(dataset)
    if not label:
        return np.full_like(values, np.nan), np.full_like(drawn, np.nan)
    at = labels.index(label)
    margins = values - values[..., at, None]
    of_draws = drawn - drawn[..., at, None]
    margins[..., at], of_draws[..., at] = -1, -1  # which is not above itself
    margins[np.isnan(values)], of_draws[np.isnan(drawn)] = np.nan, np.nan
    return margins, of_draws


def _read(dataset: xr.Dataset, name: str, *own: str) -> xr.DataArray:
    """A variable of what is complete, (own, layer, attribute, checkpoint), in memory."""
    values = in_one_piece(of_complete_units(dataset, dataset[name]), CHECKPOINT)
    return values.transpose(*own, LAYER, ATTRIBUTE, CHECKPOINT).load()


def _drawn(dataset: xr.Dataset, question: str, n_resamples: int, seed: int) -> np.ndarray:
    """What draws of pairs give, (draw, layer, attribute, checkpoint)."""
    over, under = (
        None if name is None else _read(dataset, name, PAIR).values.astype(float)
        for name in _OF_PAIRS[question]
    )
    assert over is not None
    counts = resamples(len(over), n_resamples, seed)
    sums = np.tensordot(counts, over, 1)
    if under is None:
        return np.asarray(sums / len(over))
    below = np.tensordot(counts, under, 1)
    return np.where(below > 0, sums / np.where(below > 0, below, 1), sums)


def _states(margins: np.ndarray, position: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    first = np.isfinite(margins).argmax(-1)
    states = np.select([~is_known, position < 0, position == first], [ABSENT, NEVER, ALWAYS], DATED)
    return states.astype("U8")


def _reasons(states: np.ndarray, question: str, above: str) -> np.ndarray:
    """Why there is no date."""
    never = f"{question} is not above {IN_WORDS[above]} at the last checkpoint"
    never += ", or the layer does not tell it there" if question == USES else ""
    unknown = "nothing is known of it at any checkpoint"
    unknown += f", or of {IN_WORDS[above]}" if above == UNTRAINED else ""
    texts = {ABSENT: unknown, NEVER: never}
    longest = max(map(len, texts.values()))
    found = np.vectorize(lambda state: texts.get(state, ""), otypes=[f"U{longest}"])
    return np.asarray(found(states))


def _check(dataset: xr.Dataset, above: str, n_resamples: int) -> None:
    names = [name for pair in _OF_PAIRS.values() for name in pair if name is not None]
    labels = (CHECKPOINT, LAYER, ATTRIBUTE)
    bands = [f"null_{question}" for question in QUESTIONS]
    require(dataset, *QUESTIONS, *bands, *names, labels=labels, advice=ADVICE)
    require_baseline(above, get_args(AttributeBaseline), "attribute_dates")
    require_whole_numbers(n_resamples=n_resamples)
    if n_resamples < 2:
        raise ValueError(f"n_resamples is {n_resamples}; give 2 or more")
    for dim in (*labels, PAIR, BOUND):
        if dim not in dataset.dims:
            raise ValueError(
                f"The attributes have no dimension {dim}; select with lists, such as {dim}=[...]"
            )
