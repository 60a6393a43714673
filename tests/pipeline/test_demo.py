"""The demo's own web server, and what stops the demo before it starts."""

import contextlib
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.cli import execute
from pipeline.demo import PORT, serve_folder
from tests.runs import CLIP


def test_it_serves_the_video() -> None:
    with serve_folder(CLIP.parent) as site, urllib.request.urlopen(f"{site}/{CLIP.name}") as answer:
        assert answer.read() == CLIP.read_bytes()


def test_a_client_that_resets_the_connection_is_not_worth_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with serve_folder(CLIP.parent) as site:
        for request in (b"", b"GET /street.mp4 HTTP/1.1\r\nHost: x\r\n\r\n"):
            address = urlsplit(site)
            with socket.create_connection((address.hostname, address.port or 0)) as client:
                client.sendall(request)
                if request:
                    client.recv(1)
                # Closing sends RST instead of FIN.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _wait_for_handlers()
    assert capfd.readouterr() == ("", "")


def _wait_for_handlers() -> None:
    deadline = time.monotonic() + 30
    time.sleep(0.2)
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def busy_port() -> Iterator[None]:
    with socket.socket() as holder:
        # Another demo on this machine may hold it already, which serves as well.
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", PORT))
            holder.listen()
        yield


def test_a_busy_port_is_one_line(busy_port: None, tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["demo", "--corpus", f"{tmp_path}/corpus"]) == 2
    said = capsys.readouterr()
    assert f"port {PORT} of this machine is not available" in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_an_override_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["demo", "--set", "caption.sede=7"]) == 2
    assert "caption.sede: got 7; no such key here" in capsys.readouterr().err


def test_the_demo_builds_the_corpus_and_takes_the_overrides_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an address nothing is to do, so that the demo goes through all its steps at once."""
    monkeypatch.setattr("pipeline.demo.PORT", 0)
    monkeypatch.chdir(tmp_path)
    # A demo that builds the recipe's own corpus all the same cannot: a file is in its place.
    (tmp_path / "corpora").touch()
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    assert execute(["demo", "--corpus", "mine", "--set", "crawl.urls=[]"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("Nothing to do: mine is up to date with ")
    assert said.err == "reidforge: corpus mine: variant none has published no crop to show\n"
