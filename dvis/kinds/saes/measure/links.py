"""Which latent of a checkpoint is which of the checkpoint before, and which numbers say so.

Correlations of codes in; links of latents out, and what two latents that are not one would reach.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dvis.kinds.saes.measure.likeness import Coder, Likeness, likeness
from dvis.kinds.saes.options import TrackMethod

LEAST_ROWS = 8  # in which a latent has to fire, so that its correlations mean something
LEVEL = 0.05
NONE = -1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Links:
    """A checkpoint's latents, and which latent of the checkpoint before each one is.

    Attributes
    ----------
    n_rows : array of int64, ()
        Rows that were encoded.
    n_fired : array of int64, (latent,)
        Rows in which each fires.
    nearest : array, (latent,)
        Largest correlation with another latent of the same autoencoder.
    previous : array of int64, (latent,)
        Latent of the checkpoint before that each is, -1 where it is none.
    similarity : array, (latent,)
        Correlation of its codes with those of its partner, link or not; NaN without one.
    least : array, ()
        Similarity that a link had to exceed; NaN at the first checkpoint.
    """

    n_rows: Ints
    n_fired: Ints
    nearest: Floats
    previous: Ints
    similarity: Floats
    least: Floats

    @property
    def is_alive(self) -> NDArray[np.bool_]:
        """Whether each latent fires in enough rows, (latent,)."""
        return self.n_fired >= LEAST_ROWS

    @property
    def frequency(self) -> Floats:
        """Share of rows in which each fires, (latent,)."""
        return self.n_fired / self.n_rows

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `arrays` gave."""
        return cls(**arrays)


def first_links(here: Coder) -> Links:
    """Latents of the first checkpoint, which have no partners."""
    found = likeness(here)
    width = len(found.n_fired)
    nothing = np.full(width, NONE), np.full(width, np.nan)
    return _links(found, *nothing, np.nan)


def links(
    here: Coder, before: Coder, latents: Links, method: TrackMethod, level: float = LEVEL
) -> Links:
    r"""Links of a checkpoint's latents to those of the checkpoint before.

    Candidates are latents of the same number, or for "match" the one-to-one matching of the largest
    sum of correlations of codes on the same rows,

    .. math:: \max_\pi \sum_i \mathrm{corr}(z_i, z'_{\pi(i)})

    among latents that fire. A candidate is a link where its correlation exceeds what two latents
    reach that are not the same one. For latents of the same number this is what is exceeded by a
    share `level` of all pairs of different numbers. A matched partner is the best of many, so it
    is held against the largest correlation that each latent has with another of its *own*
    autoencoder, at both checkpoints, of which a share `level` is larger.

    Parameters
    ----------
    here, before : Coder
        Autoencoders of a checkpoint and the one before.
    latents : Links
        Those of the checkpoint before.
    method : {"warm", "match", "shared"}
        Whether latents keep their numbers, or are matched.
    level : float
        Share of different latents that a threshold lets pass.

    Notes
    -----
    An autoencoder that has many of its latents twice raises the threshold of "match" towards 1, and
    tracks break: then it is too wide for what it is of, and no birth is a finding.
    """
    found = likeness(here, before)
    assert found.correlation is not None
    is_alive = found.n_fired >= LEAST_ROWS
    rows, columns = np.flatnonzero(latents.is_alive), np.flatnonzero(is_alive)
    some = found.correlation[np.ix_(rows, columns)]
    if method == "match":
        places = linear_sum_assignment(some, maximize=True)
        null = np.concatenate([latents.nearest[rows], found.nearest[columns]])
    else:
        _, *places = np.intersect1d(rows, columns, return_indices=True)
        null = some[rows[:, None] != columns]
    least = float(np.quantile(null, 1 - level)) if len(null) else 0.0
    previous = np.full(len(is_alive), NONE)
    similarity = np.full(len(is_alive), np.nan)
    similarity[columns[places[1]]] = some[places[0], places[1]]
    is_link = some[places[0], places[1]] > least
    previous[columns[places[1][is_link]]] = rows[places[0][is_link]]
    return _links(found, previous, similarity, least)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which latent of a second seed each latent is most like, one to one.

    Attributes
    ----------
    partner : array of int64, (latent,)
        -1 of latents that do not fire, or have none.
    similarity : array, (latent,)
        Correlation of the codes, NaN without a partner.
    """

    partner: Ints
    similarity: Floats

    def cosine(self, decoder: NDArray[Any], second: NDArray[Any]) -> Floats:
        """Cosine of each row of a decoder with its partner's, (latent,), NaN without one."""
        is_matched = self.partner != NONE
        out = np.full(len(self.partner), np.nan)
        out[is_matched] = cosines(decoder[is_matched], second[self.partner[is_matched]])
        return out


def second_seed(here: Coder, second: Coder) -> Match:
    """The one-to-one matching of latents with those of an autoencoder of another seed.

    Parameters
    ----------
    here, second : Coder
        Two autoencoders of the same rows.
    """
    own, found = likeness(second), likeness(here, second)
    assert found.correlation is not None
    rows = np.flatnonzero(own.n_fired >= LEAST_ROWS)
    columns = np.flatnonzero(found.n_fired >= LEAST_ROWS)
    some = found.correlation[np.ix_(rows, columns)]
    places = linear_sum_assignment(some, maximize=True)
    partner = np.full(len(found.n_fired), NONE)
    similarity = np.full(len(found.n_fired), np.nan)
    partner[columns[places[1]]] = rows[places[0]]
    similarity[columns[places[1]]] = some[places[0], places[1]]
    return Match(partner=partner, similarity=similarity)


def cosines(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Cosine of each row with the other's, (row,); NaN of a row of length 0."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(1)
    out: Floats = np.divide(products, lengths, out=np.full(len(one), np.nan), where=lengths > 0)
    return np.clip(out, -1.0, 1.0)


def _links(found: Likeness, previous: Ints, similarity: Floats, least: float) -> Links:
    return Links(
        n_rows=np.array(found.n_rows),
        n_fired=found.n_fired,
        nearest=found.nearest,
        previous=previous,
        similarity=similarity,
        least=np.array(least),
    )
