"""Labels that answer a wrong name with the right ones.

xarray answers a name that is not there with a bare KeyError. An index of our own says which of the
asked-for names are wrong, what there is, and the nearest.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from dvis.schema import CHECKPOINT, did_you_mean, nearest


class _AlignsWithPandasIndex(type):
    """Class of indexes that xarray aligns with its own.

    xarray aligns only indexes of equal classes: without this, `ds.reindex(layer=[...])` and sums
    with arrays that other programs labelled would raise an AlignmentError.
    """

    def __eq__(cls, other: object) -> bool:
        return other is PandasIndex or isinstance(other, _AlignsWithPandasIndex)

    def __hash__(cls) -> int:
        return hash(PandasIndex)


class LabelIndex(PandasIndex, metaclass=_AlignsWithPandasIndex):
    """xarray's own index, for text labels, with an error that helps."""

    # What xarray takes for `method` and gives back has no public name: Any.
    def sel(self, labels: dict[Any, Any], method: Any = None, tolerance: Any = None) -> Any:
        """Places of labels.

        No text lies between others: a `method` such as "nearest" is for the numbers that are asked
        for beside them, and labels are to be there.

        Raises
        ------
        KeyError
            When a label is not there: with the wrong ones, those there are, and the nearest.
        """
        try:
            return super().sel(labels)
        except KeyError as err:
            ((name, asked),) = labels.items()
            there = [str(label) for label in self.index]
            wrong = [label for label in _asked_labels(asked) if label not in there]
            if not wrong:  # something else is amiss, such as a slice between repeated labels
                raise
            text = _text(str(name), wrong, there)
            if method is not None and name == CHECKPOINT:
                text += (
                    f" method={method!r} is for numbers: take ds.dvis.at(step=1000), or "
                    "ds.swap_dims(checkpoint='step').sel(step=1000, method='nearest')."
                )
            raise KeyError(text) from err


def label_coordinates(
    dim: Hashable, labels: list[str], index: type[LabelIndex] = LabelIndex
) -> xr.Coordinates:
    """Coordinate of text labels along a dimension, fixed-width text on the outside."""
    text = np.array(labels, dtype=str)
    return xr.Coordinates.from_xindex(index(text, dim, coord_dtype=text.dtype))


def with_plain_text(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with fixed-width text for Zarr's StringDType, on which `.plot()` raises.

    All coordinates are put in at once: each time costs as much as reading one.
    """
    variables: dict[Hashable, xr.Variable] = {}
    indexes: dict[Hashable, LabelIndex] = {}
    for name, variable in dataset.coords.variables.items():
        if variable.dtype != np.dtypes.StringDType():
            continue
        text = np.array(variable.values.tolist(), dtype=str)
        if variable.dims == (name,):
            indexes[name] = LabelIndex(text, name, coord_dtype=text.dtype)
            variables |= indexes[name].create_variables()
        else:
            variables[name] = xr.Variable(variable.dims, text)
        variables[name].attrs = variable.attrs
    return dataset.assign_coords(xr.Coordinates(variables, indexes))


def _asked_labels(asked: Any) -> list[str]:
    """The labels in what `sel` was given for a dimension: one, several or a slice."""
    ends = [asked.start, asked.stop] if isinstance(asked, slice) else np.ravel(np.asarray(asked))
    return list(dict.fromkeys(str(end) for end in ends if end is not None))


def _text(name: str, wrong: list[str], there: list[str]) -> str:
    """What to say of wrong labels, of which there is at least one."""
    text = did_you_mean(name, wrong[0], there, "the Dataset")
    for label in wrong[1:10]:
        close = nearest(label, there)
        text += f" Nor is {label!r}" + (f" (did you mean {close!r}?)" if close else "") + " there."
    return text + (f" {len(wrong)} are wrong in all." if len(wrong) > 10 else "")
