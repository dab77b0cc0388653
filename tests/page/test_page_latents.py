"""Latents on the page: lists, their numbers, best images and neighbours, live and in files."""

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from page_client import Client, serving
from recorded_stores import write_store
from tiny_activations import N_IMAGES, options_of, store_of

import dvis
from dvis.kinds.activations.parts import on_map
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.parts import PictureRows
from dvis.kinds.saes.found import Found
from dvis.kinds.saes.parts import parts_of
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions
from dvis.kinds.shown import Selection
from dvis.page import documents, lists
from dvis.page.plain import as_json
from dvis.page.samples import SHEET
from dvis.page.static import export_page
from dvis.schema import SchemaError
from dvis.store.guarded import GuardedStore

pytestmark = pytest.mark.usefixtures("one_thread")
LAYER, NAME = "conv2", "batchtopk-k2-x2"
PICTURED = f"latents-{NAME}"
TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature images, activations and evaluated autoencoders of two checkpoints."""
    options = options_of(
        tmp_path_factory.mktemp("latents"), layers=(LAYER,), keep=("values", "top:4")
    )
    keep_activations(options)
    store = store_of(options)
    train_saes(
        TrainOptions(
            store=store, layer=LAYER, checkpoints=("all",), k=(2,), expansion=(2.0,), tokens="10k",
            batch_size=256,
        )
    )  # fmt: skip
    evaluate_saes(EvaluateOptions(store=store, layer=LAYER, split="all", n_top=4))
    found = dvis.latents(store, LAYER)
    shutil.copytree(store, store.with_name("alone.zarr"))
    labels, run = found.checkpoint.values.tolist(), found.attrs["run"]
    write_store(store, labels, [LAYER], run=run)
    of_latents = {"objective": PICTURED, "unit": "latent", "autoencoder": NAME}
    write_store(store, labels, [LAYER], run=run, n_channels=6, **of_latents)
    dvis.note(store, "Bird heads", layer=LAYER, latent=5)
    return store


@pytest.fixture
def store(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "net.zarr"))


@pytest.fixture(scope="module")
def client(measured: Path) -> Iterator[Client]:
    with serving(measured) as client:
        yield client


def plain(document: Any) -> Any:
    return json.loads(as_json(document))


def number_of(shown: Any) -> int:
    (only,) = documents.overview(shown)["lists"]
    assert (only["layer"], only["name"], only["noun"]) == (LAYER, NAME, "latent")
    return int(only["number"])


def test_a_list_has_the_numbers_of_every_latent(measured: Path) -> None:
    shown, ds = documents.shown_units(measured), dvis.latents(measured, LAYER)
    number = number_of(shown)
    head = plain(lists.list_head(shown, number))
    assert head["units"] == ds.latent.values.tolist()
    assert head["notes"] == {"5": "Bird heads"}
    assert [each["label"] for each in head["checkpoints"]] == ds.checkpoint.values.tolist()
    np.testing.assert_allclose(head["facts"]["explained variance"], ds.ev, rtol=1e-5)
    for row, label in enumerate(ds.checkpoint.values.tolist()):
        of_row = plain(lists.rows(shown, number, row))
        at = ds.sel(checkpoint=label)
        assert of_row["label"] == label
        for name in ("frequency", "max", "selectivity"):
            given = np.array(of_row["numbers"][name], float)
            np.testing.assert_allclose(given, at[name], rtol=1e-5)
        fires = at.frequency.values > 0
        bound = at.null_selectivity.quantile(0.95, "shuffle").values
        given = np.array(of_row["numbers"]["selectivity_high"], float)
        np.testing.assert_allclose(given[fires], bound[fires], rtol=1e-5)
        dead = np.array(of_row["numbers"]["state"], float) == 2
        np.testing.assert_array_equal(dead, at.frequency == 0)


def test_neighbours_are_those_of_highest_cosine(measured: Path) -> None:
    shown, trained = documents.shown_units(measured), dvis.saes(measured, LAYER)
    number = number_of(shown)
    for row in range(trained.sizes["checkpoint"]):
        decoder = trained.decoder.isel(checkpoint=row).values.astype(float)
        unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -np.inf)
        found = lists.near(shown, number, row, 0)
        best = -np.sort(-cosine, axis=1)[:, : found["likeness"].shape[1]]
        np.testing.assert_allclose(found["likeness"], best, atol=1e-5)
        own = np.take_along_axis(cosine, found["units"], 1)
        np.testing.assert_allclose(own, best, atol=1e-5)


def test_a_latent_has_its_best_images_with_maps_and_the_null_of_its_selectivity(
    measured: Path,
) -> None:
    shown, ds = documents.shown_units(measured), dvis.latents(measured, LAYER)
    number = number_of(shown)
    latent = int(ds.frequency.values[-1].argmax())
    (unit,) = plain(lists.units(shown, number, latent))["units"]
    parts = {part["title"]: part for part in unit["parts"]}
    rows, curve = parts["Images that drive it most"], parts["Class selectivity"]
    at = ds.isel(checkpoint=-1, score=0).sel(latent=latent)
    ids = [rows["samples"][cell]["id"] for cell in rows["cells"][-1]]
    assert ids == at.top_sample.values.tolist()
    np.testing.assert_allclose(rows["values"][-1], at.top_value, rtol=1e-5)
    size = rows["map"]["height"], rows["map"]["width"]
    best = np.frombuffer(b64decode(rows["maps"][-1][0]), np.uint8).reshape(size)
    codes = at.top_map.values[0].reshape(best.shape) * float(at.map_scale) / 255
    np.testing.assert_allclose(best / 255 * float(at.top_value[0]), codes, atol=0.01 * codes.max())
    low, high = at.null_selectivity.quantile([0.05, 0.95]).values
    assert [curve["null_low"][-1], curve["null_high"][-1]] == pytest.approx([low, high], rel=1e-5)
    samples = {each["id"]: each["label"] for each in rows["samples"]}
    assert set(samples.values()) <= set(dvis.activations(measured, LAYER).attrs["classes"])


def test_effects_on_logits_and_scores_stand_beside_their_nulls(measured: Path) -> None:
    ds, rng = dvis.latents(measured, LAYER), np.random.default_rng(0)
    sizes = {name: ds.sizes[name] for name in ("checkpoint", "shuffle", "latent", "class")}
    n_checkpoints, n_shuffles, n_latents, n_classes = sizes.values()
    effect = rng.normal(size=(n_checkpoints, 2, n_latents, n_classes))
    null = rng.normal(size=(n_checkpoints, n_shuffles, n_latents))
    given = ds.assign_coords(control=["value", "random direction"]).assign(
        effect=(("checkpoint", "control", "latent", "class"), effect),
        mono_score=(("checkpoint", "latent"), null[:, 0] + 9),
        null_mono_score=(("checkpoint", "shuffle", "latent"), null),
    )
    found = Found(given, "", None)
    (parts,) = parts_of(found, [3])
    by_title: dict[str, Any] = {part.title: part for part in parts}
    bars, curve = by_title["Effect on logits"], by_title["MonoScore"]
    at = effect[:, :, 3]
    for row, name in enumerate(bars.rows):
        place = ds["class"].values.tolist().index(name)
        np.testing.assert_allclose(bars.values[row], -at[:, 0, place])
    best = ds["class"].values[at[:, 0].argmin(1)]
    assert set(best) <= set(bars.rows)
    np.testing.assert_allclose(bars.bound, np.abs(at[:, 1]).max(1))
    low, high = np.quantile(null[:, :, 3], (0.05, 0.95), axis=1)
    np.testing.assert_allclose(curve.null_low, low)
    np.testing.assert_allclose(curve.null_high, high)
    assert curve.null_text == "90 % of shuffled images"


def test_dead_is_told_from_unknown(measured: Path) -> None:
    ds = dvis.latents(measured, LAYER)
    fires = ds.frequency.values.max(0).argmax()
    scored = ds.assign_coords(score=["cls"]).copy(deep=True)
    scored["top_value"][{"latent": fires}] = 0.0
    scored["frequency"][:, fires] = [0.0, 0.5]
    found = Found(scored, "its-set", None)
    rows = parts_of(found, [int(ds.latent[fires])])[0][0]
    assert isinstance(rows, PictureRows)
    assert (rows.samples == "").all()
    assert rows.empty == [
        "It fires in no image",
        "The code of its class token is zero in all images",
    ]


def test_a_channel_has_its_best_images_too(measured: Path) -> None:
    shown, ds = documents.shown_units(measured), dvis.activations(measured, LAYER)
    parts = plain(documents.unit(shown, 0, 0, 2))["parts"]
    (rows,) = [part for part in parts if part["shape"] == "pictures"]
    ids = [[rows["samples"][cell]["id"] for cell in row] for row in rows["cells"]]
    assert ids == ds.top_sample.sel(channel=2).values.tolist()


def test_pictured_latents_are_called_so_and_lead_to_the_list_and_back(
    measured: Path, client: Client, request: pytest.FixtureRequest
) -> None:
    shown = documents.shown_units(measured)
    of_variants = [plain(documents.variant(shown, index)) for index in range(2)]
    named = {each["variant"]: (each["unit"], each["list"]) for each in of_variants}
    assert named == {"average-0": ("channel", ""), PICTURED: ("latent", NAME)}
    head = lists.list_head(shown, number_of(shown))
    assert head["pictured"] == {"variant": PICTURED, "units": [*range(6)]}
    without = head["units"][6]
    some = documents.shown_units(measured, Selection(channels=(4,)))
    assert lists.list_head(some, number_of(some))["pictured"]["units"] == [4]
    pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
    from browser import MISSING

    if MISSING:
        pytest.skip(MISSING)
    browser = request.getfixturevalue("browser")
    browser.open(f"{client.origin}/#/list/{LAYER}/{NAME}/3")
    to_pictures = "return document.querySelector('.listed-view a.action')"
    browser.wait(to_pictures)
    browser.js(f"({to_pictures.removeprefix('return ')}).click()")
    browser.wait("return document.querySelector('.unit-view:not(.listed-view) .action')")
    text = browser.js("return document.getElementById('main').textContent")
    assert f"{LAYER} latent 3" in text
    assert "this latent" in text
    assert "hannel" not in text.replace("channel=3", "")
    browser.js("document.querySelector('.title-row a.action').click()")
    browser.wait("return document.querySelector('.listed-view')")
    assert browser.js("return location.hash").startswith(f"#/list/{LAYER}/{NAME}/3")
    browser.open(f"{client.origin}/#/{LAYER}?variant={PICTURED}")
    browser.wait("return document.querySelector('.cell .thumb')")
    text = browser.js("return document.getElementById('main').textContent")
    assert "6 latents" in text
    assert "hannel" not in text
    browser.open(f"{client.origin}/#/?variant={PICTURED}")
    browser.wait("return document.querySelector('.overview .layers')")
    text = browser.js("return document.getElementById('main').textContent")
    assert "6 latents" in text
    assert "Share of latents born" in text
    assert "hannel" not in text
    browser.open(f"{client.origin}/#/list/{LAYER}/{NAME}/{without}")
    title = "return document.querySelector('.listed-view h1').textContent"
    browser.wait(f"{title}.endsWith(' {without}')")
    assert not browser.js(to_pictures)
    assert browser.errors() == []


def test_tokens_lie_at_their_places_on_maps() -> None:
    import xarray as xr

    places = xr.Dataset({"row": ("token", [-1, 0, 0, 1]), "column": ("token", [-1, 0, 1, 0])})
    maps = xr.DataArray(np.array([[9, 1, 2, 3]], np.uint8), dims=("rank", "token"))
    drawn = on_map(maps, places)
    assert drawn is not None
    assert drawn.tolist() == [[[1, 2], [3, 0]]]
    row, column = (each.ravel() for each in np.mgrid[:40, :40])
    large = xr.Dataset({"row": ("token", row), "column": ("token", column)})
    drawn = on_map(xr.DataArray(np.arange(1600).astype(np.uint8), dims="token"), large)
    assert drawn is not None
    assert drawn.shape == (14, 14)  # three by three of them, the highest
    assert on_map(maps[:, 1:2], places.isel(token=[1])) is None


def test_a_number_is_of_the_same_list_when_there_are_more(store: Path) -> None:
    before = number_of(documents.shown_units(store))
    train_saes(TrainOptions(store=store, layer=LAYER, k=(1,), expansion=(1.0,), tokens="1k"))
    shown = documents.shown_units(store)
    by_name = {each["name"]: each["number"] for each in documents.overview(shown)["lists"]}
    assert by_name[NAME] == before
    assert len(set(by_name.values())) == 2
    (other,) = set(by_name.values()) - {before}
    head = plain(lists.list_head(shown, other))
    assert head["columns"] == []
    assert "not evaluated yet" in head["remarks"][0]
    assert plain(lists.units(shown, other, 0))["units"][0]["parts"] == []
    assert len(plain(lists.near(shown, other, 0, 0))["units"]) == len(head["units"])


def test_the_server_answers_and_refuses(client: Client, measured: Path) -> None:
    number = number_of(documents.shown_units(measured))
    head = client.get(f"/api/list/{number}").json()
    assert client.get(f"/api/rows/{number}/0").json()["numbers"]["frequency"]
    sheets = head["sheets"]
    sheet = client.get(f"/pictures/samples/{sheets['number']}/0", v=sheets["version"])
    kind = {"png": "png", "jpg": "jpeg"}[sheets["suffix"]]
    assert sheet.headers["content-type"] == f"image/{kind}"
    assert "immutable" in sheet.headers["cache-control"]
    for path in (
        "/api/list/7",
        f"/api/rows/{number}/99",
        f"/api/best/{number}/0/99",
        f"/api/near/{number}/0/99",
        f"/api/listed/{number}/999",
        "/pictures/samples/7/0",
        f"/pictures/samples/{sheets['number']}/99",
    ):
        assert client.get(path).status == 404, path


def test_notes_about_latents_are_written_by_the_page_alone(store: Path) -> None:
    number = number_of(documents.shown_units(store))
    with serving(store, token=TOKEN) as client:
        headers = {"origin": client.origin, "x-dvis-token": TOKEN}

        def post(path: str, headers: dict[str, str], text: str = "wheels") -> int:
            body = json.dumps({"text": text}).encode()
            return client.request("POST", path, headers, body).status

        path = f"/api/note/list/{number}/3"
        assert post(path, {**headers, "x-dvis-token": "another"}) == 403
        assert post(path, headers, "x" * 3000) == 400
        assert post(f"/api/note/list/{number}/999", headers) == 404
        assert post("/api/note/list/7/3", headers) == 404
        assert dvis.notes(store).sizes["note"] == 1
        assert post(path, headers) == 200
        assert client.get(f"/api/list/{number}").json()["notes"] == {
            "3": "wheels",
            "5": "Bird heads",
        }
    assert dvis.latents(store, LAYER).sel(latent=3).note.item() == "wheels"


def browsed(browser: Any, address: str, latent: int) -> None:
    """What a browser shows of the list and of one of its latents, at a page's address."""
    browser.resize(1400, 1000)
    browser.open(f"{address}#/")
    assert browser.js("return document.querySelector('.list-link strong').textContent") == NAME
    browser.js("document.querySelector('.list-link').click()")
    browser.wait("return document.querySelector('.list-view .grid').dataset.shown === '1'")
    browser.wait("return document.querySelector('.list-row .thumb').dataset.drawn")
    browser.js(
        """const search = document.querySelector('.search'); search.value = 'bird';
        search.dispatchEvent(new Event('input'))"""
    )
    units = "return [...document.querySelectorAll('.list-row')].map(row => row.dataset.unit)"
    assert browser.js(units) == ["5"]
    browser.open(f"{address}#/list/{LAYER}/{NAME}?sort=frequency&order=desc")
    assert browser.wait(units)[0] == str(latent)
    browser.js("document.querySelector('.list-row').click()")
    browser.wait("return document.querySelector('.listed-view .samples').dataset.shown === '1'")
    browser.wait("return document.querySelector('.listed-view .sample .thumb').dataset.drawn")
    titles = browser.js(
        "return [...document.querySelectorAll('.panel-title')].map(each => each.textContent)"
    )
    assert titles[:3] == ["Share of rows in which it fires", "Largest code", "Class selectivity"]
    assert browser.js("return document.querySelectorAll('.bars li').length") > 1
    browser.wait("return document.querySelector('.near').dataset.shown === '1'")
    browser.press("\ue012")  # a checkpoint back
    browser.wait("return document.querySelector('.samples').dataset.shown === '0'")
    browser.wait("return document.querySelector('.near').dataset.shown === '0'")
    browser.js("document.querySelector('.near-link').click()")
    browser.wait("return document.querySelector('.listed-view .samples').dataset.shown === '0'")
    assert browser.errors() == []


