"""Samples of an image set as pictures show them: their thumbnails, classes, and places of tokens.

A store, ids and a group of activations in; arrays and texts out. Nothing here draws.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Self

import numpy as np
import xarray as xr

from dvis.schema import LEVELS, SchemaError
from dvis.store.contents import StoreLike
from dvis.store.datasets import SAMPLE, classes_of, open_dataset, thumbnails_of

_NO_STORE = "ids in place of pictures: this Dataset does not know its store; take what opened it"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is known of some samples.

    Attributes
    ----------
    thumbnails : mapping of str to ndarray, (y, x, colour), uint8 0-255
        By the sample's id; empty where the store keeps none.
    classes : mapping of str to str
        Name of each one's class.
    note : str
        Why there are no thumbnails, and how to get some; "" where there are.
    """

    thumbnails: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def of(cls, store: StoreLike | None, set_name: str | None, sample_ids: Iterable[str]) -> Self:
        """What a store knows of some samples of a set; ids of "" are none.

        Parameters
        ----------
        store : str, Path or Store, optional
            The store; without one nothing is known of the samples.
        set_name : str, optional
            What the set is called there: attribute `dataset` of a group made of it.
        sample_ids : iterable of str
            Ids of the samples, in any order; each may come several times.
        """
        ids = sorted({str(each) for each in sample_ids} - {""})
        if store is None or set_name is None:
            return cls(note=_NO_STORE)
        try:
            table = open_dataset(store, set_name)
            pictures = thumbnails_of(store, set_name, ids)
        except SchemaError as err:
            return cls(note=f"ids in place of pictures: {err}")
        classes = dict(zip(table[SAMPLE].values.tolist(), classes_of(table), strict=True))
        note = (
            f"ids in place of pictures: the store keeps no thumbnails of {set_name}; "
            "`dvis activations` into a new store keeps them"
        )
        return cls(
            thumbnails={} if pictures is None else dict(zip(ids, pictures, strict=True)),
            classes={each: classes[each] for each in ids if classes.get(each)},
            note=note if pictures is None else "",
        )


@dataclass(frozen=True, kw_only=True)
class TokenMap:
    """Where a layer's tokens lie on the picture.

    Attributes
    ----------
    row, column : ndarray of int, (token,)
        Their places on the layer's map; -1 of those that have none, such as class tokens.
    shape : tuple of int
        Rows and columns of the map; 0 where no token has a place.
    """

    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Self:
        """That of a Dataset of activations, with `row`, `column` and `is_special` (token)."""
        is_placed = (dataset["row"].values >= 0) & ~dataset["is_special"].values.astype(bool)
        row, column = (
            np.where(is_placed, dataset[name].values, -1).astype(int) for name in ("row", "column")
        )
        shape = int(row.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1
        # Of tokens that were drawn, the last row or column may be missing: most maps are square.
        n_all = int(dataset.attrs.get("n_all_tokens", 0)) - int(dataset["is_special"].sum())
        side = isqrt(max(n_all, 0))
        if shape[0] and side * side == n_all and side >= max(shape):
            shape = side, side
        return cls(row=row, column=column, shape=shape)

    @property
    def is_whole(self) -> bool:
        """Whether every place of the map has a token."""
        places = self.row[self.row >= 0] * self.shape[1] + self.column[self.row >= 0]
        return len(np.unique(places)) == self.shape[0] * self.shape[1]

    def on_picture(self, levels: np.ndarray, height: int, width: int) -> np.ndarray | None:
        """A stored map as shares of its scale, laid over a picture of this size.

        Parameters
        ----------
        levels : ndarray of uint8, (token,)
            The map, 255 for all of its scale.
        height, width : int
            Of the picture, which the map covers from edge to edge.

        Returns
        -------
        ndarray, (y, x), or None
            From 0 to 1, bilinear between the middles of the map's places; those without a token
            are 0, and the nearest place stands for each point then. None where nothing has a place.

        Examples
        --------
        >>> places = np.indices((2, 2)).reshape(2, -1)
        >>> tokens = TokenMap(row=places[0], column=places[1], shape=(2, 2))
        >>> tokens.on_picture(np.array([255, 0, 0, 0]), 2, 4).tolist()
        [[1.0, 0.75, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0]]
        """
        is_placed = self.row >= 0
        if not is_placed.any():
            return None
        grid = np.zeros(self.shape)
        grid[self.row[is_placed], self.column[is_placed]] = levels[is_placed] / LEVELS
        down, along = (
            _weights(n_to, n_from, is_smooth=self.is_whole)
            for n_to, n_from in zip((height, width), self.shape, strict=True)
        )
        return np.asarray(down @ grid @ along.T)


def _weights(n_to: int, n_from: int, *, is_smooth: bool) -> np.ndarray:
    """How much each place of a map has at each point of a picture, (point, place)."""
    places = np.clip((np.arange(n_to) + 0.5) * n_from / n_to - 0.5, 0, n_from - 1)
    places = places if is_smooth else np.floor(places + 0.5)
    return np.asarray(np.clip(1 - np.abs(places[:, None] - np.arange(n_from)), 0, None))
