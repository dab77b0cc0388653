"""The words of tracks: which latent of each checkpoint's autoencoder is the one of the next.

{run}/saes/{layer}/{name}.{method}-tracks/    latent, similarity, cosine, drift, frequency,
decoder_norm and, where they are known, selectivity, null_similarity, null_cosine, null_drift
(checkpoint, track); birth, death (track); least_similarity, n_latents, status (checkpoint)

of `cross`, whose weights are nowhere else: encoder, decoder (checkpoint, code, channel),
encoder_bias, code_threshold (code), decoder_bias (checkpoint, channel); strength, null_strength
(checkpoint, track)
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from dvis.analysis.control import EXCHANGEABLE
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.words import KIND, TRACKED, group_name, sae_words
from dvis.schema import (
    CHANNEL,
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

TRACK: Final = "track"
CODE: Final = "code"  # of a crosscoder: what a latent is, once for all checkpoints
METHOD: Final = "method"
OF_TRACK = {
    "similarity": "correlation of codes with those at the checkpoint before",
    "cosine": "cosine of the decoder with that at the checkpoint before",
    "drift": "1 - cosine of the decoder with that where the track begins",
    "frequency": "share of rows in which the latent fires",
    "decoder_norm": "length of the decoder's row",
}
SEEDS = "seeds of the autoencoder at one checkpoint"
NULLS = {
    "null_similarity": "correlation of codes with those of the match in a second seed",
    "null_cosine": "cosine of the decoder with that of the match in a second seed",
    "null_drift": "1 - cosine of the decoder with that of the match in a second seed",
}
STRENGTHS = {
    "strength": "length of the row that reconstructs best, in units of the spread",
    "null_strength": "the same, codes exchanged between rows",
}
SELECTIVITY: Final = "selectivity"
CROSS_WEIGHTS = ("encoder", "decoder", "decoder_bias", "encoder_bias", "code_threshold")


def track_words(*, n_tracks: int = 1, n_codes: int = 1, n_channels: int = 1) -> Words:
    """Words of a group, with chunks for so many tracks, and codes and channels of a crosscoder."""
    of_tracks, nan, dims = {"chunks": (1, n_tracks)}, np.nan, (CHECKPOINT, TRACK)
    seeds: dict[str, Any] = {EXCHANGEABLE: SEEDS}
    optional = {
        **{
            name: spec(dims, "float64", nan, what, layout=of_tracks, **seeds)
            for name, what in NULLS.items()
        },
        **{n: spec(dims, "float64", nan, what, layout=of_tracks) for n, what in STRENGTHS.items()},
        SELECTIVITY: spec(dims, "float64", nan, "class selectivity", layout=of_tracks),
        **_cross_weights(n_codes, n_channels),
    }
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        TRACK: spec((TRACK,), "int32", -1, "track"),
        LATENT: spec(dims, "int32", -1, "latent, -1 where the track is not", layout=of_tracks),
        **{n: spec(dims, "float64", nan, what, layout=of_tracks) for n, what in OF_TRACK.items()},
        "birth": spec((TRACK,), TEXT, "", "first checkpoint, none where it was there before"),
        "death": spec((TRACK,), TEXT, "", "checkpoint at which it is no more, none where it stays"),
        "least_similarity": spec((CHECKPOINT,), "float64", nan, "similarity that links exceed"),
        "n_latents": spec((CHECKPOINT,), "int64", -1, "latents that fire"),
        **{name: replace(each, is_optional=True) for name, each in optional.items()},
        "status": status_spec((CHECKPOINT,), "tracks", Status),
        f"{SOURCE}/problem": spec((CHECKPOINT,), TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec((CHECKPOINT,), "uint64", 0, "hash of the autoencoder's weights"),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        noun="tracks of latents",
        is_of_others=True,
        said={
            "layer": (str, "of which layer"),
            TRACKED: (str, "of which autoencoders they are"),
            METHOD: (str, "how they were found"),
        },
    )


def _cross_weights(n_codes: int, n_channels: int) -> dict[str, VariableSpec]:
    """Weights of a crosscoder, in the units of activations."""
    of_sae = sae_words(n_latents=n_codes, n_channels=n_channels).arrays
    of_codes: dict[str, Any] = {"layout": {"chunks": (n_codes,)}}
    return {
        CODE: spec((CODE,), "int32", -1, "latent of the crosscoder"),
        CHANNEL: of_sae[CHANNEL],
        **{
            name: replace(of_sae[name], dims=(CHECKPOINT, CODE, CHANNEL))
            for name in ("encoder", "decoder")
        },
        "decoder_bias": of_sae["decoder_bias"],
        "encoder_bias": spec((CODE,), "float32", np.nan, "encoder bias", **of_codes),
        "code_threshold": spec((CODE,), "float32", np.nan, "what a code must exceed", **of_codes),
    }


def tracks_name(layer: str, name: str, method: str) -> str:
    """What the group of tracks of a layer's autoencoders of a name is called."""
    return f"{group_name(layer, name)}.{method}-tracks"


def shared_name(name: str) -> str:
    """What the autoencoder for all checkpoints of some is called."""
    return f"{name}.shared"
