"""How a result carries its null: the same computation on what holds no effect.

A result in one of two forms in, its value and the band of its null out.

- A dimension `control`, whose first row is `value`; every other row is named for what was exchanged
  before the same was computed again: `units exchanged`, `labels permuted`, `untrained network`.
- A variable `null_NAME` beside NAME: where the middle of the null lies (a dimension `bound` of
  lower and upper), or its quantiles or draws along a dimension of their own.

The attribute `exchangeable` of either, or of its Dataset, says what the null exchanges.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from dvis.analysis.ranking import QUANTILE
from dvis.analysis.resampling import BOUND
from dvis.schema import did_you_mean

CONTROL, VALUE = "control", "value"
EXCHANGEABLE = "exchangeable"


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """A value and the band of its null, of the same dims.

    Attributes
    ----------
    value : DataArray, (...)
        What was found.
    low, high : DataArray, (...)
        Between which the null lies; NaN where it is not known.
    exchanged : str
        What the null exchanges.
    """

    value: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    exchanged: str


def with_control(
    value: xr.DataArray, controls: Mapping[str, xr.DataArray], exchangeable: str
) -> xr.DataArray:
    """A value and what the same gives without an effect, along a dimension `control`.

    Parameters
    ----------
    value : DataArray, (...)
        What was found.
    controls : mapping of str to DataArray, (...)
        The same of what holds no effect, by what was exchanged for it.
    exchangeable : str
        What may be exchanged where there is no effect, in a few words.

    Returns
    -------
    DataArray, (control, ...)

    Raises
    ------
    ValueError
        When there is no control, or one is called as the value is.

    Examples
    --------
    >>> found = with_control(xr.DataArray(0.9), {"units exchanged": xr.DataArray(0.2)}, "units")
    >>> found.sel(control="units exchanged").item(), found.attrs["exchangeable"]
    (0.2, 'units')
    """
    if not controls or VALUE in controls:
        raise ValueError(
            f"controls are {', '.join(map(repr, controls)) or 'none'}; give one or more, each "
            "called by what was exchanged"
        )
    rows = xr.concat([value, *controls.values()], dim=CONTROL, coords="minimal", compat="override")
    rows = rows.assign_coords({CONTROL: [VALUE, *controls]})
    return rows.assign_attrs({**value.attrs, EXCHANGEABLE: exchangeable})


def controlled(dataset: xr.Dataset, name: str) -> Controlled:
    """A variable's value and the band of its null, in whichever form it has one.

    Where both are distributions along a dimension `quantile`, the value is its median and the band
    reaches from the lowest to the highest quantile of the null that is there.

    Parameters
    ----------
    dataset : Dataset
        A result.
    name : str
        A variable of it.

    Raises
    ------
    KeyError
        When there is no such variable.
    ValueError
        When it has no null.
    """
    if name not in dataset:
        names = [str(each) for each in dataset.data_vars]
        raise KeyError(did_you_mean("variable", name, names, "this Dataset"))
    value, beside = dataset[name], f"null_{name}"
    exchanged = str(value.attrs.get(EXCHANGEABLE, dataset.attrs.get(EXCHANGEABLE, "")))
    if CONTROL in value.dims:
        null = value.sel({CONTROL: value[CONTROL].values != VALUE})
        value = value.sel({CONTROL: VALUE}, drop=True)
        exchanged = exchanged or ", ".join(map(str, null[CONTROL].values))
    elif beside in dataset:
        null = dataset[beside]
    else:
        raise ValueError(
            f"{name} has no null: neither a dimension {CONTROL!r} nor a variable {beside!r}"
        )
    if BOUND in null.dims:
        low, high = (null.isel({BOUND: place}, drop=True) for place in (0, 1))
    elif QUANTILE in null.dims:
        value = value.sel({QUANTILE: 0.5}, drop=True) if QUANTILE in value.dims else value
        low, high = (null.isel({QUANTILE: place}, drop=True) for place in (0, -1))
    else:
        low = high = null
    dims = [dim for dim in null.dims if dim not in (*value.dims, BOUND, QUANTILE)]
    return Controlled(value=value, low=low.min(dims), high=high.max(dims), exchanged=exchanged)
