"""Questions to responses: which classes of images drive which channels.

What `dvis.responses` gave in, a labelled Dataset out.
"""

from typing import Final, Literal, get_args

import numpy as np
import xarray as xr

from dvis.analysis.quantities import CLASS, quantity
from dvis.analysis.requirements import require, require_whole_numbers
from dvis.analysis.selectivity import LEAST_SHUFFLES, LEVEL, judged
from dvis.analysis.trajectories import of_complete_units, origin
from dvis.kinds.responses.words import IMAGE
from dvis.models.torch_guard import needing_torch
from dvis.schema import CHANNEL, CHECKPOINT, LATENT, LAYER, UNIT_DIMS, counted, did_you_mean

Negative = Literal["rectify", "shift"]
RESPONSE: Final = "response"
IMAGE_CLASS: Final = "image_class"
_NEEDS_CLASSES = (
    "Responses to labelled images have it: `dvis respond --dataset NAME` without --by-class, whose "
    "means have no labels to be shuffled"
)


def selectivity(
    dataset: xr.Dataset,
    *,
    negative: Negative = "rectify",
    n_shuffles: int = 39,
    seed: int = 0,
    untrained: str | None = None,
) -> xr.Dataset:
    r"""How selective each channel is for a class at each checkpoint, and whether that is trivial.

    Computes at once, a layer at a checkpoint in memory; the result has a number a class, so select
    layers first where there are many. With :math:`\mu_c` the mean response to
    class c the index is :math:`(\mu_{max} - \mu_{-max}) / (\mu_{max} + \mu_{-max})`, as for latents
    (`dvis.analysis.class_statistics`). It needs numbers that are not negative, so responses below 0
    count as 0, as after a ReLU; AUROC goes by the order of all responses as they are.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.responses` gave, of images with classes.
    negative : {"rectify", "shift"}, optional
        What index, entropy and shares are of: responses with those below 0 as 0, or less the unit's
        smallest one at that checkpoint, which a single image then moves.
    n_shuffles : int, optional
        Of labels over images, for the null: the same for all units and checkpoints.
    seed : int, optional
        Of the shuffles.
    untrained : str, optional
        Checkpoint of the network before it learns; by default the one of step 0.

    Returns
    -------
    Dataset, (checkpoint, layer, channel)
        - `selectivity`, in 0 to 1, `entropy` of class shares, in nats, `best_class`, the class of
          highest mean, -1 where there is none, `best_share`, `best_auroc`, the highest of any
          class, and `null_selectivity` and its like (and shuffle); NaN of units without a response
          above 0;
        - `class_mean`, `class_rate`, `auroc` (and class);
        - `negative_share`, of responses that are below 0;
        - `n_of_class` (class), images; and `state`, whether each unit is "selective", with what it
          is held against, as `dvis.analysis.selectivity.judged` says.

    Raises
    ------
    SchemaError
        When it holds no responses to images with classes.
    ValueError
        When fewer than two classes have images, an option is out of its range, or there are fewer
        than 19 shuffles, of which none is a bound of 5 %.
    KeyError
        When there is no such untrained checkpoint.
    ImportError
        When scipy is not installed.

    References
    ----------
    Morcos et al. (2018), On the importance of single directions for generalization,
    arXiv:1803.06959.
    """
    require(dataset, RESPONSE, labels=(*UNIT_DIMS, IMAGE, IMAGE_CLASS), advice=_NEEDS_CLASSES)
    if negative not in get_args(Negative):
        raise ValueError(did_you_mean("negative", negative, get_args(Negative), "selectivity"))
    require_whole_numbers(n_shuffles=n_shuffles, seed=seed)
    if n_shuffles < LEAST_SHUFFLES:
        raise ValueError(
            f"n_shuffles is {n_shuffles}; give {LEAST_SHUFFLES} or more: of fewer none is a bound "
            f"that {LEVEL:.0%} exceed".replace("%", " %")
        )
    for dim in UNIT_DIMS:
        dataset = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    names = dataset[IMAGE_CLASS].values.astype(str)
    classes, labels = np.unique(names[names != ""], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"the images have {counted(len(classes), 'class', 'classes')}; give two or more"
        )
    response = of_complete_units(dataset, dataset[RESPONSE]).isel({IMAGE: names != ""})
    rows = [
        xr.concat(
            [
                _of_layer(
                    response.isel({CHECKPOINT: row, LAYER: place}),
                    labels,
                    tuple(classes.tolist()),
                    negative,
                    n_shuffles,
                    seed,
                )
                for place in range(dataset.sizes[LAYER])
            ],
            LAYER,
        )
        for row in range(dataset.sizes[CHECKPOINT])
    ]
    found = xr.concat(rows, CHECKPOINT).transpose(*UNIT_DIMS, ...)
    kept = {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(UNIT_DIMS)}
    found = found.assign_coords(kept)
    found["n_of_class"] = quantity(CLASS, np.bincount(labels), "images of the class")
    told = {"negative": negative, "n_shuffles": n_shuffles, "seed": seed}
    return judged(found, untrained).assign_attrs({**origin(dataset), **told})


def _of_layer(
    response: xr.DataArray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    negative: Negative,
    n_shuffles: int,
    seed: int,
) -> xr.Dataset:
    """Statistics of the channels of a layer at a checkpoint, of responses (channel, image)."""
    with needing_torch("selectivity"):
        from scipy import sparse

        from dvis.analysis.class_statistics import class_statistics

    values = response.transpose(IMAGE, CHANNEL).values.astype(np.float64)
    is_known = np.isfinite(values).all(0)
    values[:, ~is_known] = 0  # of which nothing is above zero
    above_least = values - values.min(0)
    scores = np.maximum(values, 0) if negative == "rectify" else above_least
    found = class_statistics(
        sparse.csr_array(scores),
        labels,
        classes,
        ranked=sparse.csr_array(above_least),
        n_shuffles=n_shuffles,
        seed=seed,
    ).rename({LATENT: CHANNEL})
    found = found.assign_coords({CHANNEL: response[CHANNEL].values})
    for name in ("class_mean", "class_rate", "auroc"):
        found[name] = found[name].where(xr.DataArray(is_known, dims=CHANNEL))
    below = np.where(is_known, (values < 0).mean(0), np.nan)
    found["negative_share"] = quantity(CHANNEL, below, "share of responses below 0")
    return found
