"""Which units are selective for a class, since when, and whether that is chance or trivial.

Statistics of units by class in, beside those of shuffled labels; what each unit is to be called and
when it became so out.
"""

from typing import Final

import numpy as np
import xarray as xr

from dvis.analysis.baselines import untrained_label
from dvis.analysis.births import births
from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.quantities import CLASS, SHUFFLE
from dvis.analysis.requirements import require
from dvis.schema import CHANNEL, CHECKPOINT, LATENT

SELECTIVE, COMMON, UNTRAINED = "selective", "common class", "as untrained"
UNSELECTIVE, NO_INDEX = "not selective", "absent"
STATES: Final = (SELECTIVE, UNTRAINED, COMMON, UNSELECTIVE, NO_INDEX)

COLORS = ("class", "birth")  # by what maps of units are coloured
LEVEL = 0.05  # at which an index is above the null
LEAST_SHUFFLES = 19  # of which the highest is that bound
_COMMON = 2.0  # equal shares of all samples from which a class is common
_ERRORS = 2.0  # standard errors by which an untrained unit is to be surpassed
_CANNOT_TELL = (
    "whether the model uses what a unit is selective for, or pixels would tell it as well; of so "
    f"many units {LEVEL:.0%} are above the null by chance".replace("%", " %")
)
_NO_UNTRAINED = "; whether the network untrained tells a class as well: no checkpoint is of step 0"


def judged(found: xr.Dataset, untrained: str | None = None) -> xr.Dataset:
    """What is to be said of units of which statistics by class are found.

    A bar for what is trivial is the best of all units untrained, which is strict: the more units a
    layer has, the better the best of them tells a class by chance.

    Parameters
    ----------
    found : Dataset
        Statistics of `class_statistics` over checkpoints, of channels (checkpoint, layer, channel)
        or latents (checkpoint, latent), with `n_of_class` (class).
    untrained : str, optional
        Checkpoint of the network before it learns; by default the one of step 0.

    Returns
    -------
    Dataset
        The same with

        - `selectivity_high`, the bound that one of 20 units exceeds by chance; `best_class_auroc`
          and `best_class_auroc_se`, by Hanley and McNeil;
        - `untrained_auroc` (layer, class), the highest of any unit of the layer untrained; NaN
          where no such checkpoint is there;
        - `state`: "not selective" where the index is within the null; "common class" where the best
          class has twice an equal share of samples or more; "as untrained" where a unit of the
          layer untrained tells the best class as well, to two standard errors; else "selective";
          "absent" where there is no index.

    Raises
    ------
    KeyError
        When there is no such untrained checkpoint.

    References
    ----------
    Hanley and McNeil (1982), The meaning and use of the area under a ROC curve,
    doi:10.1148/radiology.143.1.7063747.
    """
    unit = LATENT if LATENT in found.dims else CHANNEL
    index, best = found["selectivity"], found["best_class"]
    high = chance_bound(found["null_selectivity"])
    auroc = found["auroc"].isel({CLASS: best.clip(0)}, drop=True).where(best >= 0)
    auroc = auroc.drop_vars(CLASS, errors="ignore")
    share = found["n_of_class"] / found["n_of_class"].sum()
    own_share = share.isel({CLASS: best.clip(0)}).drop_vars(CLASS, errors="ignore")
    n_own = found["n_of_class"].isel({CLASS: best.clip(0)}).drop_vars(CLASS, errors="ignore")
    error = _auroc_error(auroc, n_own, found["n_of_class"].sum() - n_own)
    label = untrained_label(found, untrained)
    of_first = found["auroc"].isel({CHECKPOINT: 0}, drop=True)
    at = found["auroc"].sel({CHECKPOINT: label}, drop=True) if label else of_first * np.nan
    of_untrained = at.max(unit)
    own_untrained = of_untrained.isel({CLASS: best.clip(0)}).drop_vars(CLASS, errors="ignore")
    state = xr.full_like(index, SELECTIVE, dtype="U16")
    state = state.where(~(own_untrained >= auroc - _ERRORS * error), UNTRAINED)
    state = state.where(~(own_share >= _COMMON / (found["n_of_class"] > 0).sum()), COMMON)
    # Compared so that NaN, an unknown bound, is no index above one.
    state = state.where(index > high, UNSELECTIVE).where(index.notnull(), NO_INDEX)
    made = {
        "selectivity_high": (high, "index that one of 20 units exceeds by chance"),
        "best_class_auroc": (auroc, "AUROC of the best class against the rest"),
        "best_class_auroc_se": (error, "standard error of the best class's AUROC"),
        "untrained_auroc": (of_untrained, "highest AUROC of a unit of the layer untrained"),
    }
    described = {
        name: each.assign_attrs({"long_name": text, "units": "1"})
        for name, (each, text) in made.items()
    }
    state = state.astype(str).assign_attrs(long_name="whether the unit is selective", units="1")
    cannot_tell = _CANNOT_TELL if label else _CANNOT_TELL + _NO_UNTRAINED
    told = {"untrained_checkpoint": label, "cannot_tell": cannot_tell, EXCHANGEABLE: "labels"}
    return found.assign({**described, "state": state}).assign_attrs(told)


