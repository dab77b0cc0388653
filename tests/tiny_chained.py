"""A store with chains of tiny autoencoders on autoencoders, and what is asked of them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_activations import options_of, store_of

from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.chains.options import ChainOptions
from dvis.kinds.saes.chains.plan import chain_saes
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions

LAYER, NAME, OTHER = "conv1", "wide", "fewer"
ONS = ("decoder", "codes")
SEEDS = (0, 4)
_BEFORE = "before.zarr"


def chain_options(store: Path, **changes: Any) -> ChainOptions:
    """Chains of two levels, of 6 and 3 latents below 16, at two checkpoints."""
    given: dict[str, Any] = {"checkpoints": ("all",), "split": "all", "widths": (6, 3), "k": 2}
    given |= {"seeds": SEEDS, "tokens": "1k", "batch_size": 256, "n_shuffles": 3}
    return ChainOptions(**{"store": store, "layer": LAYER, "name": NAME, **given, **changes})


def write_chains(folder: Path) -> Path:
    """Activations of two sets of images, autoencoders and what was found of them, and chains."""
    options = options_of(folder, layers=(LAYER,))
    keep_activations(options)
    keep_activations(replace(options, n_images=9, name=OTHER))
    store = store_of(options)
    how: dict[str, Any] = {"k": (2,), "expansion": (2.0,), "tokens": "2k", "batch_size": 256}
    how |= {"checkpoints": ("all",), "name": NAME, "activations": "shapes-val"}
    train_saes(TrainOptions(store=store, layer=LAYER, **how))
    evaluate_saes(
        EvaluateOptions(store=store, layer=LAYER, split="all", n_top=2, n_shuffles=1, probes=False)
    )
    shutil.copytree(store, store.with_name(_BEFORE))
    for on in ONS:
        assert chain_saes(chain_options(store, on=on)).n_measured == 2
    return store


def without_chains(store: Path, to: Path) -> Path:
    """A copy of a store as it was before it had chains."""
    return Path(shutil.copytree(store.with_name(_BEFORE), to))
