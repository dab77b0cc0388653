r"""What a unit's development is read off: a measure without scale, where a Dataset has one.

An activation is a product of the gains of all layers below, so that gains which all grow at once
look like births. So by default it is taken in standard deviations of the unit's answers to
reference images at the same checkpoint,

.. math:: z_t = (a_t - m_t) / s_t,

and of responses to fixed images it is their correlation, over images, with the final responses.
A Dataset in, a DataArray over checkpoints out, which says in its attributes what it is.
"""

from typing import Literal, get_args

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require_dataset
from dvis.analysis.trajectories import RAW, counted, of_complete_units
from dvis.schema import CHECKPOINT, UNIT_DIMS, did_you_mean
from dvis.store.portable import nested

Measure = Literal["standardised", "correlation", "raw"]
STANDARDISED, CORRELATION, RAW_MEASURE = get_args(Measure)
GIVEN = "given"
_ACTIVATION, _ANSWER = RAW
_MEAN, _SD, _SET = "reference_mean", "reference_sd", "reference"
_MAX = "reference_max"
_LEAST_IMAGES = 3  # of two, every correlation is 1 or -1
# A spread below this share of the numbers that it is of is rounding of float32.
_LEAST_SPREAD = 1e-6
_BLOCK = 256  # units whose responses are copied at a time


def development(
    dataset: xr.Dataset,
    *,
    variable: str | xr.DataArray | None = None,
    measure: Measure | None = None,
) -> xr.DataArray:
    """Trajectories of units by a measure, NaN where they do not count.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` or `dvis.responses` gave.
    variable : str or DataArray, (checkpoint, ...), optional
        A variable as it is, or numbers of one's own, as `births` takes them.
    measure : {"standardised", "correlation", "raw"}, optional
        In place of a variable: activations in standard deviations of reference images, the
        correlation of responses with the final ones, or activations or responses as they are. By
        default the first of these that the Dataset allows, or the variable that its attribute
        `usual_variable` names.

    Returns
    -------
    DataArray, (checkpoint, ...)
        NaN where a unit is not complete, or has no spread over the images. Its attributes have
        `measure` ("given" of a variable) and `comment`, what it is and what it cannot tell. On dask
        where the Dataset is.

    Raises
    ------
    ValueError
        When both are given, or the Dataset does not have what a measure is made of; beside what
        `dvis.analysis.trajectories.counted` raises.
    """
    require_dataset(dataset)
    if variable is not None and measure is not None:
        raise ValueError(
            f"measure={measure!r} and a variable are given; give one of them: a variable is taken "
            "as it is"
        )
    if variable is not None:
        taken = counted(dataset, variable)
        is_raw = isinstance(variable, str) and variable in RAW
        return _told(taken, RAW_MEASURE if is_raw else GIVEN)
    measure = usual_measure(dataset) if measure is None else measure
    _check(dataset, measure)
    if measure == STANDARDISED:
        return _told(counted(dataset, _standardised(dataset)), measure)
    if measure == CORRELATION:
        return _told(counted(dataset, _correlation(dataset)), measure)
    return _told(counted(dataset), measure)


def usual_measure(dataset: xr.Dataset) -> Measure:
    """The measure that is meant where none is named: one without scale where there is one."""
    is_there = _there(dataset)
    usual: tuple[Measure, ...] = (STANDARDISED,) if _ACTIVATION in dataset else (CORRELATION,)
    return next((measure for measure in usual if is_there[measure]), RAW_MEASURE)


def _there(dataset: xr.Dataset) -> dict[str, bool]:
    """Whether a Dataset has what each measure is made of."""
    is_standardised = {_ACTIVATION, _MEAN, _SD} <= set(dataset)
    if is_standardised and dataset[_SD].chunks is None:
        is_standardised = bool(dataset[_SD].notnull().any())
    n_images = [dataset.sizes[dim] for dim in _image_dims(dataset)]
    return {
        STANDARDISED: is_standardised,
        CORRELATION: len(n_images) == 1 and n_images[0] >= _LEAST_IMAGES,
        RAW_MEASURE: True,
    }


def _check(dataset: xr.Dataset, measure: str) -> None:
    if measure not in get_args(Measure):
        raise ValueError(did_you_mean("measure", measure, get_args(Measure), "dvis"))
    if not _there(dataset)[measure]:
        needs = {
            STANDARDISED: "activations and reference_sd, which `dvis visualize` measures",
            CORRELATION: f"responses to {_LEAST_IMAGES} images or more, as dvis.responses gives",
        }
        raise ValueError(f"measure={measure!r} takes {needs[measure]}; this Dataset has none")


def _image_dims(dataset: xr.Dataset) -> list[str]:
    """Dims along which a unit at a checkpoint has several responses."""
    if _ANSWER not in dataset:
        return []
    of_parts = (*UNIT_DIMS, *(dataset["status"].dims if "status" in dataset else ()))
    return [str(dim) for dim in dataset[_ANSWER].dims if dim not in of_parts]


def _standardised(dataset: xr.Dataset) -> xr.DataArray:
    """Activations less the mean over reference images, in their standard deviations."""
    activation = of_complete_units(dataset, dataset[_ACTIVATION]).astype(float)
    mean, spread = dataset[_MEAN], dataset[_SD]
    size = np.maximum(np.abs(activation), np.abs(mean))
    is_known = (spread > _LEAST_SPREAD * size) & ~_is_of_one_image(dataset)
    found: xr.DataArray = (activation - mean) / spread.where(is_known)
    found = found.rename("standardised_activation")
    found.attrs = {
        "long_name": "activation in reference sd",
        "units": "1",
        "comment": (
            "activation of the feature image less the mean over reference images, in their "
            f"standard deviations at that checkpoint ({_sets(dataset)}); no value where these do "
            "not move the unit, or one of them alone does. It depends on these images, and an "
            "untrained unit that stands out among them as a trained one does is born at "
            f"once{_lacking(dataset, activation)}"
        ),
    }
    return found