def selectivity_births(
    found: xr.Dataset, *, patience: int = 0, least_stay: int = 2, max_losses: int = 1
) -> xr.Dataset:
    """When each unit became selective: from when on its index stays above its null's 95 %.

    Parameters
    ----------
    found : Dataset
        What `selectivity` gave; of latents, whose numbers stay over checkpoints.
    patience, least_stay, max_losses : int, optional
        As `births` takes them.

    Returns
    -------
    Dataset
        As `births` gives it: "never" where the index is not above the null at the end. One unit of
        20 without an effect is above it at a checkpoint, so that as many born are no finding.

    Raises
    ------
    SchemaError
        When it is not what `selectivity` gave.
    ValueError, TypeError
        As `births` does.
    """
    require(
        found,
        "selectivity",
        "selectivity_high",
        labels=(CHECKPOINT,),
        advice="Give what dvis.selectivity gave",
    )
    is_above = (found["selectivity"] > found["selectivity_high"]).astype(float)
    is_above = is_above.where(found["selectivity"].notnull()).rename("index above its null")
    born = births(
        found,
        variable=is_above,
        patience=patience,
        least_stay=least_stay,
        max_losses=max_losses,
    )
    exchanged = {EXCHANGEABLE: "labels", "cannot_tell": found.attrs.get("cannot_tell", "")}
    return born.assign_attrs(exchanged)


def best_classes(found: xr.Dataset) -> xr.DataArray:
    """Best class at the last checkpoint of units whose index is above its null, "" of others."""
    last = found.isel({CHECKPOINT: -1})
    names = last[CLASS].values.astype(str)[last["best_class"].clip(0).values]
    is_above = (last["selectivity"] > last["selectivity_high"]).values
    texts = np.where(is_above, names, "")
    attrs = {"long_name": "best class"}
    return last["best_class"].copy(data=texts).rename("best class").assign_attrs(attrs)


def chance_bound(null: xr.DataArray) -> xr.DataArray:
    """What one of 20 exceeds by chance, of draws of a null (shuffle, ...).

    The value itself counts as one of them: of 19 draws it is the highest, of fewer there is no such
    bound, NaN.
    """
    n_draws = null.sizes[SHUFFLE]
    place = int(np.ceil((1 - LEVEL) * (n_draws + 1))) - 1
    if place >= n_draws:
        return (
            null.isel({SHUFFLE: 0}, drop=True) * np.nan if n_draws else null.sum(SHUFFLE) * np.nan
        )
    axis = null.get_axis_num(SHUFFLE)
    ordered = null.copy(data=np.sort(null.values, axis=axis))
    return ordered.isel({SHUFFLE: place}, drop=True)


def _auroc_error(auroc: xr.DataArray, n_own: xr.DataArray, n_rest: xr.DataArray) -> xr.DataArray:
    r"""Standard error of an AUROC A of n and m samples, by Hanley and McNeil (1982).

    .. math:: \sqrt{\frac{A (1-A) + (n-1) (A/(2-A) - A^2) + (m-1) (2A^2/(1+A) - A^2)}{n m}}
    """
    squared = auroc**2
    of_own = (n_own - 1) * (auroc / (2 - auroc) - squared)
    of_rest = (n_rest - 1) * (2 * squared / (1 + auroc) - squared)
    return ((auroc * (1 - auroc) + of_own + of_rest).clip(0) / (n_own * n_rest)) ** 0.5
