"""What a report tells of attributes: since when layers tell them and the output uses them."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.attributes.analysis import QUESTION, attribute_dates
from dvis.kinds.attributes.pictures.selected import null_band, selected
from dvis.kinds.attributes.read import ATTRIBUTE_READER
from dvis.kinds.attributes.words import ATTRIBUTE, QUESTIONS, TELLS
from dvis.kinds.parts import Asked
from dvis.kinds.told import Code, Section, ToldFigure, ToldTable, number
from dvis.kinds.told_births import axis_of, is_over_training, values_numbers
from dvis.plots.selection import labels_of
from dvis.schema import CHECKPOINT, LAYER

_WORDS = {"tells": "layers tell it", "uses": "the output uses it"}


def attribute_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of attributes."""
    for entry, dataset in asked.groups(ATTRIBUTE_READER):
        shown = selected(dataset, None, None)
        if not bool(shown[TELLS].notnull().any()):
            continue
        opened = Code().then("attributes", str(asked.store), asked.run, entry.name)
        dates = attribute_dates(dataset) if is_over_training(dataset) else None
        attributes = labels_of(shown, ATTRIBUTE)
        yield Section(
            title=f"Attributes of drawn pairs · {entry.name}",
            finding=" ".join(_finding(shown.sel({ATTRIBUTE: each}), each) for each in attributes),
            texts=[
                "The network was shown pairs of drawn images that differ in one attribute. Whether "
                "a layer tells the sides apart is held against sides exchanged at random; whether "
                "the output uses it, against random directions taken out of the layer."
            ],
            shown=list(_shown(dataset, shown, dates, opened)),
        )


def _shown(
    dataset: xr.Dataset, shown: xr.Dataset, dates: xr.Dataset | None, opened: Code
) -> Iterator[ToldFigure | ToldTable]:
    if dates is not None:
        yield ToldFigure(
            title="What layers tell and the output uses, over training",
            caption="A line for each layer with its standard error over pairs. Grey is where "
            "95 % of the null lies.",
            code=opened.then("dvis.attributes_over_training", x=axis_of(dataset)),
            numbers=lambda: values_numbers(shown, [*QUESTIONS]),
        )
        yield _date_table(dates)
    yield ToldFigure(
        title="Units that tell attributes",
        caption="The units with the highest scores, beside the highest of shuffled sides. They "
        "were picked for being high.",
        code=opened.then("dvis.attribute_units"),
        numbers=lambda: values_numbers(shown.isel({CHECKPOINT: [-1]}), ["score"]),
    )


def _date_table(dates: xr.Dataset) -> ToldTable:
    rows = []
    for question in dates[QUESTION].values.tolist():
        for attribute in labels_of(dates, ATTRIBUTE):
            for layer in labels_of(dates, LAYER):
                at = dates.sel({QUESTION: question, ATTRIBUTE: attribute, LAYER: layer})
                rows.append([attribute, _WORDS.get(question, question), layer, _date(at)])
    return ToldTable(
        title="Since when",
        columns=["attribute", "what", "layer", "above its null for good, from step (95 %)"],
        rows=rows,
        note=f"{dates.attrs.get('cannot_tell', '')}.",
    )


def _date(at: xr.Dataset) -> str:
    if str(at["state"].item()) != "dated":
        reason = str(at["reason"].item())
        return f"{at['state'].item()}: {reason}" if reason else str(at["state"].item())
    low, high = (float(at[f"{end}_step"]) for end in ("earliest", "latest"))
    ends = f" ({number(low)} to {number(high)})" if np.isfinite([low, high]).all() else ""
    return f"{number(float(at['from_step']))}{ends}"


def _finding(of_attribute: xr.Dataset, attribute: str) -> str:
    """In how many layers an attribute is told and used beyond its null, at the last checkpoint."""
    parts = []
    for question in QUESTIONS:
        _, high = null_band(of_attribute, question)
        last = of_attribute.isel({CHECKPOINT: -1})
        known = last[question].notnull()
        above = (last[question] - 2 * last[f"{question}_se"]) > high[-1]
        n_above, n_all = int((above & known).sum()), int(known.sum())
        if not n_all:
            continue
        what = "is told by" if question == TELLS else "is used by the output as it stands in"
        if n_above:
            parts.append(f"{what} {n_above} of {n_all} layers beyond its null")
        else:
            parts.append(f"{what} none of {n_all} layers beyond its null")
    return f"{attribute}, at the last checkpoint: {'; '.join(parts) or 'nothing is known'}."