def _is_of_one_image(dataset: xr.Dataset) -> xr.DataArray:
    r"""Whether a unit's spread over reference images is that of a single one.

    Where one of n moves it the highest lies nearly :math:`\sqrt n` deviations above the mean, where
    two do alike :math:`\sqrt{n / 2}`.
    """
    tables = nested(np.atleast_1d(dataset.attrs.get("references", [])))
    if not {_MAX, _SET} <= set(dataset) or not tables:
        return xr.zeros_like(dataset[_SD], dtype=bool)
    numbers = np.array([*(table["n_images"] for table in tables), np.nan], float)
    n_images = xr.apply_ufunc(
        lambda places: numbers[np.clip(places, -1, len(tables)).astype(int)],
        dataset[_SET],
        dask="parallelized",
        output_dtypes=[float],
    )
    height = (dataset[_MAX] - dataset[_MEAN]) / dataset[_SD]
    is_one: xr.DataArray = height > (n_images / 2) ** 0.5
    return is_one


def _sets(dataset: xr.Dataset) -> str:
    """The reference sets of a Dataset's units, in words; more than one is a caution."""
    tables = nested(np.atleast_1d(dataset.attrs.get("references", [])))
    places = [*range(len(tables))]
    if _SET in dataset and dataset[_SET].chunks is None:
        there = set(np.unique(of_complete_units(dataset, dataset[_SET])).tolist())
        places = [place for place in places if place in there]
    named = [f"{tables[i]['n_images']} images of {tables[i]['name']}" for i in places]
    if not named:
        return "of an unknown set"
    if len(named) == 1:
        return named[0]
    return f"{len(named)} different sets, which do not compare: {', '.join(named)}"


def _lacking(dataset: xr.Dataset, activation: xr.DataArray) -> str:
    """What is to be said of activations that were never held against reference images."""
    if activation.chunks is not None:
        return ""
    n = int((activation.notnull() & dataset[_SD].isnull()).sum())
    return f"; {n} activations without reference images are left out" if n else ""


def _correlation(dataset: xr.Dataset) -> xr.DataArray:
    """Correlation over images of a unit's responses with those at its last complete checkpoint."""
    (dim,) = _image_dims(dataset)
    answer = of_complete_units(dataset, dataset[_ANSWER])
    if answer.chunks is not None:
        answer = answer.chunk({CHECKPOINT: -1, dim: -1}).assign_coords(answer.coords)
    found: xr.DataArray = xr.apply_ufunc(
        _with_final,
        answer,
        input_core_dims=[[CHECKPOINT, dim]],
        output_core_dims=[[CHECKPOINT]],
        dask="parallelized",
        output_dtypes=["float64"],
    )
    found = found.transpose(*(each for each in answer.dims if each != dim))
    found = found.rename("response_correlation")
    found.attrs = {
        "long_name": "correlation with the final responses",
        "units": "1",
        "comment": (
            f"correlation over {dataset.sizes[dim]} {dim}s of a unit's responses with those at its "
            "last complete checkpoint; no value where they do not vary. A unit that answers from "
            "the first checkpoint as it does at the end is born there, whether it learnt that or "
            "not"
        ),
    }
    return found


def _with_final(answers: np.ndarray) -> np.ndarray:
    """Correlations (..., checkpoint) of answers (..., checkpoint, image) with the last ones."""
    units = answers.reshape(-1, *answers.shape[-2:])
    blocks = range(0, len(units), _BLOCK)
    found = [_correlations(units[start : start + _BLOCK].astype(float)) for start in blocks]
    empty = [np.zeros((0, answers.shape[-2]))]  # of no units, as dask tries it
    return np.concatenate(found or empty).reshape(answers.shape[:-1])


def _correlations(values: np.ndarray) -> np.ndarray:
    """Correlations (unit, checkpoint) of responses (unit, checkpoint, image)."""
    is_known = np.isfinite(values)
    last = values.shape[1] - 1 - is_known.any(axis=2)[:, ::-1].argmax(axis=1)
    unit = np.arange(len(values))
    # Images without a final response, as a class that has none, are left out.
    is_used = is_known[unit, last][:, None]
    n = is_used.sum(axis=2)
    used = np.where(is_used & is_known, values, 0.0)
    mean = used.sum(axis=2) / np.maximum(n, 1)
    centred = np.where(is_used, used - mean[..., None], 0.0)
    length = np.sqrt((centred**2).sum(axis=2))
    least = _LEAST_SPREAD * np.sqrt(n) * np.abs(used).max(axis=2, initial=0)
    is_told = (is_known | ~is_used).all(axis=2) & (length > least) & (n >= _LEAST_IMAGES)
    is_told &= is_told[unit, last][:, None]
    products = np.einsum("uti,ui->ut", centred, centred[unit, last])
    lengths = length * length[unit, last][:, None]
    found: np.ndarray = np.where(is_told, products / np.where(is_told, lengths, 1.0), np.nan)
    return found


def _told(trajectories: xr.DataArray, measure: str) -> xr.DataArray:
    """Trajectories that say which measure they are, and what it cannot tell."""
    comment = str(trajectories.attrs.get("comment", ""))
    if measure == RAW_MEASURE and trajectories.name not in RAW:
        measure = GIVEN  # the Dataset's own, which has no scale
    if measure == RAW_MEASURE:
        comment = (
            f"raw {trajectories.name}s: each is a product of the gains of all layers below, so "
            "that gains which grow at once look like births, and like an order of layers"
        )
    return trajectories.assign_attrs(measure=measure, comment=comment)
