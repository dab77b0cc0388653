"""Labels that answer a wrong name with the right ones.

xarray looks names up in pandas indexes, and a name that is not there is a bare KeyError. An index
of our own raises one that says what there is; xarray shows it above its own.
"""

from collections.abc import Hashable
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from dvis.schema import did_you_mean


class LabelIndex(pd.Index):
    """Pandas index of text labels; what it is not asked about a label, pandas answers."""

    # Made as xarray's own CFTimeIndex is: pandas has no other way to a kind of index.
    def __new__(cls, data: Any, name: Hashable = None, **_: Any) -> Self:
        """Index of labels, which are taken as they are."""
        index: Any = object.__new__(cls)  # with private parts of pandas, which no type tells
        index._data = np.asarray(data, dtype=object)
        index._name = name
        index._cache = {}
        index._reset_identity()
        return index  # type: ignore[no-any-return]

    def get_loc(self, key: Any) -> Any:
        """Place of a label.

        Raises
        ------
        KeyError
            When there is no such label: with those there are, and the nearest.
        """
        try:
            return super().get_loc(key)
        except KeyError:
            labels = [str(label) for label in self]
            raise KeyError(did_you_mean(str(self.name), str(key), labels, "the Dataset")) from None


def label_coordinates(dim: str, labels: list[str]) -> xr.Coordinates:
    """Coordinate of text labels along a dimension, fixed-width text on the outside.

    Zarr's StringDType is none on which `.plot()` works.
    """
    text = np.array(labels, dtype=str)
    index = xr.indexes.PandasIndex(LabelIndex(text, name=dim), dim, coord_dtype=text.dtype)
    return xr.Coordinates.from_xindex(index)
