"""What a report tells of sparse autoencoders: what they explain beside controls, and latents."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, VALUE
from dvis.kinds.parts import Asked
from dvis.kinds.saes.dims import LATENT, SHUFFLE
from dvis.kinds.saes.read import SAE_READER, name_of
from dvis.kinds.saes.telling import telling_latent
from dvis.kinds.saes.told_chains import chain_section, track_section
from dvis.kinds.saes.words import (
    DENSE,
    LOGGED,
    is_autoencoders,
    is_chains,
    is_evaluation,
    pictured_as,
)
from dvis.kinds.told import Caveat, Code, Section, ToldFigure, ToldTable, number
from dvis.kinds.told_births import images_beside, values_numbers
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, Status

_CONTROL_EV, _OTHER_SEED = "control_ev", "second seed"
_MOST_LATENTS = 10
_NUMBERS = ("ev", "l0", "n_dead", "n_dense", "recovered")
_OF_LATENTS = ("frequency", "selectivity", "best_share", "max")


def sae_sections(asked: Asked) -> Iterator[Section]:
    """A section for each autoencoder that was trained, evaluated, tracked or chained."""
    evaluated = set()
    for entry, found in asked.groups(SAE_READER, lambda entry: is_evaluation(entry.attrs)):
        layer, name = str(entry.attrs["layer"]), name_of(entry)
        if not bool((found["status"] == Status.COMPLETE).any()):
            continue
        evaluated.add((layer, name))
        yield _evaluation(asked, found, layer, name)
    for entry, trained in asked.groups(SAE_READER, lambda entry: is_autoencoders(entry.attrs)):
        layer, name = str(entry.attrs.get("layer")), name_of(entry)
        if (layer, name) not in evaluated and bool((trained["status"] == Status.COMPLETE).any()):
            yield _training(asked, trained, layer, name)
    for entry, found in asked.groups(SAE_READER):
        made = chain_section if is_chains(entry.attrs) else track_section
        section = made(asked, entry, found)
        if section is not None:
            yield section


def _training(asked: Asked, trained: xr.Dataset, layer: str, name: str) -> Section:
    opened = Code().then("saes", str(asked.store), layer, name, asked.run)
    return Section(
        title=f"Sparse autoencoder of {layer} · {name}",
        finding="It was trained, but not evaluated: nothing can be said of its latents.",
        shown=[_training_figure(trained, opened)],
        caveats=[Caveat(f"{name} of {layer} has no controls: `dvis sae evaluate` makes them.")],
    )


def _training_figure(trained: xr.Dataset, opened: Code) -> ToldFigure:
    return ToldFigure(
        title="Training of the autoencoders",
        caption="What the training of the autoencoder of each checkpoint logged: variance that "
        "it does not explain, latents active a row, dead latents. It is of rows it trains on.",
        code=opened.then("dvis.sae_training"),
        numbers=lambda: values_numbers(trained, [*LOGGED]),
    )


def _evaluation(asked: Asked, found: xr.Dataset, layer: str, name: str) -> Section:
    is_there = (found["status"] == Status.COMPLETE).values
    there = found.isel({CHECKPOINT: is_there})
    scalars = there[[n for n in (*_NUMBERS, _CONTROL_EV) if n in there]].load()
    opened = Code().then("latents", str(asked.store), layer, name, asked.run)
    return Section(
        title=f"Sparse autoencoder of {layer} · {name}",
        finding=_finding(scalars, found.sizes[LATENT]),
        texts=[
            "A sparse autoencoder writes each row of the layer's activations as a sum of few of "
            "its latents. How much variance that explains says little by itself: random "
            "directions and frozen weights explain some too, and so does an autoencoder of a "
            "network that has learnt nothing.",
        ],
        shown=[
            _checkpoint_table(scalars, found.sizes[LATENT]),
            *_figures(asked, there, scalars, opened, name),
        ],
        caveats=list(_caveats(scalars, f"{name} of {layer}")),
    )


def _figures(
    asked: Asked, there: xr.Dataset, scalars: xr.Dataset, opened: Code, name: str
) -> Iterator[ToldFigure | ToldTable]:
    layer = str(there.attrs["layer"])
    yield ToldFigure(
        title="Explained variance, by how few latents, and how many are dead",
        caption="A point is the autoencoder of a checkpoint; joined in training order. Grey marks "
        "are its controls, to which a thin line leads. Below, the share of latents that never "
        "fire.",
        code=opened.then("dvis.sae_frontier"),
        numbers=lambda: values_numbers(scalars, [*_NUMBERS, _CONTROL_EV]),
    )
    yield ToldFigure(
        title="How often latents fire",
        caption="Dead latents never fire; dense ones fire in more than "
        f"{100 * DENSE:g} % of rows and seldom mean one thing.",
        code=opened.then("dvis.latent_frequencies"),
        numbers=lambda: values_numbers(there.isel({CHECKPOINT: [-1]}), ["frequency"]),
    )
    last = there.isel({CHECKPOINT: -1})
    if not {"selectivity", "null_selectivity"} <= set(there):
        return
    yield _latent_table(last)
    images = images_beside(asked, pictured_as(name))
    latent = telling_latent(there)
    yield ToldFigure(
        title=f"Latent {latent} of {layer}",
        caption="The latent that is most selective beyond shuffled labels, of the more frequent "
        "ones: the images that drive it most, where in them it fires, and how it compares with "
        "the others and with shuffled labels. It was picked for that, and stands for no other.",
        code=opened.then("dvis.latent_sheet", latent, unit_images=images),
        numbers=lambda: values_numbers(there.sel({LATENT: [latent]}), _OF_LATENTS),
    )


def _latent_table(last: xr.Dataset) -> ToldTable:
    """The most selective latents beside shuffled labels, with what people and programs wrote."""
    names = ["selectivity", "null_selectivity", "frequency", "best_class", "note", "name"]
    at = last[[name for name in names if name in last]].load()
    null = at["null_selectivity"].max(SHUFFLE)
    order = np.argsort(
        -np.nan_to_num((at["selectivity"] - null).values, nan=-np.inf), kind="stable"
    )
    rows = []
    for place in order[:_MOST_LATENTS].tolist():
        each = at.isel({LATENT: place})
        if not np.isfinite(float(each["selectivity"])):
            continue
        called = [str(each[name].item()) for name in ("name", "note") if name in at]
        rows.append(
            [
                str(int(each[LATENT])),
                f"{100 * float(each['frequency']):.3g} %",
                number(float(each["selectivity"])),
                number(float(null[place])),
                "; ".join(filter(None, called)) or "–",
            ]
        )
    n_shuffles = at.sizes[SHUFFLE]
    return ToldTable(
        title="Latents that are most selective for a class",
        columns=["latent", "fires in", "selectivity", "highest shuffled", "name, note"],
        rows=rows,
        note=f"Beside each the highest of {n_shuffles} shuffles of the labels, of that latent: one "
        f"of {n_shuffles + 1} latents that know nothing of classes exceeds it.",
    )


def _checkpoint_table(scalars: xr.Dataset, n_latents: int) -> ToldTable:
    controls = _controls_of(scalars)
    rows = []
    for place, moment in enumerate(moment_names(scalars)):
        at = scalars.isel({CHECKPOINT: place})
        row = [moment, number(float(at["ev"]))]
        row += [number(float(at[_CONTROL_EV].sel({CONTROL: name}))) for name in controls]
        row += [number(float(at["l0"])), str(int(at["n_dead"])), str(int(at["n_dense"]))]
        row += [number(float(at["recovered"]))] if "recovered" in at else []
        rows.append(row)
    columns = ["checkpoint", "explained", *controls, "latents a row", "dead", "dense"]
    return ToldTable(
        title="Explained variance beside its controls",
        columns=[*columns, "loss recovered"] if "recovered" in scalars else columns,
        rows=rows,
        note=f"Of {n_latents} latents; on samples of the split {scalars.attrs.get('split', '')}.",
    )


def _controls_of(scalars: xr.Dataset) -> list[str]:
    """Controls of which something is known."""
    if _CONTROL_EV not in scalars:
        return []
    known = scalars[_CONTROL_EV].notnull().any(CHECKPOINT)
    return [
        str(name)
        for name in scalars[CONTROL].values.tolist()
        if name != VALUE and bool(known.sel({CONTROL: name}))
    ]


def beaten_by(at: xr.Dataset, controls: list[str]) -> list[str]:
    """Controls that explain as much as the autoencoder does, at one checkpoint.

    Another seed is none to be beaten: it says how far numbers of this kind are apart by chance.
    """
    own = float(at["ev"])
    controls = [name for name in controls if name != _OTHER_SEED]
    values = {name: float(at[_CONTROL_EV].sel({CONTROL: name})) for name in controls}
    return [name for name, value in values.items() if np.isfinite(value) and value >= own]


def _finding(scalars: xr.Dataset, n_latents: int) -> str:
    """What it explains at the last checkpoint, and first whether that is more than controls."""
    at, moment = scalars.isel({CHECKPOINT: -1}), moment_names(scalars)[-1]
    own, controls = number(float(at["ev"])), _controls_of(scalars)
    dead = f"{int(at['n_dead'])} of {n_latents} latents are dead"
    if not controls:
        return (
            f"At {moment} it explains {own} of the variance; no control was measured, so nothing "
            f"says whether that is much. {dead}."
        )
    several = ", ".join(
        f"{name} {number(float(at[_CONTROL_EV].sel({CONTROL: name})))}" for name in controls
    )
    losses = beaten_by(at, controls)
    if losses:
        return (
            f"At {moment} it explains no more of the variance than {' and '.join(losses)}: {own}, "
            f"against {several}. {dead}."
        )
    return (
        f"At {moment} it explains more of the variance than all its controls: {own}, against "
        f"{several}. {dead}."
    )


def _caveats(scalars: xr.Dataset, called: str) -> Iterator[Caveat]:
    controls = _controls_of(scalars)
    if not controls:
        yield Caveat(f"{called} has no controls: `dvis sae evaluate --controls` makes them.")
    for place, moment in enumerate(moment_names(scalars)):
        losses = beaten_by(scalars.isel({CHECKPOINT: place}), controls)
        if losses:
            yield Caveat(
                f"At {moment}, {called} explains no more than {' and '.join(losses)} does."
            )
    yield Caveat(
        f"{called}: explained variance has no error here; of one seed of the autoencoder's "
        "training, differences of a few hundredths are not to be told.",
        "note",
    )
