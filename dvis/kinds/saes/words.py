"""The words of sparse autoencoders: the arrays of a group, one autoencoder a checkpoint.

{run}/saes/{layer}/{name}/    encoder, decoder (checkpoint, latent, channel); encoder_bias,
threshold (checkpoint, latent); decoder_bias (checkpoint, channel); fvu, l0, ... (checkpoint,
log_step); scale, status (checkpoint)
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

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

KIND = "saes"
LATENT: Final = "latent"
LOG_STEP: Final = "log_step"
WEIGHTS = ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold")
LOGGED = {
    "fvu": "share of the variance that is not reconstructed",
    "l0": "active latents a row",
    "n_dead": "dead latents",
    "learning_rate": "learning rate",
    "grad_norm": "norm of all gradients before they are clipped",
}
_CHUNK_ITEMS = 2**23  # of float32: 32 MB
_LOG_CHUNK = 1024


def words_of(attrs: Mapping[str, Any]) -> Words:
    """Words of the group with these attributes; without arrays where they say no layer."""
    if not isinstance(attrs.get("layer"), str):
        return Words(kind=KIND, arrays={})
    return sae_words()


def sae_words(*, n_latents: int = 1, n_channels: int = 1) -> Words:
    """Words of a group, with chunks for so many latents and channels."""
    n_rows = max(1, min(n_latents, _CHUNK_ITEMS // max(1, n_channels)))
    matrix = {"chunks": (1, n_rows, n_channels)}
    of_latents, of_channels = {"chunks": (1, n_latents)}, {"chunks": (1, n_channels)}
    of_log = {"chunks": (1, _LOG_CHUNK)}
    of_latent, nan = (CHECKPOINT, LATENT), np.nan
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        LATENT: spec((LATENT,), "int32", -1, "latent"),
        CHANNEL: spec((CHANNEL,), "int32", -1, "channel"),
        LOG_STEP: spec((LOG_STEP,), "int64", -1, "step of the autoencoder's training"),
        "encoder": spec((*of_latent, CHANNEL), "float32", nan, "encoder", layout=matrix),
        "decoder": spec((*of_latent, CHANNEL), "float32", nan, "decoder", layout=matrix),
        "encoder_bias": spec(of_latent, "float32", nan, "encoder bias", layout=of_latents),
        "decoder_bias": spec(
            (CHECKPOINT, CHANNEL), "float32", nan, "decoder bias", layout=of_channels
        ),
        "threshold": spec(
            of_latent, "float32", nan, "what a code must exceed, -1: nothing", layout=of_latents
        ),
        **{
            name: spec((CHECKPOINT, LOG_STEP), "float64", nan, long_name, layout=of_log)
            for name, long_name in LOGGED.items()
        },
        "scale": spec((CHECKPOINT,), "float64", nan, "factor by which rows were multiplied"),
        "status": status_spec((CHECKPOINT,), "autoencoder", Status),
        f"{SOURCE}/problem": spec((CHECKPOINT,), TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec((CHECKPOINT,), "uint64", 0, "hash of the checkpoint's weights"),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        noun="sparse autoencoders",
        said={
            "layer": (str, "of which layer's activations they are"),
            "kind": (str, "how their codes are made sparse"),
            "k": (int, "how many latents are active in a row"),
        },
    )


def group_name(layer: str, name: str) -> str:
    """What the group of a layer's autoencoders of a name is called."""
    return f"{layer}/{name}"
