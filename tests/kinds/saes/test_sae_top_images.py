"""Top images against a sort of everything: unique, exactly as many, equal ones by position."""

from typing import Any

import numpy as np
import pytest
from made_up_saes import N_LATENTS, N_SAMPLES, N_TOKENS, InBlocks, made_up_autoencoder, made_up_rows

from dvis.kinds.saes.measure.codes import image_scores
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.top_images import top_images


def by_sort(scores: np.ndarray, n_top: int) -> np.ndarray:
    """Positions (latent, rank) by a plain sort of (-score, position)."""
    pairs = [sorted(range(len(scores)), key=lambda n, s=s: (-s[n], n))[:n_top] for s in scores.T]
    return np.array(pairs)


@pytest.mark.parametrize("rows_of", [ArrayRows, InBlocks])
@pytest.mark.parametrize("score", ["max", "mean", "sum", "cls"])
@pytest.mark.parametrize("n_top", [1, 5, N_SAMPLES, 100])
def test_against_a_sort_of_all_samples(rows_of: Any, score: Any, n_top: int) -> None:
    autoencoder = made_up_autoencoder()
    values = np.concatenate([values for _, values in made_up_rows().ordered()])
    values[20:] = values[:20]  # every score is there twice
    rows = rows_of(values, sample_ids=[f"image_{n}" for n in range(N_SAMPLES)])
    codes = autoencoder.encode(values)
    reduced = {"max": codes.max(1), "sum": codes.sum(1), "cls": codes[:, 2], "mean": codes.mean(1)}
    found = top_images(autoencoder, rows, n_top=n_top, scores=(score,), class_token=2)
    found = found.sel(score=score)
    wanted = by_sort(reduced[score], n_top)
    assert found.sizes["rank"] == min(n_top, N_SAMPLES)
    np.testing.assert_allclose(
        found.top_value, np.take_along_axis(reduced[score].T, wanted, 1), rtol=1e-5
    )
    for latent in range(N_LATENTS):
        assert found.top_position[latent].values.tolist() == wanted[latent].tolist()
    assert found.top_sample.values.tolist() == [[f"image_{n}" for n in row] for row in wanted]
    of_tokens = codes[wanted, :, np.arange(N_LATENTS)[:, None]]
    largest = codes.max((0, 1))[:, None, None]
    np.testing.assert_allclose(found.map_scale, largest[:, 0, 0], rtol=1e-6)
    maps = np.divide(255 * of_tokens, largest, out=np.zeros_like(of_tokens), where=largest > 0)
    np.testing.assert_allclose(found.top_map, maps, atol=0.51)
    assert found.top_map.dtype == np.uint8
    table = image_scores(autoencoder, rows, score, class_token=2).toarray()
    np.testing.assert_allclose(table, reduced[score], rtol=1e-5)


def test_best_map_of_the_maximum_reaches_the_top_of_the_scale() -> None:
    found = top_images(made_up_autoencoder(), made_up_rows(), n_top=3)
    best = found.top_map.isel(score=0, rank=0).max("token").values
    assert best.tolist() == [255] * (N_LATENTS - 1) + [0]
    assert found.sizes["token"] == N_TOKENS


def test_wrong_options_are_told() -> None:
    autoencoder, rows = made_up_autoencoder(), made_up_rows()
    with pytest.raises(ValueError, match="Did you mean 'max'"):
        top_images(autoencoder, rows, scores=("maxx",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give its place, class_token"):
        top_images(autoencoder, rows, scores=("cls",))
    with pytest.raises(ValueError, match="give 0 to 5"):
        top_images(autoencoder, rows, scores=("cls",), class_token=6)
    with pytest.raises(ValueError, match="n_top is 0"):
        top_images(autoencoder, rows, n_top=0)
    with pytest.raises(ValueError, match="each once"):
        top_images(autoencoder, rows, scores=("max", "max"))
