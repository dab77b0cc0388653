"""The samples that drive each latent most: each once, and where in them it fires."""

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.words import TOKEN
from dvis.kinds.saes.dims import LATENT, SCORE, quantity
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import Block, check_scores, encoded
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.options import Score
from dvis.schema import LEVELS

_LAST = np.iinfo(np.int64).max


def top_images(
    autoencoder: Autoencoder,
    rows: Rows,
    *,
    n_top: int = 16,
    scores: tuple[Score, ...] = ("max",),
    class_token: int | None = None,
) -> xr.Dataset:
    """The samples of each latent's highest scores, with maps of its codes.

    A sample's tokens become one number before samples are sorted, so that none is there twice.

    Parameters
    ----------
    autoencoder : Autoencoder
        Whose latents.
    rows : Rows
        Samples.
    n_top : int
        Samples of a latent; all, where there are fewer.
    scores : tuple of {"max", "mean", "sum", "cls"}
        By which of a sample's codes they are sorted; "cls" is the class token's.
    class_token : int, optional
        Place of the class token among a sample's tokens.

    Returns
    -------
    Dataset
        top_sample (score, latent, rank), the sample's id; top_position, its place among the rows'
        samples; top_value, its score. Equal scores are in the order of positions, also the zeros of
        latents that fire in fewer than `n_top` samples.
        top_map (score, latent, rank, token), uint8: codes, where 255 is map_scale (latent), the
        largest code of the latent in any sample.

    Raises
    ------
    ValueError
        When the rows do not fit the autoencoder or are not finite, or an option is out of range.
    """
    top = TopScores(autoencoder, rows, n_top, scores, class_token)
    for block in encoded(autoencoder, rows):
        top.add(block)
    return labelled_top(top, autoencoder, rows)


class TopScores:
    """Highest scores of each latent, gathered block by block, which may come in any order.

    Parameters
    ----------
    autoencoder, rows, n_top, scores, class_token
        As `top_images` takes them.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        rows: Rows,
        n_top: int,
        scores: tuple[Score, ...],
        class_token: int | None,
    ) -> None:
        check_scores(scores, class_token, rows.n_tokens)
        if n_top < 1:
            raise ValueError(f"n_top is {n_top}; give 1 or more images of a latent")
        self.scores, self._class_token = scores, class_token
        shape = len(scores), autoencoder.n_latents, min(n_top, rows.n_samples)
        self.values = torch.full(shape, -torch.inf)
        self.positions = torch.full(shape, _LAST, dtype=torch.int64)
        self.largest = torch.zeros(autoencoder.n_latents)

    def add(self, block: Block) -> None:
        """Take up a block."""
        self.largest.scatter_reduce_(0, block.pattern.latents, block.values, "amax")
        for n, score in enumerate(self.scores):
            new = block.scores(score, self._class_token).t()
            self._merge(n, new, torch.from_numpy(block.positions))

    def _merge(self, n: int, new: torch.Tensor, positions: torch.Tensor) -> None:
        kept, kept_positions = self.values[n], self.positions[n]
        if int(positions.min()) > int(kept_positions.max()):  # those that are later lose ties
            changed = (new > kept[:, -1:]).any(1).nonzero().squeeze(1)
        else:
            changed = torch.arange(len(new))
        values = torch.cat([kept[changed], new[changed]], 1)
        places = torch.cat([kept_positions[changed], positions.expand(len(changed), -1)], 1)
        by_position = places.argsort(1)
        values, places = values.gather(1, by_position), places.gather(1, by_position)
        order = values.sort(dim=1, descending=True, stable=True).indices[:, : kept.shape[1]]
        kept[changed], kept_positions[changed] = values.gather(1, order), places.gather(1, order)


def labelled_top(top: TopScores, autoencoder: Autoencoder, rows: Rows) -> xr.Dataset:
    """What `top_images` gives, of scores that a pass has gathered; a second pass makes the maps."""
    positions, scale = top.positions.numpy(), top.largest.numpy()
    dims = (SCORE, LATENT, RANK)
    variables = {
        "top_sample": quantity(dims, rows.sample_ids[positions], "id of a top image"),
        "top_position": quantity(dims, positions, "position of a top image"),
        "top_value": quantity(dims, top.values.numpy(), "score of a top image"),
        "top_map": quantity(
            (*dims, TOKEN), _maps(positions, scale, autoencoder, rows), "code on a top image"
        ),
        "map_scale": quantity(LATENT, scale, f"code that is {LEVELS} on its maps"),
    }
    lengths = zip((LATENT, RANK, TOKEN), (*positions.shape[1:], rows.n_tokens), strict=True)
    coordinates = {dim: np.arange(length) for dim, length in lengths}
    return xr.Dataset(variables, {SCORE: list(top.scores), **coordinates})


def _maps(
    positions: NDArray[np.int64], scale: NDArray[np.float32], autoencoder: Autoencoder, rows: Rows
) -> NDArray[np.uint8]:
    """Codes on top images, (score, latent, rank, token), of LEVELS levels above 0."""
    flat = positions.ravel()
    latents = np.broadcast_to(np.arange(len(scale))[:, None], positions.shape).ravel()
    order = np.argsort(flat, kind="stable")
    maps = np.zeros((len(flat), rows.n_tokens), np.uint8)
    for block in encoded(autoencoder, rows, only=np.unique(flat)):
        codes = block.pattern.dense(block.values).numpy()
        codes = codes.reshape(len(block.positions), rows.n_tokens, -1)
        for sample, position in enumerate(block.positions):
            first, last = np.searchsorted(flat[order], [position, position + 1])
            own = order[first:last]
            of_sample = codes[sample][:, latents[own]].T
            whole = np.maximum(scale[latents[own], None], np.finfo(np.float32).tiny)
            maps[own] = np.rint(LEVELS * (of_sample / whole))
    return maps.reshape(*positions.shape, rows.n_tokens)