@pytest.mark.parametrize("mode", ["live", "static"])
def test_a_browser_finds_a_latent(
    measured: Path, client: Client, tmp_path: Path, request: pytest.FixtureRequest, mode: str
) -> None:
    pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
    from browser import MISSING

    if MISSING:
        pytest.skip(MISSING)
    latent = int(dvis.latents(measured, LAYER).frequency.values[-1].argmax())
    browser = request.getfixturevalue("browser")
    if mode == "live":
        browsed(browser, f"{client.origin}/", latent)
        return
    page = export_page(measured, tmp_path / "page")
    n_sheets = len(list((tmp_path / "page" / "pictures").glob("samples_*")))
    assert 0 < n_sheets <= -(-N_IMAGES // SHEET)
    browsed(browser, page.index.as_uri(), latent)


def test_half_grown_groups_are_passed_over(measured: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(measured.with_name("alone.zarr"), tmp_path / "half.zarr"))
    second = TrainOptions(
        store=store, layer=LAYER, k=(1,), expansion=(2.0,), tokens="1k", batch_size=256
    )
    train_saes(second)
    runs = documents.shown_units(store).contents().runs("saes")
    (kept,) = documents.shown_units(store).contents().of("activations")
    for path, name in (
        (f"{runs[0]}/saes/{LAYER}/batchtopk-k1-x2", "decoder"),
        (kept.group, "time"),
    ):
        half = zarr.open_group(store, path=path, mode="a", use_consolidated=False)[name]
        half.resize((4, *half.shape[1:]))
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(GuardedStore(store))
    with pytest.raises(SchemaError):
        dvis.saes(store, LAYER, "batchtopk-k1-x2")
    export_page(store, tmp_path / "page")
    number = number_of(documents.shown_units(store))  # of the other one, which is whole
    assert (tmp_path / "page" / "data" / f"list_{number}.js").is_file()


def test_a_store_of_autoencoders_alone_is_shown(measured: Path, tmp_path: Path) -> None:
    store = measured.with_name("alone.zarr")
    report = export_page(store, tmp_path / "page")
    number = number_of(documents.shown_units(store))
    assert (tmp_path / "page" / "data" / f"list_{number}.js").is_file()
    assert report.n_images == 0
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        export_page(store, tmp_path / "other", layers=["conv3"])
