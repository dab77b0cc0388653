"""Autoencoders in folders as SAELens keeps them: weights in safetensors beside a `cfg.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dvis.disk import inside, write_atomically
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.options import SaeKind
from dvis.models.safetensors_files import load_safetensors

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
_TRANSPOSED = "W_enc"
_NAMES = {
    "W_enc": "encoder",
    "W_dec": "decoder",
    "b_enc": "encoder_bias",
    "b_dec": "decoder_bias",
    "threshold": "threshold",
}
_ARCHITECTURES: dict[SaeKind, str] = {
    "relu": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "batchtopk": "jumprelu",  # what it is once its threshold is known
}
_KINDS: dict[str, SaeKind] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
_OWN_KIND, _OWN_K = "dvis_kind", "dvis_k"  # in the metadata, which SAELens passes over
_ACTIVATIONS = ("activation_fn", "activation_fn_str")  # as older files name the rule of codes
# What dvis does not do to rows and codes, and the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "normalize_activations": (None, "none"),
    "reshape_activations": (None, "none"),
    "finetuning_scaling_factor": (None, False),
    **dict.fromkeys(_ACTIVATIONS, (None, "relu", "topk")),
}


def write_saelens(
    autoencoder: Autoencoder, folder: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write an autoencoder as a folder that `sae_lens.SAE.load_from_disk` reads.

    Batchtopk is written as jumprelu with its threshold, which is the same function. Weights are in
    the units of the rows: nothing is left to be scaled.

    Parameters
    ----------
    autoencoder : Autoencoder
        What is written.
    folder : Path
        For `sae_weights.safetensors` and `cfg.json`; made where it is missing.
    metadata : mapping of str to str, optional
        What is to be known of it, such as the model and its layer.

    Raises
    ------
    ValueError
        When batchtopk has no threshold yet, or a symbolic link lies in the folder.
    FileExistsError
        When the folder holds an autoencoder.
    DiskFullError
        When there is no space left.
    """
    if autoencoder.kind == "batchtopk" and (autoencoder.threshold < 0).any():
        raise ValueError("this batchtopk autoencoder has no threshold yet; train it for a step")
    weights, config = inside(folder, WEIGHTS), inside(folder, CONFIG)
    for path in (weights, config):
        if path.exists():
            raise FileExistsError(f"{path} is there already; give another folder, or remove it")
    architecture = _ARCHITECTURES[autoencoder.kind]
    names = [name for name in _NAMES if name != "threshold" or architecture == "jumprelu"]
    arrays = {name: getattr(autoencoder, _NAMES[name]) for name in names}
    arrays[_TRANSPOSED] = arrays[_TRANSPOSED].T
    described = {
        "architecture": architecture,
        "d_in": autoencoder.n_channels,
        "d_sae": autoencoder.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {**(metadata or {}), _OWN_KIND: autoencoder.kind, _OWN_K: autoencoder.k},
    }
    if architecture == "topk":
        described |= {"k": autoencoder.k, "rescale_acts_by_decoder_norm": False}
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_atomically(weights, data, root=folder)
    write_atomically(config, json.dumps(described, indent=2).encode(), root=folder)


