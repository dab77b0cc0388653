"""Autoencoders in SAELens' files: the same codes after the way out and in, and what is refused."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from planted_rows import planted
from safetensors.numpy import load_file
from safetensors.torch import save_file

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.exchange import CONFIG, WEIGHTS, read_saelens, write_saelens
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeKind, SaeOptions

KINDS = get_args(SaeKind)
X = 5 + planted(500, n_channels=16, n_atoms=24, k=2)[1]
SHAPES = {"W_enc": (16, 24), "W_dec": (24, 16), "b_enc": (24,), "b_dec": (16,)}


@pytest.fixture(scope="module")
def trained() -> dict[str, Autoencoder]:
    options = [SaeOptions(kind=kind, k=2, n_latents=24) for kind in KINDS]
    found = train(ArrayRows(X, batch_size=50), options, PassOptions(n_steps=20))
    return {one.options.kind: one.autoencoder for one in found}


def write_foreign(folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """Write weights as others do; the weights, in double precision."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()
    }
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"d_in": 16, "d_sae": 24, **config}))
    return {name: weight.double().numpy() for name, weight in weights.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_written_and_read_back_is_the_same(
    trained: dict[str, Autoencoder], tmp_path: Path, kind: str
) -> None:
    write_saelens(trained[kind], tmp_path / "new", metadata={"layer": "layer3"})
    back = read_saelens(tmp_path / "new")
    assert back.kind == kind
    assert back.k == trained[kind].k
    assert np.array_equal(back.encode(X), trained[kind].encode(X))
    assert np.array_equal(back.reconstruct(X), trained[kind].reconstruct(X))
    assert json.loads((tmp_path / "new" / CONFIG).read_text())["metadata"]["layer"] == "layer3"


@pytest.mark.parametrize("kind", KINDS)
def test_files_say_what_saelens_computes(
    trained: dict[str, Autoencoder], tmp_path: Path, kind: str
) -> None:
    write_saelens(trained[kind], tmp_path)
    w, config = load_file(tmp_path / WEIGHTS), json.loads((tmp_path / CONFIG).read_text())
    architecture = config["architecture"]
    assert architecture == {"relu": "standard", "topk": "topk"}.get(kind, "jumprelu")
    codes = np.maximum((X - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 0)
    if architecture == "jumprelu":
        codes *= codes > w["threshold"]
    if architecture == "topk":
        codes *= codes >= np.sort(codes, axis=1)[:, [-config["k"]]]
    np.testing.assert_allclose(
        codes @ w["W_dec"] + w["b_dec"], trained[kind].reconstruct(X), atol=1e-3
    )


def test_decoder_bias_that_is_not_taken_from_rows_is_folded(tmp_path: Path) -> None:
    w = write_foreign(tmp_path, architecture="standard", apply_b_dec_to_input=False)
    wanted = np.maximum(X @ w["W_enc"] + w["b_enc"], 0)
    np.testing.assert_allclose(read_saelens(tmp_path).encode(X), wanted, rtol=1e-3, atol=1e-3)


def test_codes_that_compete_by_length_are_folded(tmp_path: Path) -> None:
    w = write_foreign(tmp_path, architecture="topk", k=3, rescale_acts_by_decoder_norm=True)
    lengths = np.linalg.norm(w["W_dec"], axis=1)
    codes = np.maximum(((X - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * lengths, 0)
    codes *= codes >= np.sort(codes, axis=1)[:, [-3]]
    wanted = codes / lengths @ w["W_dec"] + w["b_dec"]
    np.testing.assert_allclose(read_saelens(tmp_path).reconstruct(X), wanted, rtol=1e-3, atol=1e-2)


def test_older_names_and_half_precision_are_read(tmp_path: Path) -> None:
    w = write_foreign(
        tmp_path,
        torch.bfloat16,
        architecture="standard",
        activation_fn_str="topk",
        activation_fn_kwargs={"k": 4},
    )
    back = read_saelens(tmp_path)
    assert (back.kind, back.k, back.decoder.dtype) == ("topk", 4, np.float32)
    assert np.array_equal(back.decoder, w["W_dec"])


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architecture": "gated"}, "of kind 'gated'; those of standard, topk, jumprelu"),
        ({"normalize_activations": "layer_norm"}, "asks for normalize_activations = 'layer_norm'"),
        ({"architecture": "jumprelu"}, "has no threshold; it has W_dec, W_enc"),
        ({"architecture": "topk"}, "has k = None; write a whole number"),
        ({"d_sae": 25}, r"has shape \(16, 24\), but its cfg.json says"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    write_foreign(tmp_path, **config)
    with pytest.raises(ValueError, match=told):
        read_saelens(tmp_path)


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give a folder with cfg"):
        read_saelens(tmp_path)
    write_foreign(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-7])
    with pytest.raises(ValueError, match="is damaged"):
        read_saelens(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        read_saelens(tmp_path)


def test_nothing_is_overwritten_and_a_threshold_is_needed(
    trained: dict[str, Autoencoder], tmp_path: Path
) -> None:
    write_saelens(trained["topk"], tmp_path)
    with pytest.raises(FileExistsError, match="is there already"):
        write_saelens(trained["relu"], tmp_path)
    (warm,) = train(
        ArrayRows(X), [SaeOptions(k=2, n_latents=24)], PassOptions(n_steps=1),
        warm=[trained["relu"]],
    )  # fmt: skip
    assert (warm.autoencoder.threshold > 0).all()
    unset = Autoencoder(**{**vars(warm.autoencoder), "threshold": -np.ones(24, np.float32)})
    with pytest.raises(ValueError, match="has no threshold yet"):
        write_saelens(unset, tmp_path / "other")
