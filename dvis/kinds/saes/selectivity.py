"""Selectivity of latents as that of channels: with what it is held against, and what it is called.

What `dvis.latents` gave in, a labelled Dataset out. Nothing here writes.
"""

import numpy as np
import xarray as xr

from dvis.analysis.quantities import quantity
from dvis.analysis.requirements import require
from dvis.analysis.selectivity import judged
from dvis.analysis.trajectories import origin
from dvis.kinds.saes.dims import CLASS, LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import name_in_layer, saes
from dvis.schema import CHECKPOINT, UNMATCHED, SchemaError, Status
from dvis.store.datasets import open_dataset
from dvis.store.reader import store_of

_STATISTICS = (
    *("selectivity", "entropy", "best_share", "best_auroc", "best_class"),
    *("class_mean", "class_rate", "auroc"),
)
_GAVE = "what dvis.latents gave"


def latent_selectivity(dataset: xr.Dataset, *, untrained: str | None = None) -> xr.Dataset:
    """How selective each latent is for a class at each checkpoint, and whether that is trivial.

    Statistics are those that `dvis sae evaluate` found of the first score; they are read at once.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.latents` gives it, tied to its store.
    untrained : str, optional
        Checkpoint of the network before it learns; by default the one of step 0.

    Returns
    -------
    Dataset, (checkpoint, latent)
        What `dvis.selectivity` gives of channels. Where latents are others at each checkpoint,
        `attrs["unmatched"]` says why, and `selectivity_births` raises with it.

    Raises
    ------
    SchemaError
        When it is not what was found of latents, or the store keeps no classes of the samples.
    ValueError
        When the Dataset does not know its store, or the samples have no classes.
    KeyError
        When there is no such untrained checkpoint.
    """
    require(
        dataset,
        *_STATISTICS,
        "null_selectivity",
        labels=(CHECKPOINT, LATENT),
        advice="Open one with dvis.latents, of autoencoders that `dvis sae evaluate` evaluated",
    )
    store, _ = store_of(dataset, _GAVE)
    layer, run = layer_of(dataset), str(dataset.attrs["run"])
    trained = saes(store, layer, name_in_layer(dataset), run)
    there = dataset["status"].values == Status.COMPLETE
    found = dataset[[*_STATISTICS, *(f"null_{n}" for n in _STATISTICS[:4])]]
    found = found.isel({CHECKPOINT: there}).load()
    found["n_of_class"] = quantity(CLASS, _counts(store, dataset, trained), "images of the class")
    unmatched = why_unmatched(trained, name_in_layer(dataset))
    told = {"layer": layer, "name": name_in_layer(dataset), UNMATCHED: unmatched}
    return judged(found, untrained).assign_attrs({**origin(dataset), **told})


def _counts(store: object, dataset: xr.Dataset, trained: xr.Dataset) -> np.ndarray:
    """Samples of each class in the split that was evaluated, (class,)."""
    classes = dataset[CLASS].values.tolist()
    if not classes:
        raise ValueError(
            "the samples have no classes: `dvis activations` of an image set that has some"
        )
    set_name = trained.attrs.get("dataset")
    if set_name is None:
        raise SchemaError("these autoencoders do not say of which image set they are")
    samples = open_dataset(store, str(set_name))  # type: ignore[arg-type]  # what store_of gave
    labels, is_held = samples["label"].values, samples["is_held_out"].values
    split = dataset.attrs.get("split", "all")
    is_counted = np.ones(len(labels), bool) if split == "all" else is_held == (split == "held_out")
    return np.bincount(labels[is_counted & (labels >= 0)], minlength=len(classes))
