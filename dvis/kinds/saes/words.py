"""The words of sparse autoencoders: the arrays of a group, one autoencoder a checkpoint.

{run}/saes/{layer}/{name}/    encoder, decoder (checkpoint, latent, channel); encoder_bias,
threshold (checkpoint, latent); decoder_bias (checkpoint, channel); fvu, l0, ... (checkpoint,
log_step); scale, status (checkpoint); began_from (checkpoint) of those trained by a warm start

{run}/saes/{layer}/{name}.{method}-tracks/    see `tracks.words`
{run}/saes/{layer}/{name}.chain-{on}/    see `chains.words`

{run}/saes/{layer}/{name}.evaluation/    ev, l0, ... (checkpoint); frequency, selectivity, ...
(checkpoint, latent); top_sample, top_value (checkpoint, score, latent, rank), top_map (and token);
class_mean, ... (checkpoint, latent, class); null_... (checkpoint, shuffle, latent); status;
where they were asked for control_ev, ... (checkpoint, control); loss_sae, recovered, ...
(checkpoint); effect (checkpoint, control, latent, class); mono_score (checkpoint, latent)

of samples with labels probe_accuracy, ... (checkpoint); probe_latent, ... (checkpoint, class)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dvis.analysis.control import CONTROL, EXCHANGEABLE
from dvis.analysis.ranking import RANK
from dvis.kinds.activations.words import TOKEN
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE, SHUFFLE
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    CHECKPOINT_COORDINATES,
    SOURCE,
    TEXT,
    Status,
    VariableSpec,
    Words,
    spec,
    status_spec,
)

KIND = "saes"
LOG_STEP: Final = "log_step"
DENSE, OFTEN = 0.1, 0.01  # shares of rows in which a latent fires that count as dense, and often
BEGAN_FROM: Final = "began_from"
TRACKED: Final = "tracked"  # attribute of tracks: of which autoencoders they are
CHAINED: Final = "chained"  # attribute of chains: with which autoencoders they begin
POOLED: Final = "pooled"  # attribute of one autoencoder for all checkpoints
WEIGHTS = ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold")
LOGGED = {
    "fvu": "share of the variance that is not reconstructed",
    "l0": "active latents a row",
    "n_dead": "dead latents",
    "learning_rate": "learning rate",
    "grad_norm": "norm of all gradients before they are clipped",
}
OF_ALL = {
    "ev": "explained variance",
    "mse": "mean squared error",
    "l0": "active latents of a row",
    "l1": "sum of a row's codes",
    "cosine": "cosine of rows with their reconstructions",
}
COUNTS = {
    "n_dead": "latents that never fire",
    "n_dense": "latents above 0.1 of rows",
    "n_often": "latents above 0.01 of rows",
}
OF_LATENT = {
    "frequency": "share of rows in which it fires",
    "mean": "mean code where it fires",
    "max": "largest code",
    "map_scale": "code that is 255 on its maps",
}
OF_CLASSES = {
    "best_share": "share of its best class in all scores",
    "best_auroc": "highest AUROC of any class",
    "selectivity": "class selectivity",
    "entropy": "entropy of classes",
}
OF_CLASS = {
    "class_mean": "mean score of a class",
    "class_rate": "share of a class that fires it",
    "auroc": "AUROC of a class against the rest",
}
AGREEMENT = {
    "mean_max_cosine": "mean of the largest cosines with the control's decoder",
    "mean_matched_cosine": "mean of the matched cosines with the control's decoder",
    "share_alike": "share of matched cosines with the control's decoder above 0.9",
}
DOWNSTREAM = {
    "loss_clean": "loss of the model",
    "loss_sae": "loss with reconstructions for the layer's rows",
    "loss_mean": "loss with the mean row for each",
    "loss_zero": "loss with zeros for the layer's rows",
    "recovered": "share of the loss that is recovered",
}
PROBE_ACCURACIES = {
    "probe_accuracy": "accuracy of a linear probe of rows",
    "probe_accuracy_sae": "accuracy of the probe of rows on reconstructions",
    "probe_accuracy_retrained": "accuracy of a linear probe of reconstructions",
    "probe_accuracy_codes": "accuracy of a linear probe of codes",
    "probe_chance": "accuracy of always telling the commonest class",
}
PROBES = {
    **PROBE_ACCURACIES,
    "probe_latent": "latent that tells a class best among training samples",
    "probe_latent_auroc": "AUROC of that latent among samples held out",
}
EFFECT, N_EFFECT_IMAGES = "effect", "n_effect_images"
MONO_SCORE, NULL_MONO_SCORE, MEAN_COSINE = "mono_score", "null_mono_score", "mean_cosine"
CONTROLLED = (*OF_ALL, *COUNTS, *AGREEMENT)  # of which `control_...` are kept
_EXCHANGED = "weights: random, frozen where they started, of another seed or an untrained network"
_MAPS_CHUNK, _TOKENS_CHUNK = 64, 1024
_CHUNK_ITEMS = 2**23  # of float32: 32 MB
_LOG_CHUNK = 1024
_CLASS_ITEMS = 2**18  # of float64: 2 MB


def is_evaluation(attrs: Mapping[str, Any]) -> bool:
    """Whether a group holds what was found of autoencoders, not the autoencoders."""
    return "evaluated" in attrs


def is_tracks(attrs: Mapping[str, Any]) -> bool:
    """Whether a group holds tracks of latents over checkpoints."""
    return TRACKED in attrs


def is_chains(attrs: Mapping[str, Any]) -> bool:
    """Whether a group holds chains of autoencoders on autoencoders."""
    return CHAINED in attrs


def is_autoencoders(attrs: Mapping[str, Any]) -> bool:
    """Whether a group holds autoencoders themselves."""
    return not (is_evaluation(attrs) or is_tracks(attrs) or is_chains(attrs))


def sae_words(*, n_latents: int = 1, n_channels: int = 1) -> Words:
    """Words of a group, with chunks for so many latents and channels."""
    n_rows = max(1, min(n_latents, _CHUNK_ITEMS // max(1, n_channels)))
    matrix = {"chunks": (1, n_rows, n_channels)}
    of_latents, of_channels = {"chunks": (1, n_latents)}, {"chunks": (1, n_channels)}
    of_log = {"chunks": (1, _LOG_CHUNK)}
    of_latent, nan = (CHECKPOINT, LATENT), np.nan
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        LATENT: spec((LATENT,), "int32", -1, "latent"),
        CHANNEL: spec((CHANNEL,), "int32", -1, "channel"),
        LOG_STEP: spec((LOG_STEP,), "int64", -1, "step of the autoencoder's training"),
        "encoder": spec((*of_latent, CHANNEL), "float32", nan, "encoder", layout=matrix),
        "decoder": spec((*of_latent, CHANNEL), "float32", nan, "decoder", layout=matrix),
        "encoder_bias": spec(of_latent, "float32", nan, "encoder bias", layout=of_latents),
        "decoder_bias": spec(
            (CHECKPOINT, CHANNEL), "float32", nan, "decoder bias", layout=of_channels
        ),
        "threshold": spec(
            of_latent, "float32", nan, "what a code must exceed, -1: nothing", layout=of_latents
        ),
        **{
            name: spec((CHECKPOINT, LOG_STEP), "float64", nan, long_name, layout=of_log)
            for name, long_name in LOGGED.items()
        },
        "scale": spec((CHECKPOINT,), "float64", nan, "factor by which rows were multiplied"),
        BEGAN_FROM: spec(
            (CHECKPOINT,), TEXT, "", "checkpoint from whose autoencoder it began", is_optional=True
        ),
        "status": status_spec((CHECKPOINT,), "autoencoder", Status),
        f"{SOURCE}/problem": spec((CHECKPOINT,), TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec((CHECKPOINT,), "uint64", 0, "hash of the checkpoint's weights"),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        noun="sparse autoencoders",
        said={
            "layer": (str, "of which layer's activations they are"),
            "kind": (str, "how their codes are made sparse"),
            "k": (int, "how many latents are active in a row"),
        },
    )


def evaluation_words(*, n_latents: int = 1, n_classes: int = 1, n_top: int = 1) -> Words:
    """Words of what was found of autoencoders, with chunks for so many latents."""
    of_latents, nan = {"chunks": (1, n_latents)}, np.nan
    top = {"chunks": (1, 1, n_latents, n_top)}
    maps = {"chunks": (1, 1, min(n_latents, _MAPS_CHUNK), n_top, _TOKENS_CHUNK)}
    n_rows = _rows_of_classes(n_latents, n_classes)
    shuffled, classes = {"chunks": (1, 1, n_latents)}, {"chunks": (1, n_rows, n_classes)}
    of_top = (CHECKPOINT, SCORE, LATENT, RANK)
    arrays: dict[str, VariableSpec] = {
        **CHECKPOINT_COORDINATES,
        LATENT: spec((LATENT,), "int32", -1, "latent"),
        SCORE: spec((SCORE,), TEXT, "", "how tokens of an image make one score"),
        RANK: spec((RANK,), "int32", -1, "rank of a top image"),
        TOKEN: spec((TOKEN,), "int32", -1, "token"),
        CLASS: spec((CLASS,), TEXT, "", "class"),
        SHUFFLE: spec((SHUFFLE,), "int32", -1, "shuffle of the labels"),
        **{n: spec((CHECKPOINT,), "float64", nan, what) for n, what in OF_ALL.items()},
        **{n: spec((CHECKPOINT,), "int64", -1, what) for n, what in COUNTS.items()},
        **{
            n: spec((CHECKPOINT, LATENT), "float64", nan, what, layout=of_latents)
            for n, what in {**OF_LATENT, **OF_CLASSES}.items()
        },
        "best_class": spec(
            (CHECKPOINT, LATENT), "int64", -1, "class of highest mean", layout=of_latents
        ),
        **{
            f"null_{n}": spec(
                (CHECKPOINT, SHUFFLE, LATENT),
                "float64",
                nan,
                f"{what}, labels shuffled",
                layout=shuffled,
            )
            for n, what in OF_CLASSES.items()
        },
        **{
            n: spec((CHECKPOINT, LATENT, CLASS), "float64", nan, what, layout=classes)
            for n, what in OF_CLASS.items()
        },
        "top_sample": spec(of_top, TEXT, "", "id of a top image", layout=top),
        "top_value": spec(of_top, "float32", nan, "score of a top image", layout=top),
        "top_map": spec((*of_top, TOKEN), "uint8", 0, "code on a top image", layout=maps),
        **_asked_for(n_latents, n_classes),
        "status": status_spec((CHECKPOINT,), "evaluation", Status),
        f"{SOURCE}/problem": spec((CHECKPOINT,), TEXT, "", "what was wrong"),
        f"{SOURCE}/weights": spec((CHECKPOINT,), "uint64", 0, "hash of the autoencoder's weights"),
    }
    return Words(
        kind=KIND,
        arrays=arrays,
        noun="sparse autoencoders",
        is_of_others=True,
        said={"layer": (str, "of which layer"), "evaluated": (str, "of which autoencoders it is")},
    )


def _rows_of_classes(n_latents: int, n_classes: int) -> int:
    """Latents of a chunk that has all classes: some of them, as a page asks for one latent."""
    return max(1, min(n_latents, _CLASS_ITEMS // max(1, n_classes)))


def _asked_for(n_latents: int, n_classes: int) -> dict[str, VariableSpec]:
    """What an evaluation has once it is asked for, NaN where it was not."""
    nan, of_latents = np.nan, {"chunks": (1, n_latents)}
    n_rows = _rows_of_classes(n_latents, n_classes)
    shuffled, moved = {"chunks": (1, 1, n_latents)}, {"chunks": (1, 1, n_rows, n_classes)}
    exchanged: dict[str, Any] = {EXCHANGEABLE: _EXCHANGED}
    scored: dict[str, Any] = {EXCHANGEABLE: "embeddings of images"}
    taken_out: dict[str, Any] = {EXCHANGEABLE: "direction that is taken out"}
    of_latent, of_null = (CHECKPOINT, LATENT), (CHECKPOINT, SHUFFLE, LATENT)
    numbers = {**OF_ALL, **COUNTS, **AGREEMENT}
    arrays = {
        CONTROL: spec((CONTROL,), TEXT, "", "value, or what was exchanged"),
        **{
            f"{CONTROL}_{n}": spec((CHECKPOINT, CONTROL), "float64", nan, what, **exchanged)
            for n, what in numbers.items()
        },
        **{n: spec((CHECKPOINT,), "float64", nan, what) for n, what in DOWNSTREAM.items()},
        EFFECT: spec(
            (CHECKPOINT, CONTROL, LATENT, CLASS),
            "float32",
            nan,
            "change of the logit where the latent is taken out",
            layout=moved,
            **taken_out,
        ),
        N_EFFECT_IMAGES: spec(
            of_latent, "int64", -1, "images in which it was taken out", layout=of_latents
        ),
        MONO_SCORE: spec(
            of_latent, "float64", nan, "weighted mean cosine", layout=of_latents, **scored
        ),
        NULL_MONO_SCORE: spec(
            of_null, "float64", nan, "weighted mean cosine, images shuffled", layout=shuffled
        ),
        **_of_probes(n_classes),
        MEAN_COSINE: spec((CHECKPOINT,), "float64", nan, "mean cosine of all pairs of images"),
    }
    return {name: replace(each, is_optional=True) for name, each in arrays.items()}


def _of_probes(n_classes: int) -> dict[str, VariableSpec]:
    """What an evaluation has of probes, where there are samples with labels."""
    nan, of_classes, chunks = np.nan, (CHECKPOINT, CLASS), {"chunks": (1, n_classes)}
    latent, auroc = "probe_latent", "probe_latent_auroc"
    exchanged: dict[str, Any] = {EXCHANGEABLE: "labels of samples"}
    return {
        latent: spec(of_classes, "int64", -1, PROBES[latent], layout=chunks),
        auroc: spec(of_classes, "float64", nan, PROBES[auroc], layout=chunks, **exchanged),
        f"null_{auroc}": spec(
            (CHECKPOINT, SHUFFLE, CLASS),
            "float64",
            nan,
            f"{PROBES[auroc]}, labels shuffled",
            layout={"chunks": (1, 1, n_classes)},
        ),
        **{n: spec((CHECKPOINT,), "float64", nan, what) for n, what in PROBE_ACCURACIES.items()},
    }


def group_name(layer: str, name: str) -> str:
    """What the group of a layer's autoencoders of a name is called."""
    return f"{layer}/{name}"


def evaluation_name(layer: str, name: str) -> str:
    """What the group of what was found of them is called."""
    return f"{group_name(layer, name)}.evaluation"


def why_no_images(frequency: float, score: str) -> str:
    """Why a latent has no images in which its score is above 0, "" where that is not known.

    Examples
    --------
    >>> why_no_images(0.0, "max"), why_no_images(0.1, "cls")
    ('it fires in no image', 'the code of its class token is zero in all images')
    """
    if not frequency >= 0:
        return ""
    if frequency == 0:
        return "it fires in no image"
    whose = "the code of its class token" if score == "cls" else f"its {score} score"
    return f"{whose} is zero in all images"


def pictured_as(name: str) -> str:
    """What the group of optimised images of these autoencoders' latents is called."""
    return f"latents-{name}"
