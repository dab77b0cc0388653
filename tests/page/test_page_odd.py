"""What a page's server does with damaged numbers, silence, and ports that are none."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from recorded_stores import write_store
from starlette.exceptions import HTTPException

from dvis.page import documents
from dvis.page.server import _Answers, listen

PROGRAM = """
import sys
from dvis.page import server
server._IDLE_S = 1.0
server.serve(sys.argv[1], on_start=lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize("error", [ValueError("odd\nnumbers"), RuntimeError("cannot decompress")])
def test_damaged_numbers_are_one_line_and_a_message(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged() -> None:
        raise error

    store = write_store(tmp_path / "s.zarr", ["a", "b"], ["conv1"])
    answers = _Answers(documents.shown_units(store))
    with pytest.raises(HTTPException, match="The store is damaged: ") as refused:
        anyio.run(answers._run, damaged)
    assert refused.value.status_code == 503
    (said,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "dvis check" in said
    assert "\n" not in said


@pytest.mark.parametrize("port", [99999, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match=rf"port is {port}; give one from 1 to 65535"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_a_connection_that_says_no_more_is_ended(tmp_path: Path, said: bytes) -> None:
    store = write_store(tmp_path / "s.zarr", ["a", "b"], ["conv1"])
    command = [sys.executable, "-c", PROGRAM, str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+)/", process.stdout.readline())
            assert found
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as connection:
                connection.sendall(said)
                began = time.monotonic()
                assert connection.recv(100) == b""
                assert time.monotonic() - began < 15
        finally:
            process.terminate()
