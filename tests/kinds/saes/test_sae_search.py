"""Search for latents by example images: a planted latent is found, beside shuffled ids."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_activations import options_of, store_of

import dvis
from dvis.analysis.control import controlled
from dvis.cli import main
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import image_scores
from dvis.kinds.saes.measure.exchange import write_saelens
from dvis.kinds.saes.measure.stored import autoencoder_at, import_sae
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.search import _place_of
from dvis.kinds.saes.store_options import EvaluateOptions

LAYER, N_LATENTS, PLANTED = "conv2", 12, 7
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random latents, and one that reads the first sample's mean activation off the others."""
    folder = tmp_path_factory.mktemp("search")
    options = options_of(folder, 1, layers=(LAYER,))
    keep_activations(options)
    kept = dvis.activations(store_of(options), LAYER).load()
    values = kept["values"].values[0].astype(np.float32)
    rng = np.random.default_rng(0)
    encoder = rng.normal(size=(N_LATENTS, values.shape[-1])).astype(np.float32)
    bias = np.full(N_LATENTS, -1, np.float32)
    # The direction along which one sample's largest token lies farthest beyond all other samples.
    many = rng.normal(size=(4000, values.shape[-1])).astype(np.float32)
    peaks = (values @ many.T).max(1)
    others = np.sort(peaks, axis=0)
    best = int(((others[-1] - others[-2]) / others.std(0)).argmax())
    encoder[PLANTED], bias[PLANTED] = many[best], -others[-2, best]
    one = Autoencoder(
        encoder=encoder,
        decoder=encoder.copy(),
        encoder_bias=bias,
        decoder_bias=np.zeros(values.shape[-1], np.float32),
        threshold=np.zeros(N_LATENTS, np.float32),
        kind="jumprelu",
        k=1,
    )
    write_saelens(one, folder / "out", metadata={})
    label = str(kept["checkpoint"].values[0])
    import_sae(store_of(options), folder / "out", LAYER, "planted", checkpoint=label)
    (folder / "sample").write_text(str(kept["sample"].values[peaks[:, best].argmax()]))
    return store_of(options)


def sample(store: Path) -> str:
    return (store.parent / "sample").read_text()


@pytest.mark.parametrize("by", ["auroc", "rate_difference"])
def test_a_planted_latent_is_the_best(store: Path, by: str) -> None:
    found = dvis.search_latents(store, LAYER, positive=[sample(store)], by=by)
    assert found["latent"].values[0] == PLANTED
    assert found["score"].values[0] == 1
    assert (found["rate_positive"].values[0], found["rate_negative"].values[0]) == (1, 0)
    assert (np.diff(found["score"].values[np.isfinite(found["score"])]) <= 0).all()
    null = controlled(found, "score")
    assert null.exchanged == "ids of samples"
    assert (null.low <= null.high).where(np.isfinite(null.low), True).all()
    assert (found["null_best"] >= found["null_score"].max("latent")).all()


def test_scores_are_those_of_the_codes(store: Path) -> None:
    label = str(dvis.saes(store, LAYER).checkpoint.values[-1])
    rows = ActivationRows.open(store, LAYER, label, split="all", batch_size=1)
    codes = image_scores(autoencoder_at(dvis.saes(store, LAYER)), rows).toarray()
    ids = rows.sample_ids.tolist()
    positive, negative = ids[2:6], ids[9:20]
    found = dvis.search_latents(store, LAYER, positive=positive, negative=negative)
    found = found.sortby("latent")
    np.testing.assert_allclose(found.mean_positive, codes[2:6].mean(0), rtol=1e-4, atol=1e-5)
    for latent in range(N_LATENTS):
        one, other = codes[2:6, latent], codes[9:20, latent]
        if not one.any() and not other.any():
            assert np.isnan(found.score[latent])
            continue
        wins = (one[:, None] > other).mean() + (one[:, None] == other).mean() / 2
        assert found.score[latent].item() == pytest.approx(wins, abs=1e-6)