def read_saelens(folder: Path) -> Autoencoder:
    """The autoencoder of a folder that SAELens or `write_saelens` wrote.

    Its kinds standard, topk and jumprelu are read, with weights of any type of float.

    Parameters
    ----------
    folder : Path
        With `sae_weights.safetensors` and `cfg.json`.

    Returns
    -------
    Autoencoder
        Of kind relu, topk, jumprelu, or, where `write_saelens` wrote one, batchtopk.

    Raises
    ------
    FileNotFoundError
        When one of the files is missing.
    ValueError
        When the configuration is of another kind or asks for what dvis does not do, such as
        normalised rows; or when weights are missing, damaged, or of shapes that do not fit.
    """
    described = _described(folder / CONFIG)
    kind = _kind(described, folder)
    wanted = [name for name in _NAMES if name != "threshold" or kind in ("jumprelu", "batchtopk")]
    arrays = _arrays(folder / WEIGHTS, wanted)
    shape = (described.get("d_in"), described.get("d_sae"))
    if arrays[_TRANSPOSED].shape != shape:
        raise ValueError(
            f"{_TRANSPOSED} of {folder} has shape {arrays[_TRANSPOSED].shape}, but its {CONFIG} "
            f"says d_in, d_sae = {shape}; fetch both files again"
        )
    arrays[_TRANSPOSED] = np.ascontiguousarray(arrays[_TRANSPOSED].T)
    if not described.get("apply_b_dec_to_input", True):
        # E x + b_e is E (x - b_d) + (b_e + E b_d).
        arrays["b_enc"] = arrays["b_enc"] + arrays[_TRANSPOSED] @ arrays["b_dec"]
    if described.get("rescale_acts_by_decoder_norm"):
        _fold_lengths(arrays)
    threshold = arrays.pop("threshold", np.zeros_like(arrays["b_enc"]))
    own = {_NAMES[name]: array for name, array in arrays.items()}
    return Autoencoder(**own, threshold=threshold, kind=kind, k=_k(described, kind, folder))


def _described(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"no {path}; give a folder with {CONFIG} and {WEIGHTS}")
    try:
        described = json.loads(path.read_bytes())
    except ValueError as err:
        raise ValueError(f"{path} is damaged: {err}. Save or fetch it again") from err
    if not isinstance(described, dict):
        raise ValueError(f"{path} holds no names with values; save or fetch it again")
    return described


def _kind(described: Mapping[str, Any], folder: Path) -> SaeKind:
    architecture = described.get("architecture", "standard")
    if architecture == "standard" and "topk" in [described.get(name) for name in _ACTIVATIONS]:
        architecture = "topk"
    if architecture not in _KINDS:
        raise ValueError(
            f"{folder} holds an autoencoder of kind {architecture!r}; those of "
            f"{', '.join(_KINDS)} can be read"
        )
    for name, allowed in _NEUTRAL.items():
        if described.get(name) not in allowed:
            raise ValueError(
                f"{folder} asks for {name} = {described[name]!r}, which dvis does not do; fold it "
                f"into the weights with SAELens, and save with {name} = {allowed[1]!r}"
            )
    own = _metadata(described).get(_OWN_KIND)
    same = [kind for kind, name in _ARCHITECTURES.items() if name == architecture and kind == own]
    return same[0] if same else _KINDS[architecture]


def _metadata(described: Mapping[str, Any]) -> Mapping[str, Any]:
    found = described.get("metadata")
    return found if isinstance(found, dict) else {}


def _k(described: Mapping[str, Any], kind: SaeKind, folder: Path) -> int:
    nested = described.get("activation_fn_kwargs")
    older = nested.get("k") if isinstance(nested, dict) else None
    found = described.get("k", older)
    if kind != "topk":
        found = _metadata(described).get(_OWN_K, 1)
    if not isinstance(found, int) or found < 1:
        raise ValueError(
            f"{CONFIG} of {folder} has k = {found!r}; write a whole number of 1 or more there"
        )
    return found


def _arrays(path: Path, names: list[str]) -> dict[str, NDArray[np.float32]]:
    if not path.exists():
        raise FileNotFoundError(f"no {path}; give a folder with {CONFIG} and {WEIGHTS}")
    tensors, _ = load_safetensors(path)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(sorted(tensors))}. Give the "
            "weights of an autoencoder"
        )
    return {name: tensors[name].float().numpy() for name in names}


def _fold_lengths(arrays: dict[str, NDArray[np.float32]]) -> None:
    """Make decoder rows unit length, so that codes compete by the length of what they add."""
    lengths = np.linalg.norm(arrays["W_dec"], axis=1, keepdims=True).astype(np.float32)
    arrays["W_enc"] = arrays["W_enc"] * lengths
    arrays["b_enc"] = arrays["b_enc"] * lengths[:, 0]
    lengths[lengths == 0] = 1
    arrays["W_dec"] = arrays["W_dec"] / lengths
