"""A second source beside yt-dlp: it is chosen by URL, and the guard and all limits hold for it as well."""

from pathlib import Path

import pytest

import schemas.tables
from stages.crawl.config import CrawlConfig
from stages.crawl.download import fetch
from stages.crawl.listing import list_entries
from stages.crawl.sources import ytdlp
from stages.crawl.sources.known_sources import SOURCES, name_video, source_of
from stages.errors import UnitError
from tests.stages.crawl.serving import CLIP, serve
from tests.stages.crawl.sources import http_folder

BOTH = (http_folder, *SOURCES)


def config(**changes: object) -> CrawlConfig:
    return CrawlConfig.model_validate(
        {"allow_private_addresses": True, "sleep_s": 0, "retries": 0, "socket_timeout_s": 10, "timeout_s": 60} | changes
    )


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("http://a.example/walks/one.mp4", http_folder),
        ("http://a.example/other/one.mp4", ytdlp),
        ("ytsearch5:Tokyo street walk", ytdlp),
    ],
)
def test_the_first_source_that_accepts_an_address_handles_it(address: str, source: object) -> None:
    assert source_of(address, BOTH) is source
    assert source_of(address) is ytdlp


def test_an_address_that_no_source_accepts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'http://a\.example/x' is handled by none of .*http_folder"):
        source_of("http://a.example/x", (http_folder,))


def test_a_source_names_its_videos() -> None:
    assert name_video("http://a.example/walks/one.mp4", BOTH) == "httpfolder:one"
    assert name_video("http://a.example/walks/one.mp4").startswith("generic:one-")


def test_a_folder_is_listed_and_fetched_without_ytdlp(tmp_path: Path) -> None:
    with serve() as server:
        listed = list_entries(f"{server.base}/walks/", config(), BOTH)
        assert [(row["position"], row["video_id"], row["title"]) for row in listed] == [
            (0, "httpfolder:one", "one.mp4"),
            (1, "httpfolder:two", "two.mp4"),
        ]
        assert {*listed[0], "unit_id"} == set(schemas.tables.LISTINGS.names)
        fetched = fetch(listed[0]["url"], tmp_path, config(), BOTH)
        assert server.hits == ["/walks/", "/walks/one.mp4"], "nothing else was asked for"
    assert fetched.path.read_bytes() == CLIP.read_bytes()
    assert (fetched.video_id, fetched.url, fetched.info["license"]) == ("httpfolder:one", listed[0]["url"], "CC0")


@pytest.mark.parametrize(
    ("path", "changes", "kind", "said"),
    [
        ("/walks/two.mp4", {}, "http_404", "HTTP 404"),
        ("/walks/one.mp4", {"allow_private_addresses": False}, "private_address", "127.0.0.1, which is not a public"),
        ("/to/{base}/walks/one.mp4", {"allow_private_addresses": False}, "private_address", "127.0.0.1"),
        ("/walks/hang.mp4", {"timeout_s": 3, "socket_timeout_s": 30}, "timeout", "limit of crawl.timeout_s"),
        ("/walks/endless.mp4", {"max_bytes": 1_000_000}, "too_large", "crawl.max_bytes allows 1,000,000"),
    ],
    ids=["missing", "private", "redirected", "silent", "endless"],
)
def test_guard_and_limits_hold_for_every_source(
    path: str, changes: dict[str, object], kind: str, said: str, tmp_path: Path
) -> None:
    with serve() as server:
        url = server.base + path.format(base=server.base)
        with pytest.raises(UnitError) as caught:
            fetch(url, tmp_path, config(**changes), BOTH)
    assert caught.value.kind == kind, str(caught.value)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []
