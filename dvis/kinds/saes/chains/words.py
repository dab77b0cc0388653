"""The words of chains: autoencoders on what an autoencoder has learned, level below level.

{run}/saes/{layer}/{name}.chain-{on}/    ev, l0, l0_sd, nonzero_share, n_dead, selectivity,
best_share, mean_max_cosine (checkpoint, control, seed, depth); null_selectivity, null_best_share
(checkpoint, shuffle, seed, depth); n_latents (checkpoint, seed, depth); frequency, best_class, ...
(checkpoint, seed, depth, latent); parent, parent_weight (and rank); encoder, decoder (and input);
leaf_best_class, ... (checkpoint, leaf); stopped (checkpoint, seed); status (checkpoint)

of other activations    {name}.chain-{on}.read-with-{activations}
"""

from typing import Any, Final

import numpy as np

from dvis.analysis.control import CONTROL, EXCHANGEABLE
from dvis.analysis.ranking import RANK
from dvis.kinds.saes.dims import CLASS, LATENT, SHUFFLE
from dvis.kinds.saes.words import CHAINED, KIND, group_name
from dvis.schema import (
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    SOURCE,
    TEXT,
    Status,
    VariableSpec,
    Words,
    spec,
    status_spec,
)

SEED: Final = "seed"  # of the levels' trainings
DEPTH: Final = "depth"  # of a level: 0 is the autoencoder that the chain begins with
INPUT: Final = "input"  # what a level reads: channels, or latents of the level above
LEAF: Final = "leaf"  # a latent of the autoencoder that the chain begins with
ON: Final = "on"  # attribute: of what the level above a level is trained on
READ_WITH: Final = "read_with"  # attribute: activations of other images, "" for its own
STATISTICS = {
    "ev": "explained variance of the rows that the level is trained on",
    "l0": "active latents of a row",
    "l0_sd": "standard deviation over rows of their active latents",
    "nonzero_share": "share of latents that are active in a row",
    "n_dead": "latents that never fire",
    "selectivity": "median class selectivity of latents that fire",
    "best_share": "median share of the best class",
    "mean_max_cosine": "mean largest cosine with an autoencoder of the width on activations",
}
OF_CLASSES = ("selectivity", "best_share")  # which have a null of shuffled labels
WEIGHTS = ("encoder", "decoder")
BIASES = {"encoder_bias": "encoder bias", "threshold": "what a code must exceed"}
OF_LATENT = {
    "frequency": "share of rows in which it fires",
    "latent_selectivity": "class selectivity",
    "latent_best_share": "share of its best class in all scores",
}
OF_LEAF = {
    "leaf_frequency": "share of rows in which it fires",
    "leaf_selectivity": "class selectivity",
    "leaf_best_share": "share of its best class in all scores",
}
EXCHANGED = (
    "what a level is trained on: directions that are random, codes exchanged between rows, or "
    "activations"
)


def chain_words(*, n_latents: int = 1, n_inputs: int = 1, n_leaves: int = 1) -> Words:
    """Words of a group, with chunks for so many latents of a level and what they read."""
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        SEED: spec((SEED,), "int64", -1, "seed of the levels"),
        DEPTH: spec((DEPTH,), "int32", -1, "levels above"),
        LATENT: spec((LATENT,), "int32", -1, "latent of a level"),
        INPUT: spec((INPUT,), "int32", -1, "channel, or latent of the level above"),
        LEAF: spec((LEAF,), "int32", -1, "latent of the first autoencoder"),
        RANK: spec((RANK,), "int32", -1, "rank of a parent"),
        CLASS: spec((CLASS,), TEXT, "", "class"),
        CONTROL: spec((CONTROL,), TEXT, "", "value, or what was exchanged"),
        SHUFFLE: spec((SHUFFLE,), "int32", -1, "shuffle of the labels"),
        **_of_levels(),
        **_of_latents(n_latents, n_inputs),
        **_of_leaves(n_leaves),
        "status": status_spec((CHECKPOINT,), "chains", Status),
        f"{SOURCE}/problem": spec((CHECKPOINT,), TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec((CHECKPOINT,), "uint64", 0, "hash of the autoencoder's weights"),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        noun="chains of autoencoders",
        is_of_others=True,
        said={
            "layer": (str, "of which layer"),
            CHAINED: (str, "with which autoencoders they begin"),
            ON: (str, "on what of the level above a level is trained"),
            READ_WITH: (str, "of which other activations statistics are"),
        },
    )


