"""Where units lie among each other, at each checkpoint, on axes that stay: for maps of them.

A vector a unit at each checkpoint in; positions on principal components, or cosines, out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.quantities import SHUFFLE, quantity
from dvis.analysis.requirements import require_some, require_whole_numbers

COMPONENT: Final = "component"
_TO = "_to"  # ends the name of a second axis of the same units
_MOST_PAIRED = 512  # units whose cosines are a null's
_CANNOT_TELL = (
    "whether units that are near on the map are near: cosines say that, of all dimensions. A unit "
    "moves where its vector, the mean of all, or the plane of most variance moves"
)


def unit_map(
    vectors: xr.DataArray, *, n_components: int = 2, n_shuffles: int = 20, seed: int = 0
) -> xr.Dataset:
    r"""Positions of units on principal components of each checkpoint, with axes that stay.

    At each checkpoint the components :math:`V_t` (entry, component) are those of the units'
    vectors about their mean. They are turned, within their plane, to those of the checkpoint before
    as they were turned, :math:`A_{t-1}`, by orthogonal Procrustes,

    .. math:: A_t = V_t U W^T, \quad U S W^T = V_t^T A_{t-1}

    in the space of entries, which all checkpoints share: neither which units there are nor their
    order matters, and signs are settled with the turn. A checkpoint at which all vectors are as
    before is where it was, to the last bit.

    Parameters
    ----------
    vectors : DataArray, (checkpoint, unit, entry)
        A vector a unit, NaN where there is none. The two last dims may have any names.
    n_components : int, optional
        Components.
    n_shuffles : int, optional
        Of each entry's values among units, for the null of what components explain.
    seed : int, optional
        Of the shuffles.

    Returns
    -------
    Dataset
        - `position` (checkpoint, unit, component), in units of the vectors, NaN of units without a
          vector, or where there are too few;
        - `explained` (checkpoint), share of the variance in the plane of all components, beside
          `null_explained` (checkpoint, shuffle);
        - `overlap` (checkpoint), mean squared cosine of the angles between the plane and that of
          the checkpoint before, 1 where it has not turned; `attrs["chance_overlap"]`, components
          over entries, is what planes at random have. Where the overlap is small, axes are new.

    Raises
    ------
    ValueError
        When there are not as many entries, a parameter is out of its range, or no checkpoint has
        enough units.

    References
    ----------
    Schönemann (1966), A generalized solution of the orthogonal Procrustes problem,
    doi:10.1007/BF02289451.
    """
    checkpoint, unit, entry = map(str, vectors.dims)
    require_some(vectors, checkpoint, unit, entry)
    require_whole_numbers(n_components=n_components, n_shuffles=n_shuffles, seed=seed)
    n_entries = vectors.sizes[entry]
    if not 1 <= n_components <= n_entries or n_shuffles < 0:
        raise ValueError(
            f"n_components is {n_components} and n_shuffles {n_shuffles}; give 1 to {n_entries} "
            "components and 0 or more shuffles"
        )
    # By label, so that the order in which units are given changes no bit.
    by_label = vectors.sortby(unit) if unit in vectors.coords else vectors
    values = by_label.values.astype(np.float64)
    planes: list[_Plane | None] = []
    last: _Plane | None = None
    for row, of_row in enumerate(values):
        if row and planes[-1] is not None and np.array_equal(of_row, values[row - 1], True):
            planes.append(planes[-1].again())
            continue
        made = _plane(of_row, n_components, n_shuffles, np.random.default_rng(seed), last)
        planes.append(made)
        last = made or last
    if last is None:
        raise ValueError(
            f"no checkpoint has {n_components + 1} units or more with a vector that varies; "
            "select a layer or checkpoints that have"
        )
    none = _Plane.nowhere(values.shape[1], n_components, n_entries, n_shuffles)
    known = [plane or none for plane in planes]
    of_unit = (checkpoint, unit, COMPONENT)
    variables = {
        "position": quantity(of_unit, [p.positions for p in known], "place on the component"),
        "explained": quantity(
            checkpoint, [p.explained for p in known], "share of variance that is in the plane"
        ),
        "null_explained": quantity(
            (checkpoint, SHUFFLE), [p.null for p in known], "the same, entries shuffled"
        ),
        "overlap": quantity(
            checkpoint, [p.overlap for p in known], "mean squared cosine with the plane before"
        ),
    }
    variables["explained"].attrs[EXCHANGEABLE] = "values of each entry among units"
    coords = {n: c for n, c in by_label.coords.items() if entry not in c.dims}
    found = xr.Dataset(variables, {**coords, COMPONENT: np.arange(n_components)})
    found = found.assign_attrs(
        chance_overlap=n_components / n_entries,
        cannot_tell=_CANNOT_TELL,
        n_components=n_components,
    )
    return found.sel({unit: vectors[unit].values}) if unit in vectors.coords else found


def unit_cosines(vectors: xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """Cosines of all pairs of units at each checkpoint.

    Parameters
    ----------
    vectors : DataArray, (checkpoint, unit, entry)
        As `unit_map` takes them. Select checkpoints first: there is a number a pair.
    seed : int, optional
        Of the null.

    Returns
    -------
    Dataset
        `cosine` (checkpoint, unit, unit_to), float32, NaN of units without a vector; and
        `null_cosine` (checkpoint), what one pair of 20 exceeds, in size, where each unit's values
        are shuffled over entries, of at most 512 units.
    """
    checkpoint, unit, entry = map(str, vectors.dims)
    require_some(vectors, checkpoint, unit, entry)
    generator = np.random.default_rng(seed)
    cosines, bounds = [], []
    for of_row in vectors.values.astype(np.float64):
        lengths = np.sqrt((of_row**2).sum(1, keepdims=True))
        unit_vectors = np.divide(
            of_row, lengths, out=np.full_like(of_row, np.nan), where=lengths > 0
        )
        cosines.append((unit_vectors @ unit_vectors.T).astype(np.float32))
        some = unit_vectors[np.isfinite(unit_vectors).all(1)][:_MOST_PAIRED]
        shuffled = generator.permuted(some, axis=1)
        pairs = np.abs(shuffled @ shuffled.T)[np.triu_indices(len(some), 1)]
        bounds.append(np.quantile(pairs, 0.95) if len(pairs) else np.nan)
    dims = (checkpoint, unit, f"{unit}{_TO}")
    variables = {
        "cosine": quantity(dims, cosines, "cosine of two units"),
        "null_cosine": quantity(checkpoint, bounds, "size that one pair of 20 exceeds, shuffled"),
    }
    variables["cosine"].attrs[EXCHANGEABLE] = "values of each unit among entries"
    coords = {n: c for n, c in vectors.coords.items() if entry not in c.dims}
    to = {f"{unit}{_TO}": vectors[unit].values}
    return xr.Dataset(variables, {**coords, **to})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plane:
    """The plane of most variance at a checkpoint, and where units lie on it."""

    axes: np.ndarray  # (entry, component), turned to those before
    positions: np.ndarray  # (unit, component)
    explained: float
    null: np.ndarray  # (shuffle,)
    overlap: float

    @classmethod
    def nowhere(cls, n_units: int, n_components: int, n_entries: int, n_shuffles: int) -> "_Plane":
        return cls(
            axes=np.full((n_entries, n_components), np.nan),
            positions=np.full((n_units, n_components), np.nan),
            explained=np.nan,
            null=np.full(n_shuffles, np.nan),
            overlap=np.nan,
        )

    def again(self) -> "_Plane":
        """The same a checkpoint later."""
        return _Plane(**{**vars(self), "overlap": 1.0})


def _plane(
    vectors: np.ndarray,
    n_components: int,
    n_shuffles: int,
    generator: np.random.Generator,
    before: _Plane | None,
) -> _Plane | None:
    """The plane of vectors (unit, entry), turned to the one before; None of too few."""
    is_known = np.isfinite(vectors).all(1)
    known = vectors[is_known]
    if len(known) <= n_components:
        return None
    centred = known - known.mean(0)
    total = (centred**2).sum()
    if not total > 0:
        return None
    _, lengths, right = np.linalg.svd(centred, full_matrices=False)
    axes = right[:n_components].T
    overlap = np.nan
    if before is None:  # the largest loading of each is positive, as scikit-learn has it
        largest = np.abs(axes).argmax(0)
        axes = axes * np.sign(axes[largest, np.arange(n_components)])
    else:
        left, cosines, other = np.linalg.svd(axes.T @ before.axes)
        axes, overlap = axes @ left @ other, float((cosines**2).mean())
    positions = np.full((len(vectors), n_components), np.nan)
    positions[is_known] = centred @ axes
    null = [
        _explained(generator.permuted(centred, axis=0), n_components) for _ in range(n_shuffles)
    ]
    return _Plane(
        axes=axes,
        positions=positions,
        explained=float((lengths[:n_components] ** 2).sum() / total),
        null=np.array(null),
        overlap=overlap,
    )


def _explained(centred: np.ndarray, n_components: int) -> float:
    """Share of variance that the first components of rows about their mean have."""
    n_rows, n_columns = centred.shape
    products = centred @ centred.T if n_rows < n_columns else centred.T @ centred
    values = np.linalg.eigvalsh(products)
    return float(values[-n_components:].sum() / values.sum())
