"""What reconstructions, and single latents, do to the output of the model that they are part of."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.kinds.saes.dims import CLASS, LATENT, quantity
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.patching import (
    Change,
    Patched,
    encoded_rows,
    reconstructed,
    without,
)

SampleLoss = Callable[[Tensor, Tensor], Tensor]
RANDOM_DIRECTION = "random direction"

_LOSSES = {
    "loss_clean": "loss of the model",
    "loss_sae": "loss with reconstructions for the layer's rows",
    "loss_mean": "loss with the mean row for each",
    "loss_zero": "loss with zeros for the layer's rows",
}


def downstream(
    autoencoder: Autoencoder,
    model: nn.Module,
    layer: str,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mean: ArrayLike,
    loss: SampleLoss | None = None,
    tokens: ArrayLike | None = None,
) -> xr.Dataset:
    r"""How much of the model's loss survives where a layer's rows are reconstructions.

    .. math:: \mathrm{recovered} = \frac{L_{mean} - L_{sae}}{L_{mean} - L_{clean}}

    It is above 1 where the model does better with reconstructions, and below 0 where they are worse
    than the mean row. Without a loss to recover (the mean row does no harm) it is NaN.

    Parameters
    ----------
    autoencoder : Autoencoder
        Of the layer's rows.
    model : nn.Module
        The model, of which a copy in eval mode is used.
    layer : str
        The layer, by its dotted name.
    batches : iterable of (Tensor, Tensor)
        Images (sample, channel, y, x) as the model takes them, and their targets.
    mean : array, (channel,)
        The mean row: that of `Rows`.
    loss : callable, optional
        Outputs and targets in, (sample,) out (default: cross-entropy, targets are classes).
    tokens : array of int, (token,), optional
        Which of a sample's tokens are replaced (default: all).

    Returns
    -------
    Dataset
        loss_clean, loss_sae, loss_mean, loss_zero, means over all samples; recovered; n_samples.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        As `Patched` does, and when there is no image, or the layer has other channels.
    """
    patched: Patched | None = None
    sums, n_samples = dict.fromkeys(_LOSSES, 0.0), 0
    changes = _changes(autoencoder, mean)
    for images, targets in batches:
        if patched is None:
            patched = Patched(model, layer, images, tokens=tokens)
            _check_channels(patched, autoencoder, layer)
        for name, change in changes.items():
            losses = (loss or _cross_entropy)(patched(images, change), targets)
            if losses.shape != (len(images),):
                raise ValueError(
                    f"the loss has shape {tuple(losses.shape)} for {len(images)} samples; give one "
                    "that gives a number a sample, such as with reduction='none'"
                )
            sums[name] += float(losses.double().sum())
        n_samples += len(images)
    if not n_samples:
        raise ValueError("there are no images; give one batch or more")
    means = {name: total / n_samples for name, total in sums.items()}
    harm = means["loss_mean"] - means["loss_clean"]
    recovered = (means["loss_mean"] - means["loss_sae"]) / harm if harm > 0 else np.nan
    variables = {name: quantity((), means[name], text) for name, text in _LOSSES.items()}
    variables["recovered"] = quantity((), recovered, "share of the loss that is recovered")
    return xr.Dataset(variables, attrs={"n_samples": n_samples, "layer": layer})


def logit_effects(
    autoencoder: Autoencoder,
    model: nn.Module,
    layer: str,
    images: Tensor,
    *,
    latents: ArrayLike | None = None,
    classes: tuple[str, ...] | None = None,
    n_images: int = 16,
    batch_size: int = 64,
    tokens: ArrayLike | None = None,
    seed: int = 0,
) -> xr.Dataset:
    r"""How class logits move where one latent is taken out of a layer's rows.

    Rows become :math:`x - z_j d_j`, so that what the autoencoder does not reconstruct stays. The
    mean is over the images in which the latent fires most.

    Parameters
    ----------
    autoencoder, model, layer, tokens
        As `downstream` takes them.
    images : Tensor, (sample, channel, y, x)
        As the model takes them.
    latents : array of int, (latent,), optional
        Which (default: all; each costs two passes over its images).
    classes : tuple of str, optional
        Names of the model's classes (default: their numbers).
    n_images : int
        Images of a latent: those of its largest codes, fewer where it fires in fewer.
    batch_size : int
        Images at a time.
    seed : int
        Of random directions.

    Returns
    -------
    Dataset
        effect (control, latent, class), logit without the latent less that with it: negative where
        it speaks for the class. The control takes a random direction of the same length out of the
        same tokens, by the same codes. NaN of latents that fire in no image; n_images (latent).

    Raises
    ------
    KeyError, ValueError, RuntimeError
        As `Patched` does, and when latents or classes are not those that there are.
    """
    if min(n_images, batch_size, len(images)) < 1:
        raise ValueError(
            f"n_images is {n_images}, batch_size {batch_size}, with {len(images)} images; give 1 "
            "or more of each"
        )
    patched = Patched(model, layer, images, tokens=tokens)
    _check_channels(patched, autoencoder, layer)
    chosen = _chosen(latents, autoencoder.n_latents)
    clean, scores = _clean(patched, autoencoder, images, batch_size)
    names = _class_names(clean, classes)
    random = np.random.default_rng(seed).normal(size=(len(chosen), autoencoder.n_channels))
    lengths = np.linalg.norm(autoencoder.decoder[chosen], axis=1, keepdims=True)
    random *= lengths / np.linalg.norm(random, axis=1, keepdims=True)
    effects = np.full((2, len(chosen), len(names)), np.nan)
    counts = np.zeros(len(chosen), np.int64)
    for n, latent in enumerate(chosen):
        fires = scores[:, latent]
        order = np.argsort(-fires, kind="stable")[:n_images]
        own = torch.from_numpy(order[fires[order] > 0])
        counts[n] = len(own)
        for which, direction in enumerate((autoencoder.decoder[latent], random[n])):
            if len(own):
                change = without(autoencoder, int(latent), direction)
                parts = [patched(images[part], change) for part in torch.split(own, batch_size)]
                moved = torch.cat(parts).double() - clean[own]
                effects[which, n] = moved.mean(0).numpy()
    said = {EXCHANGEABLE: "direction that is taken out"}
    variables = {
        "effect": quantity((CONTROL, LATENT, CLASS), effects, "change of the logit", **said),
        "n_images": quantity(LATENT, counts, "images in which it was taken out"),
    }
    coordinates = {CONTROL: [VALUE, RANDOM_DIRECTION], LATENT: chosen, CLASS: names}
    return xr.Dataset(variables, coordinates, {"layer": layer})


def _changes(autoencoder: Autoencoder, mean: ArrayLike) -> dict[str, Change | None]:
    row = torch.from_numpy(np.asarray(mean, np.float32).copy())
    if row.shape != (autoencoder.n_channels,):
        raise ValueError(
            f"mean has shape {tuple(row.shape)}, but rows have {autoencoder.n_channels} channels; "
            "give the mean of the rows"
        )
    return {
        "loss_clean": None,
        "loss_sae": reconstructed(autoencoder),
        "loss_mean": lambda rows: row.to(rows).expand_as(rows),
        "loss_zero": torch.zeros_like,
    }


def _clean(
    patched: Patched, autoencoder: Autoencoder, images: Tensor, batch_size: int
) -> tuple[Tensor, np.ndarray]:
    """Outputs (sample, class) of the model as it is, and largest codes (sample, latent)."""
    scores = []

    def listen(rows: Tensor) -> Tensor:
        scores.append(encoded_rows(autoencoder, rows).scores("max").numpy())
        return rows

    outputs = [patched(part, listen) for part in torch.split(images, batch_size)]
    return torch.cat(outputs).double(), np.concatenate(scores)


def _chosen(latents: ArrayLike | None, n_latents: int) -> np.ndarray:
    chosen = np.arange(n_latents) if latents is None else np.asarray(latents)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise ValueError(f"latents are {latents!r}; give whole numbers, one or more")
    if chosen.min() < 0 or chosen.max() >= n_latents or len(set(chosen.tolist())) < len(chosen):
        raise ValueError(
            f"latents run from {chosen.min()} to {chosen.max()}; give some of 0 to "
            f"{n_latents - 1}, each once"
        )
    return chosen


def _class_names(outputs: Tensor, classes: tuple[str, ...] | None) -> list[str]:
    if outputs.ndim != 2:
        raise ValueError(
            f"the model gives outputs of shape {tuple(outputs.shape)}; give one that gives "
            "(sample, class)"
        )
    names = [str(n) for n in range(outputs.shape[1])] if classes is None else list(classes)
    if len(names) != outputs.shape[1]:
        raise ValueError(f"{len(names)} classes for {outputs.shape[1]} logits; name each")
    return names


def _check_channels(patched: Patched, autoencoder: Autoencoder, layer: str) -> None:
    if patched.n_channels != autoencoder.n_channels:
        raise ValueError(
            f"layer {layer!r} has {patched.n_channels} channels, but the autoencoder was trained "
            f"on {autoencoder.n_channels}; name its layer"
        )


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")
