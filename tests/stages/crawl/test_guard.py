import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stages.crawl.guard import is_public
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
for family, kind, address in ((socket.AF_INET, 1, ("localhost", 80)), (socket.AF_INET, 2, ("127.0.0.1", 53)),
                              (socket.AF_UNIX, 1, sys.argv[1])):
    try:
        sock = socket.socket(family, kind)
        sock.sendto(b"x", address) if kind == 2 else sock.connect(address)
    except OSError:
        pass
print(len(guard.refused))
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert run(code, str(tmp_path / "s")) == "3"
