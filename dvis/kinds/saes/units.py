"""Latents as units to the analyses: (checkpoint, layer, channel), with a measure to read off.

Evaluated autoencoders in, one Dataset of their latents out. Nothing here writes.
"""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.read import latents, saes
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    COORDINATES,
    LAYER,
    UNIT_DIMS,
    UNMATCHED,
    USUAL_VARIABLE,
    Status,
)
from dvis.schema import UNIT as OF_UNIT
from dvis.store.contents import StoreLike

_USUAL = "frequency"
_COMMENT = (
    "share of rows in which the latent fires. It has no scale, as codes have, whose size follows "
    "the gains of all layers below. It tells how often the latent fires, not on what: one that "
    "fires as often from the first checkpoint, on other images, is born there"
)


def latent_units(
    path_or_url: StoreLike,
    layer: str | Sequence[str],
    name: str | None = None,
    run: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Latents as units: what `dvis.latents` has of each, for `ds.dvis.births()` and all others.

    Latents keep their numbers over checkpoints where their autoencoders were trained by
    `dvis sae train --warm-start`, each from that of the checkpoint before. Of others there is no
    development, and what reads one off a trajectory raises.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    layer : str or sequence of str
        Whose autoencoders; of several layers at the checkpoints that all have.
    name, run, chunks, storage_options
        As `dvis.latents` takes them.

    Returns
    -------
    Dataset, (checkpoint, layer, channel)
        Each latent's number is its `channel`. `frequency`, `mean`, `max`, `selectivity`, ... as
        `dvis.latents` has them, and `status`, uint8: complete where an autoencoder is evaluated.
        Births, ranks and pictures read `frequency` unless they are told another `variable`: unlike
        codes, it does not grow with the gains of all layers below.

    Raises
    ------
    FileNotFoundError, ImportError, KeyError, SchemaError
        As `dvis.latents` does.
    ValueError
        As `dvis.latents` does, or when no layer is named, or layers have no checkpoint in common.
    """
    layers = [layer] if isinstance(layer, str) else list(layer)
    if not layers:
        raise ValueError("no layer is named; give one or more")
    how: dict[str, Any] = {"chunks": chunks, "storage_options": storage_options}
    opened = [_of_layer(path_or_url, each, name, run, how) for each in layers]
    shared = [
        label
        for label in opened[0][CHECKPOINT].values.tolist()
        if all(label in each[CHECKPOINT].values for each in opened)
    ]
    if not shared:
        raise ValueError(
            f"autoencoders of {', '.join(layers)} are evaluated at no checkpoint of all of them; "
            "`dvis sae evaluate` each at the same ones"
        )
    found = xr.concat(
        [each.sel({CHECKPOINT: shared}) for each in opened],
        LAYER,
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value={"status": int(Status.ABSENT), "best_class": -1},
        combine_attrs="override",
    )
    found.attrs[UNMATCHED] = next(filter(None, (each.attrs[UNMATCHED] for each in opened)), "")
    return found.transpose(*UNIT_DIMS, ...)


def _of_layer(
    path_or_url: StoreLike, layer: str, name: str | None, run: str | None, how: dict[str, Any]
) -> xr.Dataset:
    """Latents of one layer's autoencoders."""
    found = latents(path_or_url, layer, name, run, **how)
    called, of_run = str(found.attrs["evaluated"]), str(found.attrs["run"])
    trained = saes(path_or_url, layer, called, of_run, **how)
    chosen = [n for n, each in found.data_vars.items() if set(each.dims) == {CHECKPOINT, LATENT}]
    units = found[chosen].rename({LATENT: CHANNEL})
    status = found["status"].expand_dims({CHANNEL: units[CHANNEL]}, 1)
    units = units.assign(status=status.assign_attrs(found["status"].attrs)).expand_dims(
        {LAYER: [layer]}, 1
    )
    width = (LAYER, [found.sizes[LATENT]], dict(COORDINATES["n_channels"].attrs))
    units = units.assign_coords(n_channels=width)
    units[_USUAL].attrs["comment"] = _COMMENT
    units[CHANNEL].attrs = {"long_name": LATENT}
    told = {key: found.attrs[key] for key in ("model", "run", "split") if key in found.attrs}
    units.attrs = {**told, "name": called, OF_UNIT: LATENT, USUAL_VARIABLE: _USUAL}
    units.attrs[UNMATCHED] = why_unmatched(trained, called)
    return units
