"""Notes on the page: shown, searched, and written from the browser where that was asked for."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import browser
import pytest
from page_client import Client, serving
from recorded_stores import write_store
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import dvis

TOKEN = "a-token-of-the-test"
UNIT = "/api/note/0/1/2"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = write_store(tmp_path / "s.zarr", ["a.pt", "b.pt"], ["conv1", "conv2"])
    dvis.note(path, "Heads of birds", layer="conv2", channel=1)
    return path


@pytest.fixture
def client(store: Path) -> Iterator[Client]:
    with serving(store, token=TOKEN) as client:
        yield client


def post(client: Client, told: Mapping[str, str] | None = None, body: Any = None) -> Any:
    headers = {"origin": client.origin, "x-dvis-token": TOKEN, **(told or {})}
    sent = json.dumps({"text": "eyes"} if body is None else body).encode()
    return client.request("POST", UNIT, {k: v for k, v in headers.items() if v}, sent)


def test_a_note_that_is_written_is_kept_and_shown(client: Client, store: Path) -> None:
    before = client.get("/api/signature").json()["signature"]
    answer = post(client)
    assert answer.status == 200, answer.text
    assert answer.json()["note"] == "eyes"
    assert answer.json()["signature"] == client.get("/api/signature").json()["signature"] != before
    assert dvis.notes(store).text.values.tolist() == ["Heads of birds", "eyes"]
    assert client.get("/api/unit/0/1/2").json()["note"] == "eyes"
    assert client.get("/api/layer/0/1").json()["unit_notes"][1:3] == ["Heads of birds", "eyes"]


@pytest.mark.parametrize(
    "told",
    [
        {"x-dvis-token": "another"},
        {"x-dvis-token": ""},
        {"origin": ""},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_who_is_not_the_page_cannot_write(
    client: Client, store: Path, told: dict[str, str]
) -> None:
    assert post(client, told).status == 403
    assert dvis.notes(store).sizes["note"] == 1


def test_another_name_of_the_server_cannot_write(client: Client, store: Path) -> None:
    assert post(client, {"host": "evil.example"}).status == 421
    assert dvis.notes(store).sizes["note"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [([], 400), ({"text": 3}, 400), ({"text": "x" * 3000}, 400), ({"text": "x" * 20_000}, 413)],
)
def test_what_is_no_note_is_refused(client: Client, store: Path, body: Any, status: int) -> None:
    answer = post(client, body=body)
    assert answer.status == status
    assert answer.json()["error"]
    assert dvis.notes(store).sizes["note"] == 1


@pytest.mark.parametrize("path", ["/api/note/0/9/2", "/api/note/0/1/999", "/api/note/7/1/2"])
def test_a_unit_that_is_not_there(client: Client, path: str) -> None:
    headers = {"origin": client.origin, "x-dvis-token": TOKEN}
    assert client.request("POST", path, headers, b'{"text": "x"}').status in (400, 404)


def test_without_a_token_nothing_is_written(store: Path) -> None:
    with serving(store) as client:
        assert post(client).status == 405
        assert TOKEN not in client.get("/").text
    assert dvis.notes(store).sizes["note"] == 1


def test_view_takes_notes_of_this_machine_alone(store: Path) -> None:
    command = [sys.executable, "-m", "dvis.cli", "view", str(store), "--edit", "--no-browser"]
    done = subprocess.run(
        [*command, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--edit is for this machine alone" in done.stderr


@pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING)
def test_a_note_is_written_in_a_browser_and_found_by_its_words(store: Path) -> None:
    command = [sys.executable, "-m", "dvis.cli", "view", str(store), "--edit", "--no-browser"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        browser.chromium() as page,
    ):
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+/", process.stdout.readline())
            assert address is not None
            page.open(f"{address[0]}#/conv2/2")
            field = page.driver.find_element(By.CSS_SELECTOR, ".note-field")
            field.send_keys("Beaks <b>of</b> birds", Keys.ENTER)
            page.wait(
                "return document.querySelector('.unit-note [role=status]').textContent === 'kept'"
            )
            assert dvis.notes(store).text.values.tolist()[-1] == "Beaks <b>of</b> birds"
            page.open(f"{address[0]}#/conv2?search=of%20birds")
            assert page.js("return document.querySelector('.grid').dataset.count") == "2"
            texts = [each.text for each in page.driver.find_elements(By.CLASS_NAME, "cell-note")]
            assert texts == ["Heads of birds", "Beaks <b>of</b> birds"]
        finally:
            process.kill()
