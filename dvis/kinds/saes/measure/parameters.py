"""Weights in training: their start, and their way in and out of the units of rows."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dvis.kinds.saes.measure.autoencoder import UNSET_THRESHOLD, Autoencoder
from dvis.kinds.saes.options import SaeOptions

_BLEND = 0.8  # share of a data point in a decoder row at the start
_JUMP = 0.1  # threshold of jumprelu at the start, in units of a channel's standard deviation

Weights = dict[str, Tensor]


def input_scale(sample: Tensor, mean: Tensor) -> float:
    """Factor that makes the mean squared distance of rows from their mean n_channels.

    `sample` is (row, channel), `mean` (channel,). It is 1 where all rows are the same.
    """
    spread = float((sample - mean).double().square().sum(1).mean())
    return math.sqrt(sample.shape[1] / spread) if spread > 0 else 1.0


def first_weights(sample: Tensor, mean: Tensor, scale: float, options: SaeOptions) -> Weights:
    """Weights that training starts from, for rows times `scale`.

    Parameters
    ----------
    sample : Tensor, (row, channel)
        Rows that decoder rows start near.
    mean : Tensor, (channel,)
        Over all rows: the decoder's bias.
    scale : float
        Of `input_scale`.
    options : SaeOptions
        Width, seed, and how it starts.
    """
    n_channels = sample.shape[1]
    n_latents = options.width(n_channels)
    generator = torch.Generator().manual_seed(options.seed)
    decoder = torch.randn(n_latents, n_channels, generator=generator)
    decoder = functional.normalize(decoder, dim=1)
    bias = mean * scale if options.decoder_bias else torch.zeros(n_channels)
    if options.data_point_init:
        chosen = torch.randint(len(sample), (n_latents,), generator=generator)
        points = functional.normalize(sample[chosen] * scale - bias, dim=1)
        decoder = functional.normalize(_BLEND * points + (1 - _BLEND) * decoder, dim=1)
    return {
        "encoder": decoder.clone(),
        "decoder": decoder,
        "encoder_bias": torch.zeros(n_latents),
        "decoder_bias": bias.clone(),
        "threshold": torch.full((n_latents,), _JUMP),
    }


def weights_of(autoencoder: Autoencoder, scale: float) -> tuple[Weights, float]:
    """Weights to go on from, for rows times `scale`, and the threshold of batchtopk.

    Rows of the encoder are multiplied where those of the decoder are made unit length.
    """
    threshold = torch.from_numpy(autoencoder.threshold * np.float32(scale))
    weights = {
        "encoder": torch.from_numpy(autoencoder.encoder.copy()),
        "decoder": torch.from_numpy(autoencoder.decoder.copy()),
        "encoder_bias": torch.from_numpy(autoencoder.encoder_bias * np.float32(scale)),
        "decoder_bias": torch.from_numpy(autoencoder.decoder_bias * np.float32(scale)),
        "threshold": threshold.clamp(min=0.0),
    }
    known = float(threshold.mean()) if bool((threshold >= 0).all()) else UNSET_THRESHOLD
    return weights, known


def autoencoder_of(
    weights: Weights, scale: float, batch_threshold: float, options: SaeOptions
) -> Autoencoder:
    """The autoencoder of weights in training, with the scale of its rows folded in."""
    if options.kind == "jumprelu":
        threshold = weights["threshold"] / scale
    elif options.kind == "batchtopk":
        is_set = batch_threshold >= 0
        value = batch_threshold / scale if is_set else UNSET_THRESHOLD
        threshold = torch.full_like(weights["threshold"], value)
    else:
        threshold = torch.zeros_like(weights["threshold"])
    return Autoencoder(
        encoder=_array(weights["encoder"]),
        decoder=_array(weights["decoder"]),
        encoder_bias=_array(weights["encoder_bias"] / scale),
        decoder_bias=_array(weights["decoder_bias"] / scale),
        threshold=_array(threshold),
        kind=options.kind,
        k=options.k,
    )


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy().copy()
    return array
