"""What an autoencoder's numbers are held against: the same without what training should give."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.kinds.saes.dims import quantity
from dvis.kinds.saes.measure.agreement import SUMMARY, summarized
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.evaluation import reconstruction
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions

RANDOM_DICTIONARY = "random dictionary"
FROZEN_DECODER, FROZEN_ENCODER = "frozen decoder", "frozen encoder"
SECOND_SEED = "second seed"
UNTRAINED = "untrained network"
CONTROLS = (RANDOM_DICTIONARY, FROZEN_DECODER, FROZEN_ENCODER, SECOND_SEED)

_SAMPLED_ROWS = 1024
_EXCHANGED = "weights: random, frozen where they started, or of another seed"
_OWN = 26_021_411


def with_controls(
    autoencoder: Autoencoder,
    options: SaeOptions,
    rows: Rows,
    steps: PassOptions,
    *,
    held_out: Rows | None = None,
    seed: int = 1,
    state: Path | None = None,
    others: Mapping[str, tuple[Autoencoder, Rows]] | None = None,
) -> xr.Dataset:
    """Reconstruction by an autoencoder and by its controls, and how far their decoders agree.

    Parameters
    ----------
    autoencoder : Autoencoder
        What was trained.
    options : SaeOptions
        As what it was trained.
    rows : Rows
        On which it was trained; controls that learn do so on them, over one pass.
    steps : PassOptions
        Length of its training, which is theirs.
    held_out : Rows, optional
        On which all are evaluated (default: `rows`).
    seed : int
        Added to that of the options, for the second seed and for random directions.
    state : Path, optional
        Folder of the training state, from which a training that was killed goes on.
    others : mapping of str to (Autoencoder, Rows), optional
        Further controls by what was exchanged, each with the rows on which it is evaluated: of an
        untrained network, trained alike on rows of that.

    Returns
    -------
    Dataset
        ev, mse, l0, l1, cosine, n_dead, n_dense, n_often (control), as of `reconstruction`;
        mean_max_cosine, mean_matched_cosine, share_alike (control): of the autoencoder's decoder
        with each other one, as of `agreement`, over latents that fire. Controls are

        - "value": the autoencoder;
        - "random dictionary": random unit directions, that encode and decode with as many active
          latents a row, and one factor for all that fits best;
        - "frozen decoder", "frozen encoder": trained alike from random directions, but with those
          weights as they started;
        - "second seed": trained alike from another seed.

    Raises
    ------
    ValueError
        When the options do not make such an autoencoder, or the rows do not fit it.

    Notes
    -----
    A number that a frozen control reaches too says nothing of what was learned, nor does one that
    an untrained network reaches.

    References
    ----------
    Korznikov et al. (2026), Sanity checks for sparse autoencoders: do SAEs beat random baselines?,
    arXiv:2602.14111 (frozen weights). Heap et al. (2025), Sparse autoencoders can interpret
    randomly initialized transformers, arXiv:2501.17727.
    """
    _check(autoencoder, options, rows)
    held_out = rows if held_out is None else held_out
    value = reconstruction(autoencoder, held_out)
    random = random_dictionary(autoencoder, rows, l0=float(value.l0), seed=options.seed + seed)
    start = replace(options, data_point_init=False)
    wanted = {
        FROZEN_DECODER: replace(start, freeze="decoder"),
        FROZEN_ENCODER: replace(start, freeze="encoder"),
        SECOND_SEED: replace(options, seed=options.seed + seed),
    }
    trained = train(rows, list(wanted.values()), steps, state=state)
    beside = {RANDOM_DICTIONARY: (random, held_out)}
    beside |= {n: (one.autoencoder, held_out) for n, one in zip(wanted, trained, strict=True)}
    beside |= others or {}
    own = _live(autoencoder, value)
    found = [_scalars(value, summarized(own, own))]
    for other, of_rows in beside.values():
        measured = reconstruction(other, of_rows)
        found.append(_scalars(measured, summarized(own, _live(other, measured))))
    both = xr.concat(found, dim=CONTROL, combine_attrs="drop_conflicts")
    for variable in both.data_vars.values():
        variable.attrs[EXCHANGEABLE] = _EXCHANGED
    return both.assign_coords({CONTROL: [VALUE, *beside]})


def random_dictionary(
    autoencoder: Autoencoder, rows: Rows, *, l0: float, seed: int = 0
) -> Autoencoder:
    r"""An autoencoder of random unit directions, otherwise like another.

    Codes are inner products with the directions, above one threshold or the k largest of a row.
    Such directions overlap, so that sums of them are too long; the decoder is therefore multiplied
    by the factor of least error on a thousand rows,

    .. math:: g = \frac{\sum (x - b) \cdot (\hat x - b)}{\sum |\hat x - b|^2}

    Parameters
    ----------
    autoencoder : Autoencoder
        Whose shape, decoder bias and kind it has; its threshold is one for all latents.
    rows : Rows
        From whose first batches threshold and factor are found.
    l0 : float
        Active codes of a row, on average.
    seed : int
        Of the directions.

    Raises
    ------
    ValueError
        When `l0` is not above 0 and at most the number of latents.
    """
    n_latents, n_channels = autoencoder.n_latents, autoencoder.n_channels
    if not 0 < l0 <= n_latents:
        raise ValueError(
            f"l0 is {l0:g}; give a number above 0, at most the {n_latents} latents. An autoencoder "
            "without an active code has no control"
        )
    directions = np.random.default_rng((seed, _OWN)).normal(size=(n_latents, n_channels))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = directions.astype(np.float32)
    sample = _sample(rows)
    centred: NDArray[np.float32] = sample - autoencoder.decoder_bias
    is_top = autoencoder.kind == "topk"
    threshold = 0.0 if is_top else _threshold(centred @ weights.T, l0)
    found = replace(
        autoencoder,
        encoder=weights,
        decoder=weights.copy(),
        encoder_bias=np.zeros(n_latents, np.float32),
        threshold=np.full(n_latents, threshold, np.float32),
        kind="topk" if is_top else "jumprelu",
        k=max(1, round(l0)) if is_top else autoencoder.k,
    )
    decoded = (found.reconstruct(sample) - autoencoder.decoder_bias).astype(np.float64)
    length = np.square(decoded).sum()
    factor = (centred * decoded).sum() / length if length > 0 else 1.0
    return replace(found, decoder=weights * np.float32(factor))


def _threshold(pre_codes: NDArray[np.float32], l0: float) -> float:
    """Value that so many codes of a row exceed, on average; 0 or more."""
    n_active = min(pre_codes.size - 1, math.ceil(l0 * len(pre_codes)))
    flat = torch.from_numpy(pre_codes.ravel())
    return max(0.0, float(flat.topk(n_active + 1, sorted=False).values.min()))


def _sample(rows: Rows) -> NDArray[np.float32]:
    batches = [rows.batch(0)]
    wanted = min(_SAMPLED_ROWS, rows.n_rows)
    while sum(map(len, batches)) < wanted:
        batches.append(rows.batch(len(batches)))
    return np.concatenate(batches)[:wanted]


def _live(autoencoder: Autoencoder, found: xr.Dataset) -> NDArray[np.float32]:
    """A decoder, (latent, channel), with zeros for latents that never fire."""
    is_live = found["frequency"].values > 0
    return np.where(is_live[:, None], autoencoder.decoder, np.float32(0))


def _scalars(found: xr.Dataset, alike: dict[str, float]) -> xr.Dataset:
    """Numbers of the whole of a reconstruction, and of its decoder's agreement with the value's."""
    scalars = found[[name for name, variable in found.data_vars.items() if not variable.dims]]
    return scalars.drop_vars(list(scalars.coords)).assign(
        {name: quantity((), alike[name], long_name) for name, long_name in SUMMARY.items()}
    )


def _check(autoencoder: Autoencoder, options: SaeOptions, rows: Rows) -> None:
    shape = options.width(rows.n_channels), rows.n_channels
    if autoencoder.encoder.shape != shape or autoencoder.kind != options.kind:
        raise ValueError(
            f"the autoencoder is {autoencoder.kind} of shape {autoencoder.encoder.shape}, but "
            f"these options make {options.kind} of shape {shape}; give those that it was trained as"
        )
