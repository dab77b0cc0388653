"""Linear probes in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.probes.words import KIND, SCORE
from dvis.schema import USUAL_VARIABLE
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset, whose trajectories are those of scores."""
    return dataset.assign_attrs({USUAL_VARIABLE: SCORE})


PROBE_READER = Reader(kind=KIND, noun="probes", made_by="dvis probe", ready=_ready)


def probes(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    r"""What linear probes read off layers, lazy, in training order.

    What is read of a layer is brought to the mean 0 and the spread 1 of the training split. Classes
    are told by multinomial logistic regression, numbers by ridge regression (of those that run in a
    circle, such as hues, their sine and cosine), with the penalty of the least log loss, or the
    highest R^2, on the validation split. Nothing is learnt from the images that are held out.
    Scores are accuracies, or

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \bar y)^2}.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has probes.
    name : str, optional
        Which probes; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `score` and `score_se` (checkpoint, layer, target, split), float64: the score, whose
          `metric` (target) is "accuracy" or "r2", and its spread over bootstrap samples of the
          split's images, with the probe as it is. Splits are "train", "validation", "held-out";
        - `null_score` (checkpoint, layer, target, split, bound) and `shuffled_score` (checkpoint,
          layer, target, split): where 95 % of scores lie, and their mean, of probes that were
          trained and scored in the same way on targets exchanged among the images;
        - `untrained_score` (layer, target, split) and `pixel_score` (target, split), with errors
          `untrained_score_se` and `pixel_score_se`: of the same network untrained, NaN where there
          is none, and of the principal components of the images' pixels;
        - `majority_score`, float64, and `n`, int32 (target, split): of the commonest class of the
          training split or its mean, and of how many images;
        - `regularisation`, the C of the penalty (a ridge has alpha = 1 / C), `is_converged`,
          `n_steps`, and `n_unconverged`, of all fits behind a score, its null included (checkpoint,
          layer, target);
        - where `--keep-weights` was asked for, `weights` (checkpoint, layer, target, output, input)
          and `intercept` (checkpoint, layer, target, output), float32, of channels as they are:
          `output` is the number of a class, of which the largest is told, or of a number;
        - `status` (checkpoint, layer, target), uint8, as `dvis.open` has it;
        - coordinates `metric`, `n_classes` and `chance` (target), the score of guessing each class
          alike; `n_inputs` (layer); numbers of the training and coordinates as `dvis.open` has
          them. `attrs["classes"]` names the classes of each target.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no probes, or what is there is no dvis store.

    Notes
    -----
    That a probe reads something off a layer does not say that the network uses it. Standard errors
    are over images, not over training runs or splits. Targets are shuffled in the same way at every
    layer and checkpoint, so that nulls of neighbours are alike.

    Trajectories of scores are as any others: `ds.sel(split="held-out").dvis.births(baseline=
    "first")`; `ds.sel(split="held-out", target="shape").dvis.change_points()`, whose noise is
    `score_se`; `ds.dvis.tells_from()` has bounds.

    References
    ----------
    Alain and Bengio 2016, Understanding intermediate layers using linear classifier probes,
    arXiv:1610.01644. Hewitt and Liang 2019, Designing and interpreting probes with control tasks,
    arXiv:1909.03368.
    """
    return PROBE_READER.open(path_or_url, run, name, chunks=chunks, storage_options=storage_options)