def _of_levels() -> dict[str, VariableSpec]:
    """Numbers of levels, their controls and nulls."""
    few: dict[str, Any] = {"layout": {"chunks": (1, 16, 16)}}
    several: dict[str, Any] = {"layout": {"chunks": (1, 32, 16, 16)}}
    controlled: dict[str, Any] = {**several, EXCHANGEABLE: EXCHANGED}
    shuffled: dict[str, Any] = {**several, EXCHANGEABLE: "labels of samples"}
    of_control, of_shuffle = ((CHECKPOINT, dim, SEED, DEPTH) for dim in (CONTROL, SHUFFLE))
    no_level = "why there is no level below the last"
    return {
        "n_latents": spec(
            (CHECKPOINT, SEED, DEPTH), "int64", -1, "latents, -1 where there is no level", **few
        ),
        **{
            name: spec(of_control, "float64", np.nan, what, **controlled)
            for name, what in STATISTICS.items()
        },
        **{
            f"null_{name}": spec(
                of_shuffle, "float64", np.nan, f"{STATISTICS[name]}, labels shuffled", **shuffled
            )
            for name in OF_CLASSES
        },
        "stopped": spec((CHECKPOINT, SEED), TEXT, "", no_level, layout={"chunks": (1, 16)}),
    }


def _of_latents(n_latents: int, n_inputs: int) -> dict[str, VariableSpec]:
    """Numbers, parents and weights of latents of levels."""
    nan, dims, chunks = np.nan, (CHECKPOINT, SEED, DEPTH, LATENT), (1, 1, 1, n_latents)
    each: dict[str, Any] = {"layout": {"chunks": chunks}}
    of_ranks: dict[str, Any] = {"layout": {"chunks": (*chunks, 64)}}
    matrix: dict[str, Any] = {"layout": {"chunks": (*chunks, n_inputs)}}
    ranked = (*dims, RANK)
    return {
        **{n: spec(dims, "float64", nan, what, **each) for n, what in OF_LATENT.items()},
        **{n: spec(dims, "float32", nan, what, **each) for n, what in BIASES.items()},
        "best_class": spec(dims, "int64", -1, "class of highest mean", **each),
        "n_parents": spec(dims, "int64", -1, "latents that it is made of", **each),
        "parent": spec(ranked, "int32", -1, "latent of the level above, -1: none", **of_ranks),
        "parent_weight": spec(ranked, "float32", nan, "how much of it", **of_ranks),
        **{n: spec((*dims, INPUT), "float32", nan, n, **matrix) for n in WEIGHTS},
    }


def _of_leaves(n_leaves: int) -> dict[str, VariableSpec]:
    """Numbers of latents of level 0."""
    dims, each = (CHECKPOINT, LEAF), {"chunks": (1, n_leaves)}
    return {
        **{n: spec(dims, "float64", np.nan, what, layout=each) for n, what in OF_LEAF.items()},
        "leaf_best_class": spec(dims, "int64", -1, "class of highest mean", layout=each),
    }


def chain_name(layer: str, name: str, on: str, read_with: str = "") -> str:
    """What the group of chains of a layer's autoencoders of a name is called."""
    end = f".read-with-{read_with}" if read_with else ""
    return f"{group_name(layer, name)}.chain-{on}{end}"
