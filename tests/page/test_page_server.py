"""The server of a page: what it answers, and what it does not."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_client import Client, serving
from recorded_stores import Task, image_of, record, write_store
from trees import decoded, write_tree

import dvis
from dvis.kinds.features.record import FeatureRecorder
from dvis.names import parse_checkpoint
from dvis.page.server import serve
from dvis.store.writer import writing

ODD_LABELS = [
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "a\"b'c`${1}",
    "two\nlines\r\nSet-Cookie: a=b",
    "\u2028</title>",
]
ODD_LAYERS = ('layer"><img src=x onerror=alert(1)>', "../../etc", "new\nline")


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("odd") / "odd.zarr"
    return write_store(path, ODD_LABELS, ODD_LAYERS, run="../<b>run", model="<i>net</i>")


@pytest.fixture(scope="module")
def client(odd_store: Path) -> Iterator[Client]:
    with serving(odd_store) as client:
        yield client


@pytest.fixture(scope="module")
def server(odd_store: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`dvis view` as people start it, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvis.cli", "view", str(odd_store), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    assert found, line
    yield process, int(found[1])
    process.kill()
    process.communicate()


def raw(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and all that a server sends back for bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return int(answer.split()[1]), answer


def get(path: str, host: str = "127.0.0.1") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def test_documents_keep_odd_labels_as_they_are(client: Client) -> None:
    overview = client.get("/api/overview").json()
    assert overview["model"] == "<i>net</i>"
    assert overview["runs"][0]["name"] == "../<b>run"
    variant = client.get("/api/variant/0").json()
    assert sorted(c["label"] for c in variant["checkpoints"]) == sorted(ODD_LABELS)
    assert sorted(row["name"] for row in variant["layers"]) == sorted(ODD_LAYERS)
    for index in range(len(ODD_LAYERS)):
        assert client.get(f"/api/layer/0/{index}").json()["layer"] in ODD_LAYERS
        assert client.get(f"/api/unit/0/{index}/1").json()["layer"] in ODD_LAYERS


def test_odd_labels_do_nothing_in_the_page(client: Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<i>" not in page.text
    facts = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.text, re.S)
    assert facts is not None
    assert json.loads(facts[1])["model"] == "<i>net</i>"
    assert json.loads(facts[1])["mode"] == "live"


def test_odd_labels_do_nothing_in_headers_and_names_of_files(client: Client) -> None:
    for index in range(len(ODD_LAYERS)):
        for kind in ("numbers", "archive"):
            answer = client.get(f"/{kind}/0/{index}/1")
            assert answer.status == 200
            assert re.fullmatch(
                r'attachment; filename="[\w.-]+\.(csv|zip)"', answer.headers["content-disposition"]
            )
            assert "set-cookie" not in answer.headers


def test_pictures_are_those_of_the_store(client: Client, odd_store: Path) -> None:
    dataset = dvis.open(odd_store)
    for checkpoint in range(len(ODD_LABELS)):
        answer = client.get(f"/pictures/image/0/1/2/{checkpoint}")
        image = dataset.image.isel(checkpoint=checkpoint, layer=1, channel=2)
        np.testing.assert_array_equal(decoded(answer.content), image.values)


def test_pictures_are_kept_by_browsers_while_they_are_the_same(client: Client) -> None:
    version = client.get("/api/layer/0/0").json()["versions"][1]
    exact = client.get("/pictures/thumbs/0/0/1/0", v=version)
    assert "immutable" in exact.headers["cache-control"]
    assert client.get("/pictures/thumbs/0/0/1/0").headers["cache-control"] == "no-store"
    stale = client.get("/pictures/thumbs/0/0/1/0", v=f"{version[:8]}-0000")
    assert (stale.status, stale.headers["cache-control"]) == (200, "no-store")
    # The number is another checkpoint's by now.
    other = client.get("/pictures/thumbs/0/0/2/0", v=version)
    assert other.status == 409


@pytest.mark.parametrize(
    "path",
    ["/api/variant/1", "/api/layer/0/3", "/api/unit/0/0/9", "/pictures/thumbs/0/0/5/0",
     "/pictures/thumbs/0/0/0/1", "/pictures/strip/0/0/9", "/pictures/image/0/0/0/5",
     "/api/layer/0/-1", "/api/layer/0/x", "/api/layer/0/" + "9" * 5000, "/api/nothing",
     "/assets/nothing.js", "/assets/page.html.j2", "/assets/", "/pictures/thumbs/0/0/0/0/"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert answer.json()["error"]


def test_every_answer_keeps_the_browser_strict(client: Client) -> None:
    paths = ("/", "/api/overview", "/assets/source.js", "/pictures/strip/0/0/0", "/nothing")
    for path in paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("LOCALHOST:1", 200),
     ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
     ("192.168.0.7", 421), ("0.0.0.0", 421), ("", 421), ("localhost:80@evil.example", 421),
     ("[::1", 421), ("[::1]x", 421)],
)  # fmt: skip
def test_other_names_of_the_host_are_refused(client: Client, host: str, status: int) -> None:
    assert client.get("/api/overview", headers={"host": host}).status == status


def test_a_server_for_others_goes_by_its_addresses_and_own_name_alone(odd_store: Path) -> None:
    with serving(odd_store, host="0.0.0.0") as client:
        for host, status in (
            ("192.168.0.7:80", 200), (socket.gethostname(), 200), ("evil.example", 421)
        ):  # fmt: skip
            assert client.get("/api/overview", headers={"host": host}).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "document"},
    ],
)
def test_requests_of_other_sites_are_refused(client: Client, headers: dict[str, str]) -> None:
    for path in ("/", "/api/overview", "/pictures/strip/0/0/0"):
        assert client.get(path, headers=headers).status == 403


def test_a_link_from_another_site_opens_the_page_and_nothing_else(client: Client) -> None:
    headers = {
        "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"
    }  # fmt: skip
    assert client.get("/", headers=headers).status == 200
    assert client.get("/api/overview", headers=headers).status == 403
    own = {"sec-fetch-site": "same-origin", "origin": client.origin}
    assert client.get("/api/overview", headers=own).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_let_through(client: Client, method: str) -> None:
    answer = client.request(method, "/api/overview")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_head_is_answered_without_a_body(client: Client) -> None:
    answer = client.request("HEAD", "/api/overview")
    assert answer.status == 200
    assert answer.content == b""


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/assets/../server.py", "/assets/..%2fserver.py", "//etc/passwd",
     "/assets/%2e%2e/%2e%2e/__init__.py", "/assets/..\\server.py", "/assets//etc/passwd",
     "/assets/source.js%00.css", "/pictures/../assets/source.js", "/%2e%2e/zarr.json",
     "/zarr.json", "/file:///etc/passwd"],
)  # fmt: skip
def test_no_address_leads_out_of_the_page(
    server: tuple[subprocess.Popen[str], int], path: str
) -> None:
    status, answer = raw(server[1], get(path))
    assert status in (400, 404)
    assert b"root:" not in answer
    assert b"import" not in answer


def test_absolute_targets_and_two_hosts_are_refused(
    server: tuple[subprocess.Popen[str], int],
) -> None:
    _, port = server
    assert raw(port, get("/api/overview"))[0] == 200
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(port, two)[0] in (400, 421)
    assert raw(port, get("http://evil.example/", host="evil.example"))[0] in (400, 404, 421)
    assert raw(port, b"GET / HTTP/1.0\r\n\r\n")[0] in (400, 421)


def test_ctrl_c_ends_the_server(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    assert raw(port, get("/"))[0] == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_only_this_machine_can_reach_it_unless_told(
    capfd: pytest.CaptureFixture[str], odd_store: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="Give another --port"):
            serve(odd_store, port=taken.getsockname()[1])
    with pytest.raises(FileNotFoundError, match="No store at"):
        serve(odd_store.with_name("none.zarr"))


def test_a_store_that_grows_is_shown_as_it_is_then(tmp_path: Path) -> None:
    labels = [f"step_{step}" for step in (0, 10, 20)]
    store = tmp_path / "net.zarr"
    write_store(store, labels[:2], ["conv1"], size=48)
    task = Task("conv1", (0, 2))
    parameters = {"input_mean": [0.0] * 3, "input_std": [1.0] * 3}
    with serving(store) as client, writing(store, "net", "checkpoints", "features") as path:
        recorder = FeatureRecorder(
            path, "checkpoints", image_size=48, number_of_images=1, parameters=parameters
        )
        before = signature_of(client)
        assert len(client.get("/api/variant/0").json()["checkpoints"]) == 2
        recorder.prepare(
            [parse_checkpoint(labels[2])], {}, {"n_channels": {"conv1": 3}}, [task], {}
        )
        there = client.get("/api/layer/0/0").json()
        assert there["status"] == ["111", "111", "000"]
        middle = signature_of(client)
        assert middle != before
        record(recorder, labels[2], (2, 0), task, size=48)
        after = client.get("/api/layer/0/0").json()
        assert after["status"] == ["111", "111", "101"]
        assert after["versions"][2] != there["versions"][2]
        assert signature_of(client) != middle
        image = decoded(client.get("/pictures/image/0/0/2/2").content)
        np.testing.assert_array_equal(image, image_of(2, 0, 2, 48))


def signature_of(client: Client) -> Any:
    signature = client.get("/api/signature").json()["signature"]
    assert client.get("/api/overview").json()["signature"] == signature
    return signature


def test_a_page_is_looked_at_while_another_process_writes(tmp_path: Path) -> None:
    labels = [f"epoch_{epoch}" for epoch in range(40)]
    store = tmp_path / "resnet18.zarr"
    tree = write_tree(tmp_path, labels[:2], ("layer1",), 4)
    dvis.ingest_tree(tree, store=store)
    write_tree(tmp_path, labels, ("layer1", "layer2"), 4)
    code = f"import dvis; dvis.ingest_tree({str(tree)!r}, store={str(store)!r})"
    writer = subprocess.Popen([sys.executable, "-c", code])
    of_layers, of_units = set(), set()
    with serving(store) as client:
        while writer.poll() is None:
            for path in ("/api/overview", "/api/variant/0", "/api/layer/0/0"):
                of_layers.add(client.get(path).status)
            of_units.add(client.get("/api/unit/0/0/1").status)
            versions = client.get("/api/layer/0/0").json()["versions"]
            address = f"/pictures/thumbs/0/0/{len(versions) - 1}/0"
            of_units.add(client.get(address, v=versions[-1]).status)
        assert writer.returncode == 0
        assert len(client.get("/api/variant/0").json()["checkpoints"]) == 40
        assert client.get("/api/layer/0/1").json()["status"] == ["1111"] * 40
    assert of_layers == {200}
    # A unit that is just made again is not there; a place may become another checkpoint's.
    assert of_units <= {200, 404, 409}


def test_a_layer_of_which_there_is_nothing_is_empty(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", ["step_0", "step_1"], ["conv1"])
    write_store(store, [], ["conv2"])
    with serving(store) as client:
        assert client.get("/api/variant/0").json()["layers"][1]["n_channels"] == 0
        layer = client.get("/api/layer/0/1").json()
        assert (layer["channels"], layer["status"], layer["growth"]) == ([], ["", ""], [])
        assert client.get("/pictures/thumbs/0/1/0/0").status == 404


def test_drift_is_that_of_the_analysis(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    store = write_store(tmp_path / "net.zarr", ["step_0", "step_1", "step_2"], ["conv1"])
    dataset = dvis.open(store)
    drift = dataset.dvis.drift().compute()
    with serving(store) as client:
        found = client.get("/api/drift/0/0").json()
        channel = int(rng.integers(3))
        for name in ("to_last", "to_previous"):
            expected = float(drift[name].mean("checkpoint").sel(channel=channel).item())
            assert found[name][channel] == pytest.approx(expected, rel=1e-4, abs=1e-6)
        again = threading.Thread(target=lambda: client.get("/api/drift/0/0"))
        again.start()
        again.join(1)  # kept, so no process is started
        assert not again.is_alive()
