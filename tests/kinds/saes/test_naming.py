"""Names of latents by programs: what they are held against, and where they are kept."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from labelled_latents import LAYER, N_LATENTS, NAME

import dvis
from dvis.cli import main
from dvis.kinds.listed import ListedUnits
from dvis.kinds.parts import Asked
from dvis.kinds.saes.listed import listed_latents
from dvis.kinds.saes.namers import ByClass, Shown
from dvis.schema import run_group
from dvis.store.contents import contents
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def store(labelled_store: Path, tmp_path: Path) -> Path:
    """A copy, to write names into."""
    return Path(shutil.copytree(labelled_store, tmp_path / "net.zarr"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_the_class_of_most_images_is_the_name_and_its_share_the_score(store: Path) -> None:
    found = dvis.name_latents(store, LAYER, n_images=5, n_random=7)
    of_store = dvis.latents(store, LAYER).isel(checkpoint=-1, score=0, rank=slice(5))
    kept = dvis.activations(store, LAYER)
    class_of = dict(zip(kept["sample"].values, kept["label"].values, strict=True))
    for number in found.latent.values:
        top = of_store.sel(latent=number)
        ids = top.top_sample.values[top.top_value.values > 0]
        counts = Counter(str(class_of[str(each)]) for each in ids)
        assert counts[found.auto_name.sel(latent=number).item()] == max(counts.values())
        share = max(counts.values()) / len(ids)
        assert found.score.sel(latent=number).item() == pytest.approx(share)
    assert found.null_score.sizes["shuffle"] == 7
    assert found.null_high.isnull().all()  # of seven none is a bound
    assert not found.is_above.any()


def test_a_name_is_held_against_random_latents(store: Path) -> None:
    class Known(ByClass):
        by = "known"

        def name(self, shown: Shown) -> tuple[str, float]:
            return "bright", float(np.mean([each.mean() for each in shown.images]))

        def score(self, text: str, shown: Shown) -> float:
            assert text == "bright"
            return float(np.mean([each.mean() for each in shown.images]))

    found = dvis.name_latents(store, LAYER, namer=Known(), n_random=100)
    n_named = found.sizes["latent"]
    assert found.null_score.sizes["shuffle"] == n_named - 1  # each of the others, once
    for number in found.latent.values[:3]:
        others = found.score.sel(latent=[each for each in found.latent.values if each != number])
        null = found.null_score.sel(latent=number)
        np.testing.assert_allclose(np.sort(null), np.sort(others))
    assert found.attrs["exchangeable"] == "latents whose images are named"


def test_a_function_of_images_names_and_its_null_are_mixed_images(store: Path) -> None:
    seen = []

    def brightness(images: list[np.ndarray]) -> tuple[str, float]:
        seen.append(len(images))
        assert all(each.dtype == np.uint8 for each in images)
        return " some light ", float(np.mean([each.mean() for each in images]))

    found = dvis.name_latents(store, LAYER, namer=brightness, latents=[1, 2], n_random=20)
    assert found.latent.values.tolist() == [1, 2]
    assert set(found.auto_name.values) == {"some light"}
    assert found.attrs["exchangeable"] == "images among latents"
    assert (found.null_score.sel(latent=1) == found.null_score.sel(latent=2)).all()
    assert (found.null_high == found.null_score.max("shuffle")).all()
    assert len(seen) == 2 + 20
    assert dvis.latent_names(store).by.values.tolist() == ["brightness"] * 2


def test_names_never_touch_what_people_wrote(store: Path) -> None:
    dvis.note(store, "a loop, I think", layer=LAYER, latent=3)
    first = dvis.name_latents(store, LAYER, n_images=3)
    dvis.name_latents(store, LAYER, n_images=3)  # again: in place of its own
    assert dvis.notes(store).text.values.tolist() == ["a loop, I think"]
    assert dvis.latent_names(store).sizes["name"] == first.sizes["latent"]
    opened = dvis.saes(store, LAYER)
    assert opened.note.sel(latent=3).item() == "a loop, I think"
    assert opened.auto_name.sel(latent=3).item() == first.auto_name.sel(latent=3).item()
    dvis.note(store, "", layer=LAYER, latent=3)
    assert dvis.latent_names(store).sizes["name"] == first.sizes["latent"]
    dvis.name_latents(store, LAYER, namer=lambda images: ("", 0.0), latents=[3])
    assert dvis.check_store(store) == []


def test_nothing_is_kept_where_it_is_not_asked_for(store: Path) -> None:
    dvis.name_latents(store, LAYER, keep=False)
    assert dvis.latent_names(store).sizes["name"] == 0
    assert "auto_name" not in dvis.latents(store, LAYER).coords


def listed(store: Path) -> ListedUnits:
    found = contents(store)
    (units,) = listed_latents(Asked(store=store, contents=found, run=next(iter(found.run_attrs))))
    return units


def test_the_page_shows_names_as_those_of_programs(store: Path) -> None:
    number, other = dvis.name_latents(store, LAYER, keep=False).latent.values[:2].tolist()
    before = listed(store).parts([number])[0]
    found = dvis.name_latents(store, LAYER, latents=[number])
    units = listed(store)
    table, *others = units.parts([number])[0]
    assert table.title == "Names by programs"
    assert table.rows[0][:2] == (found.auto_name.item(), "class")
    assert "No person wrote them" in table.note
    assert len(others) == len(before)
    assert units.parts([other])[0][0].title != table.title
    assert units.notes() == {}


def test_a_sheet_says_who_named_its_latent(store: Path) -> None:
    found = dvis.name_latents(store, LAYER)
    number, called = int(found.latent[0]), found.auto_name.values[0]
    opened = dvis.latents(store, LAYER)
    assert opened.auto_name.attrs["checkpoint"] == found.attrs["checkpoint"]
    title = opened.dvis.latent_sheet(number).get_suptitle()
    assert f": {called} (named by a program)" in title
    dvis.note(store, "loops", layer=LAYER, latent=number)
    title = dvis.latents(store, LAYER).dvis.latent_sheet(number).get_suptitle()
    assert ": loops" in title
    assert "named by a program" not in title


def test_commands_name_and_list(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sae", "name", str(store), "--layer", LAYER, "--name", NAME]
    code, out, _ = run(capsys, *asked, "--n-random", "7", "--n-shown", "2")
    assert code == 0
    assert "named by class" in out
    assert "latents whose images are named" in out
    code, out, _ = run(capsys, "notes", str(store))
    assert "(named by class: " in out
    assert "names by programs" in out
    code, _, err = run(capsys, *asked, "--by", "open_clip", "--words", "words.txt")
    assert code != 0
    assert "--by open_clip lacks --model, --weights; give all three" in err
    code, _, err = run(capsys, *asked, "--model", "ViT-B-32")
    assert "--model goes with --by open_clip; leave it out" in err


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"latents": [N_LATENTS]}, KeyError, "No latent 16: there are 0 to 15"),
        ({"n_images": 0}, ValueError, "n_images is 0"),
        ({"namer": "classes"}, ValueError, "No namer 'classes'.*Did you mean 'class'"),
        ({"namer": 7}, TypeError, "a namer of type int is none: give a function"),
        ({"namer": lambda images: "ab"}, TypeError, "gave 'ab', of type str, of latent 0; give a"),
        ({"namer": lambda images: None}, TypeError, "gave None, of type NoneType, of latent 0"),
        ({"namer": lambda images: ("a", 1, 2)}, TypeError, r"gave \('a', 1, 2\), of type tuple"),
        ({"namer": lambda images: (7, 0.5)}, TypeError, r"gave \(7, 0.5\).* give a text and a num"),
        ({"namer": lambda images: ("a", "0.5")}, TypeError, "gave '0.5', of type str, for the sco"),
        (
            {"namer": lambda images: ("a", True)},
            TypeError,
            "gave True, of type bool, for the score",
        ),
        ({"namer": lambda images: ("a", np.nan)}, ValueError, "gave nan for the score of latent 0"),
        ({"namer": lambda images: ("", np.inf)}, ValueError, "gave inf for the score of latent 0"),
        ({"namer": lambda images: 1 / 0}, RuntimeError, "latent 0: ZeroDivisionError: division"),
        ({"namer": lambda images: 1 / 0, "latents": [2]}, RuntimeError, "failed .* of latent 2"),
        ({"namer": lambda images: ("x" * 2001, 0.5)}, ValueError, "has 2001 letters"),
    ],
)
def test_errors_keep_nothing(
    store: Path, how: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        dvis.name_latents(store, LAYER, **how)
    assert dvis.latent_names(store).sizes["name"] == 0


def test_no_name_needs_no_score_and_numbers_are_of_any_library(store: Path) -> None:
    given = iter([("  ", np.nan), ("ring", np.float32(0.5)), *[("", 0)] * 20])
    found = dvis.name_latents(
        store, LAYER, namer=lambda images: next(given), latents=[1, 2], n_random=20, keep=False
    )
    assert found.auto_name.values.tolist() == ["", "ring"]
    np.testing.assert_array_equal(found.score, [np.nan, 0.5])


def test_a_score_by_the_function_itself_is_held_to_the_same(store: Path) -> None:
    def rings(images: list[np.ndarray]) -> tuple[str, float]:
        return "ring", 0.5

    rings.score = lambda text, images: "high"  # type: ignore[attr-defined]  # as callers write it
    with pytest.raises(TypeError, match="rings gave 'high', of type str, for the score of latent"):
        dvis.name_latents(store, LAYER, namer=rings)


def test_attributes_that_hold_no_names_are_said(store: Path) -> None:
    path = run_group(next(iter(contents(store).run_attrs)))
    with restructuring(store):
        group = zarr.open_group(GuardedStore(store), path=path, mode="a")
        group.update_attributes({"latent_names": [{"text": "alone"}]})
    with pytest.raises(dvis.SchemaError, match="has an attribute latent_names that holds no names"):
        dvis.latent_names(store)


TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file of weights of a tiny OpenCLIP, which is called tiny-clip from now on."""
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("tiny-clip")
    weights = {name: each.contiguous() for name, each in model.state_dict().items()}
    save_file(weights, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.mark.filterwarnings("ignore")  # of open_clip's own
def test_open_clip_names_by_the_likeliest_word(
    store: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import open_clip
    import torch
    from PIL import Image

    from dvis.kinds.activations.pictures.samples import Samples
    from dvis.kinds.saes.measure.clip_words import ByClip

    words = ["ring", "bar", "hook"]
    namer = ByClip(words, "tiny-clip", clip)
    found = dvis.name_latents(store, LAYER, namer=namer, n_images=4, latents=[1], keep=False)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(clip))
    texts = open_clip.get_tokenizer("tiny-clip")([f"a photo of a {each}" for each in words])
    model.eval()
    of_store = dvis.latents(store, LAYER).isel(checkpoint=-1, score=0, rank=slice(4))
    top = of_store.sel(latent=1)
    ids = top.top_sample.values[top.top_value.values > 0].tolist()
    samples = Samples.of(store, dvis.saes(store, LAYER).attrs["dataset"], ids)
    pictures = [Image.fromarray(samples.thumbnails[each]).convert("RGB") for each in ids]
    with torch.no_grad():
        images, written, scale = model(torch.stack([transform(e) for e in pictures]), texts)
        shares = (scale * images @ written.T).softmax(1).mean(0).numpy()
    assert found.auto_name.item() == words[int(shares.argmax())]
    assert found.score.item() == pytest.approx(shares.max(), rel=1e-4)
    listed_words = tmp_path / "words.txt"
    listed_words.write_text("ring\nbar\n\nhook\n")
    given = ["--by", "open_clip", "--words", str(listed_words), "--model", "tiny-clip"]
    asked = ["sae", "name", str(store), "--layer", LAYER, *given, "--weights"]
    assert run(capsys, *asked, str(clip))[0] == 0
    assert set(dvis.latent_names(store).by.values) == {"open_clip tiny-clip"}
    code, _, err = run(capsys, *asked, str(tmp_path / "none.safetensors"))
    assert code != 0
    assert "dvis downloads none: give a file of them" in err


@pytest.mark.filterwarnings("ignore")
def test_open_clip_refuses_what_is_not_its_own(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from dvis.kinds.saes.measure.clip_words import ByClip

    with pytest.raises(ValueError, match="there are 1 words"):
        ByClip(["ring", "ring "], "tiny-clip", clip)
    with pytest.raises(ValueError, match=r"No model 'tiny-clap'.*Did you mean 'tiny-clip'"):
        ByClip(["ring", "bar"], "tiny-clap", clip)
    weights = load_file(clip)
    del weights["logit_scale"]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"are not those of tiny-clip: .*logit_scale"):
        ByClip(["ring", "bar"], "tiny-clip", tmp_path / "less.safetensors")
