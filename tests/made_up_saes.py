"""Sparse autoencoders that are not trained, and samples for them."""

from typing import Any

import numpy as np

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.rows import ArrayRows

N_SAMPLES, N_TOKENS, N_CHANNELS, N_LATENTS = 40, 6, 8, 20


def made_up_autoencoder(seed: int = 0, **other: Any) -> Autoencoder:
    """Random unit directions; a latent fires in about a fifth of the tokens, the last never."""
    rng = np.random.default_rng(seed)
    decoder = rng.normal(size=(N_LATENTS, N_CHANNELS)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    bias = np.append(rng.normal(size=N_LATENTS - 1) / 10, -100)
    weights: dict[str, Any] = {
        "encoder": decoder.copy(),
        "decoder": decoder,
        "encoder_bias": bias.astype(np.float32),
        "decoder_bias": rng.normal(size=N_CHANNELS).astype(np.float32),
        "threshold": np.full(N_LATENTS, 1.0, np.float32),
        "kind": "batchtopk",
        "k": 4,
    }
    return Autoencoder(**{**weights, **other})


def made_up_rows(seed: int = 1, *, n_classes: int = 3, **other: Any) -> ArrayRows:
    """Samples of some tokens, in classes that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_SAMPLES, N_TOKENS, N_CHANNELS)) + 0.5
    labels = rng.integers(n_classes, size=N_SAMPLES)
    ids = [f"image_{n}" for n in range(N_SAMPLES)]
    given: dict[str, Any] = {
        "labels": labels,
        "classes": tuple("abcdefgh"[:n_classes]),
        "sample_ids": ids,
    }
    return ArrayRows(values, **{**given, **other})


class InBlocks(ArrayRows):
    """The same samples a few at a time, the last ones first."""

    def ordered(self, n_samples: int = 7) -> Any:
        yield from reversed(list(super().ordered(7)))
