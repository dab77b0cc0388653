"""A store of a tiny network's activations of digits, with autoencoders of two checkpoints."""

from pathlib import Path
from typing import Any

from tiny_activations import options_of, store_of

from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions

LAYER, NAME, N_LATENTS, N_IMAGES = "conv2", "small", 16, 300


def write_latents(folder: Path) -> Path:
    """Keep activations, train autoencoders by a warm start and evaluate them; the store."""
    options = options_of(
        folder, 2, layers=(LAYER,), dataset="digits", n_images=N_IMAGES, split="train"
    )
    keep_activations(options)
    store = store_of(options)
    given: dict[str, Any] = {"k": (3,), "tokens": "20k", "batch_size": 256, "name": NAME}
    given |= {"n_latents": N_LATENTS, "checkpoints": ("all",), "warm_start": True}
    train_saes(TrainOptions(store=store, layer=LAYER, **given))
    evaluate_saes(EvaluateOptions(store=store, layer=LAYER, name=NAME, split="all", n_top=8))
    return store