def test_a_class_is_its_samples(store: Path) -> None:
    label = str(dvis.saes(store, LAYER).checkpoint.values[-1])
    rows = ActivationRows.open(store, LAYER, label, split="all", batch_size=1)
    name = rows.classes[int(rows.labels[0])]
    ids = rows.sample_ids[rows.labels == rows.labels[0]]
    of_class = dvis.search_latents(store, LAYER, of_class=name)
    np.testing.assert_array_equal(
        of_class["score"], dvis.search_latents(store, LAYER, positive=ids)["score"]
    )
    with pytest.raises(KeyError, match=r"No class 'house'.*Class"):
        dvis.search_latents(store, LAYER, of_class="house")


def test_ids_that_are_not_there_or_several_are_said(store: Path) -> None:
    with pytest.raises(KeyError, match=r"No sample 'nobody'"):
        dvis.search_latents(store, LAYER, positive=["nobody"])
    ids = ["cats/1.png", "dogs/1.png", "1.png.png"]
    places = {each: place for place, each in enumerate(ids)}
    assert [_place_of(each, ids, places) for each in ("ts/1.png", "dogs/1.png", "g.png")] == [
        0,
        1,
        2,
    ]
    with pytest.raises(ValueError, match=r"2 samples end in '1\.png'.*more of the one's id"):
        _place_of("1.png", ids, places)
    with pytest.raises(ValueError, match="no positive sample"):
        dvis.search_latents(store, LAYER)
    one = sample(store)
    with pytest.raises(ValueError, match="both a positive and a negative"):
        dvis.search_latents(store, LAYER, positive=[one], negative=[one])


def test_the_command_lists_the_best(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sae", "search", str(store), "--layer", LAYER, "--positive", sample(store)]
    with pytest.raises(SystemExit, match="0"):
        main([*asked, "--n-shown", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[2].split()[:2] == [str(PLANTED), "1.000"]
    assert "With ids shuffled the best of all latents has" in lines[-1]


def test_latents_are_found_by_their_notes_alone_and_among_examples(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(store, tmp_path / "net.zarr"))
    with pytest.raises(ValueError, match=r"all words of 'bird'; 0 latents .*`dvis note` writes"):
        dvis.search_latents(own, LAYER, of_note="bird")
    for latent, text in ((PLANTED, "Heads of birds"), (2, "a bird's head, from below"), (4, "sky")):
        dvis.note(own, text, layer=LAYER, latent=latent)
    found = dvis.search_latents(own, LAYER, of_note="bird head")
    assert sorted(found["latent"].values.tolist()) == [2, PLANTED]
    assert np.isnan(found["frequency"]).all()  # nothing is evaluated yet
    evaluate_saes(EvaluateOptions(store=own, layer=LAYER, split="all"))
    found = dvis.search_latents(own, LAYER, of_note="bird head")
    known = dvis.latents(own, LAYER).isel(checkpoint=-1)
    for name in ("frequency", "selectivity"):
        np.testing.assert_array_equal(found[name], known[name].sel(latent=found["latent"]))
    assert found["frequency"].values[0] >= found["frequency"].values[1]
    of_all = dvis.search_latents(own, LAYER, positive=[sample(store)])
    of_noted = dvis.search_latents(own, LAYER, positive=[sample(store)], of_note="bird head")
    assert of_noted["latent"].values[0] == PLANTED
    assert of_noted["note"].values[0] == "Heads of birds"
    at_both = of_all.sel(latent=of_noted["latent"].values)
    np.testing.assert_array_equal(of_noted["score"], at_both["score"])
    np.testing.assert_array_equal(of_noted["null_score"], at_both["null_score"])
    known_null = at_both["null_score"].max("latent")
    np.testing.assert_array_equal(of_noted["null_best"], known_null)
    for examples in ((), ("--positive", sample(store))):
        with pytest.raises(SystemExit, match="0"):
            main(["sae", "search", str(own), "--layer", LAYER, "--note", "BIRD", *examples])
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.endswith("Heads of birds") for line in lines) == 1
        assert not any("sky" in line for line in lines)
    with pytest.raises(ValueError, match="3 latents of it have notes"):
        dvis.search_latents(own, LAYER, of_note="bird sky")
