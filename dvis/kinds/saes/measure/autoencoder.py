"""A trained sparse autoencoder as plain arrays: rows in, codes and reconstructions out."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dvis.kinds.saes.measure.sparse import Pattern, pattern_of, top_of_batch, top_of_rows
from dvis.kinds.saes.options import SaeKind

Floats = NDArray[np.float32]
UNSET_THRESHOLD = -1.0


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    r"""Weights of a sparse autoencoder in the units of its rows.

    .. math:: z = s(E (x - b_d) + b_e), \quad \hat x = D^T z + b_d

    Parameters
    ----------
    encoder, decoder : array, (latent, channel), float32
        E and D.
    encoder_bias : array, (latent,), float32
        b_e, in units of the rows.
    decoder_bias : array, (channel,), float32
        b_d, in units of the rows.
    threshold : array, (latent,), float32
        What a code must exceed, in units of the rows, for batchtopk and jumprelu; -1 where no
        training step has set it.
    kind : str
        The rule s, as in `SaeOptions`.
    k : int
        Active codes of a row.

    Raises
    ------
    ValueError
        When shapes do not fit each other.
    """

    encoder: Floats
    decoder: Floats
    encoder_bias: Floats
    decoder_bias: Floats
    threshold: Floats
    kind: SaeKind
    k: int

    def __post_init__(self) -> None:
        width, n_channels = self.encoder.shape
        wanted = {
            "decoder": (width, n_channels),
            "encoder_bias": (width,),
            "decoder_bias": (n_channels,),
            "threshold": (width,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, but the encoder has "
                    f"{width} latents of {n_channels} channels; give shape {shape}"
                )

    @property
    def n_latents(self) -> int:
        """Latents."""
        return int(self.encoder.shape[0])

    @property
    def n_channels(self) -> int:
        """Channels of a row."""
        return int(self.encoder.shape[1])

    def encode(self, rows: ArrayLike, *, by_batch: bool = False) -> Floats:
        """Codes of rows.

        Parameters
        ----------
        rows : array, (..., channel)
            Activations.
        by_batch : bool
            The rule of training, by which batchtopk chooses among the codes of all these rows.
            Otherwise a code depends on its row alone.

        Returns
        -------
        array, (..., latent), float32
            Codes in units of the rows.

        Raises
        ------
        ValueError
            When the rows have another number of channels, or are not finite.

        Warns
        -----
        UserWarning
            When batchtopk has no threshold yet, and the rule of training is used.
        """
        array = self._checked(rows, self.n_channels, "channels")
        flat = torch.from_numpy(array.reshape(-1, self.n_channels))
        pattern, values = self.active(flat, by_batch=by_batch)
        codes: Floats = pattern.dense(values).numpy()
        return codes.reshape(*array.shape[:-1], self.n_latents)

    def decode(self, codes: ArrayLike) -> Floats:
        """Reconstructions, (..., channel), of codes, (..., latent), in units of the rows."""
        array = self._checked(codes, self.n_latents, "latents")
        out: Floats = array @ self.decoder + self.decoder_bias
        return out

    def reconstruct(self, rows: ArrayLike) -> Floats:
        """Reconstructions, (..., channel), of rows, (..., channel)."""
        return self.decode(self.encode(rows))

    def active(self, rows: Tensor, *, by_batch: bool = False) -> tuple[Pattern, Tensor]:
        """Active codes of rows, (row, channel), by the rule of `encode`, and their values."""
        centred = rows - torch.from_numpy(self.decoder_bias)
        pre_codes = torch.addmm(
            torch.from_numpy(self.encoder_bias), centred, torch.from_numpy(self.encoder).t()
        )
        if self.kind == "topk":
            return top_of_rows(pre_codes, self.k)
        if self.kind == "batchtopk" and not by_batch and (self.threshold < 0).any():
            warnings.warn(
                "this batchtopk autoencoder has no threshold yet: codes are chosen among the rows "
                "given. Train it for a step, or encode with by_batch=True",
                stacklevel=3,
            )
            by_batch = True
        if self.kind == "batchtopk" and by_batch:
            return top_of_batch(pre_codes, self.k)
        pattern = pattern_of(pre_codes > torch.from_numpy(self.threshold.clip(0)))
        return pattern, pre_codes[pattern.rows, pattern.latents]

    def _checked(self, values: ArrayLike, length: int, what: str) -> Floats:
        array: Any = np.ascontiguousarray(values, dtype=np.float32)
        if array.ndim < 1 or array.shape[-1] != length:
            raise ValueError(
                f"values of shape {array.shape} for {length} {what}; give (..., {length})"
            )
        if not np.isfinite(array).all():
            raise ValueError("some values are not finite; leave those rows out")
        return array  # type: ignore[no-any-return]  # numpy's stubs lose the type
