import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stages.crawl.guard import Guard, RefusedAddressError, is_public
from tests.stages.crawl.serving import serve

GUARDED = """
import sys, tempfile
from pathlib import Path
from stages.crawl.config import CrawlConfig
from stages.crawl.guard import Guard
from stages.crawl.sources.ytdlp import fetch

guard = Guard([sys.argv[1]])  # the one private place that this process may connect to
guard.install()
try:
    print("got", fetch(sys.argv[2], Path(tempfile.mkdtemp()), CrawlConfig(sleep_s=0, retries=0)).info["id"])
except Exception as error:
    print("refused", guard.refused)
"""

COMMAND = """
import subprocess, sys
from stages.crawl.guard import Guard

Guard().install()
try:
    subprocess.run(["true", "-i", sys.argv[1]], check=True)
    print("ran")
except OSError as error:
    print(error)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",  # Teredo: its server is 127.0.0.1
        "2001:0:808:808:0:0:80ff:fffe",  # Teredo: its client is 127.0.0.1
        "localhost",
        "",
    ],
)
def test_inner_addresses_are_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_outer_addresses_are_public(host: str) -> None:
    assert is_public(host)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers at all of 127.0.0.0/8 without set-up")
def test_a_redirect_into_the_machine_is_not_followed() -> None:
    with serve("127.0.0.2") as outside, serve("127.0.0.1") as inside:
        straight = run(GUARDED, outside.base, f"{outside.base}/clip.mp4")
        redirected = run(GUARDED, outside.base, f"{outside.base}/to/{inside.base}/clip.mp4")
        named = run(
            GUARDED, outside.base, f"{outside.base}/to/{inside.base.replace('127.0.0.1', 'localhost')}/clip.mp4"
        )
        assert straight == "got clip"
        assert redirected == "refused ['127.0.0.1']"
        assert named.startswith("refused ['")
        assert inside.hits == []


def test_no_other_program_is_handed_an_address() -> None:
    assert "is not a public address" in run(COMMAND, "http://10.0.0.1/a.m3u8")
    assert run(COMMAND, "file:/tmp/a.mp4") == "ran"


def test_the_guard_sees_names_and_other_families(tmp_path: Path) -> None:
    code = """
import socket, sys
from stages.crawl.guard import Guard
guard = Guard(); guard.install()
inet, unix = socket.AF_INET, socket.AF_UNIX
for family, kind, act in ((inet, 1, lambda sock: sock.connect(("localhost", 80))),
                          (inet, 2, lambda sock: sock.sendto(b"x", ("127.0.0.1", 53))),
                          (inet, 2, lambda sock: sock.sendmsg([b"x"], [], 0, ("127.0.0.1", 53))),
                          (unix, 1, lambda sock: sock.connect(sys.argv[1]))):
    try:
        act(socket.socket(family, kind))
    except OSError:
        pass
print(len(guard.refused))
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert run(code, str(tmp_path / "s")) == "4"


@pytest.mark.parametrize(
    ("proxy", "port", "refused"),
    [
        ("http://127.0.0.1:3128", 3128, []),
        ("http://127.0.0.1:3128", 3129, ["127.0.0.1"]),
        ("http://127.0.0.1", 80, []),
        ("https://127.0.0.1", 443, []),
        ("socks5h://127.0.0.1", 1080, []),
    ],
)
def test_of_a_private_host_the_port_of_the_proxy_alone_is_allowed(proxy: str, port: int, refused: list[str]) -> None:
    guard = Guard([proxy])
    with socket.socket(socket.AF_INET) as sock, contextlib.suppress(RefusedAddressError):
        guard._on_event("socket.connect", (sock, ("127.0.0.1", port)))
    assert guard.refused == refused
