"""What a report tells of responses: births by fixed images, answers to images of other times."""

from collections.abc import Iterator

import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.births import births as find_births
from dvis.kinds.parts import Asked
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.words import IMAGE_CHECKPOINT
from dvis.kinds.told import Code, Section, ToldFigure, ToldTable
from dvis.kinds.told_births import (
    axis_of,
    births_caveats,
    births_numbers,
    count_sentence,
    count_states,
    criterion_text,
    is_over_training,
    layer_table,
    order_of,
    order_sentence,
    values_numbers,
)
from dvis.schema import CHANNEL, LAYER, Status


def response_sections(asked: Asked) -> Iterator[Section]:
    """A section for each group of responses over more than one checkpoint."""
    for entry, dataset in asked.groups(RESPONSE_READER):
        if not is_over_training(dataset) or not bool((dataset["status"] == Status.COMPLETE).any()):
            continue
        opened = Code().then("responses", str(asked.store), asked.run, entry.name)
        if IMAGE_CHECKPOINT in dataset.dims:
            yield _crossed(dataset, opened, entry.name)
        else:
            yield _fixed(dataset, opened, entry.name)


def _fixed(dataset: xr.Dataset, opened: Code, name: str) -> Section:
    births = find_births(dataset).load()
    shown: list[ToldFigure | ToldTable] = [layer_table(births)]
    if count_states(births)[BORN]:
        shown.append(
            ToldFigure(
                title=f"When units come to answer as they do at the end · {name}",
                caption="A point is a unit, a row a layer, early layers on top. The box spans the "
                "middle half of the units born, the bar is their median.",
                code=opened.then("dvis.births_by_layer", x=axis_of(dataset)),
                numbers=lambda: births_numbers(births),
            )
        )
    return Section(
        title=f"When units come to answer as they do at the end · {name}",
        finding=f"{count_sentence(births)} {order_sentence(order_of(births))}",
        texts=["The same images were shown at all checkpoints.", criterion_text(births)],
        shown=shown,
        caveats=list(births_caveats(births, f"responses {name}")),
    )


def _crossed(dataset: xr.Dataset, opened: Code, name: str) -> Section:
    known = (
        dataset["response"]
        .notnull()
        .sum([d for d in dataset["response"].dims if d not in (LAYER, CHANNEL)])
    )
    known = known.isel({LAYER: slice(None, None, -1)})
    unit = known.argmax(...)
    layer, channel = (known[dim][unit[dim]].item() for dim in (LAYER, CHANNEL))
    of_unit = dataset.sel({LAYER: layer, CHANNEL: channel})
    figure = ToldFigure(
        title=f"{layer}, channel {channel}",
        caption="A row is the checkpoint that a feature image was made at, a column the "
        "checkpoint that is shown it. On the diagonal a checkpoint is shown its own image. This "
        "unit is one of those with most responses, not one that was picked for what it shows.",
        code=opened.then("dvis.cross_response", str(layer), int(channel), x=axis_of(dataset)),
        numbers=lambda: values_numbers(of_unit, ["response"]),
    )
    return Section(
        title=f"Feature images of other checkpoints · {name}",
        texts=[
            "Each checkpoint was shown the feature images of the others: whether a unit answers "
            "to images of its past and future. It is shown of one unit, as an example; a claim "
            "on all would need a null, which is not measured here."
        ],
        shown=[figure],
    )
