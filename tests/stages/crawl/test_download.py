import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import schemas.tables
from stages.crawl.config import CrawlConfig
from stages.crawl.download import Fetched, fetch
from stages.crawl.listing import list_entries
from stages.crawl.video_rows import video_row
from stages.errors import EmptyUnit, UnitError
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP, serve

POLITE = {"allow_private_addresses": True, "sleep_s": 0, "retries": 1, "socket_timeout_s": 10, "timeout_s": 60}

# What is asked for, and how the settings differ.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "good": ("{base}/clip.mp4", {}),
    "redirected": ("{base}/to/{base}/clip.mp4", {}),
    "empty": ("{base}/empty.mp4", {}),
    "page": ("{base}/page.html", {}),
    "disguised": ("{base}/disguised.mp4", {}),
    "missing": ("{base}/nothing.mp4", {}),
    "busy": ("{base}/busy.mp4", {}),
    "flood": ("{base}/flood.mp4", {}),
    "breaks": ("{base}/breaks.mp4", {}),
    "endless": ("{base}/endless.mp4", {"max_bytes": 3_000_000}),
    "trickle": ("{base}/trickle.mp4", {"timeout_s": 12, "socket_timeout_s": 60}),
    "silent": ("{base}/hang.mp4", {"socket_timeout_s": 1}),
    "feed": ("{base}/feed.rss", {}),
    "long": ("{base}/long.html", {"max_duration_s": 3600}),
    "private": ("{base}/clip.mp4", {"allow_private_addresses": False}),
    "file": ("{base}/to/file:///etc/passwd", {}),
    "unreachable": ("http://127.0.0.1:1/clip.mp4", {}),
}

Outcome = tuple[Fetched | BaseException, list[str], float]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """Every request made once, a few at a time; the result, what lies in the folder afterwards, and the seconds."""
    root = tmp_path_factory.mktemp("crawl")
    with serve() as server, ThreadPoolExecutor(4) as pool:

        def ask(name: str) -> Outcome:
            url, changes = REQUESTS[name]
            directory = root / name
            directory.mkdir()
            config = CrawlConfig.model_validate(POLITE | changes)
            began = time.monotonic()
            try:
                result: Fetched | BaseException = fetch(url.format(base=server.base), directory, config)
            except (UnitError, EmptyUnit) as error:
                result = error
            return result, sorted(path.name for path in directory.iterdir()), time.monotonic() - began

        yield dict(zip(REQUESTS, pool.map(ask, REQUESTS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["good", "redirected"])
def test_a_video_arrives_whole(name: str, outcomes: dict[str, Outcome]) -> None:
    fetched, left, _ = outcomes[name]
    assert isinstance(fetched, Fetched)
    assert fetched.path.read_bytes() == CLIP.read_bytes()
    assert left == [fetched.path.name]
    assert fetched.video_id.startswith("generic:clip-")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "retryable", "said"),
    [
        ("page", "not_a_video", False, "an HTML page without a video"),
        ("missing", "http_404", False, "nothing at this URL (HTTP 404)"),
        ("busy", "http_503", True, "(HTTP 503)"),
        ("flood", "http_429", True, "crawl.sleep_s"),
        ("breaks", "download_broken", True, "broke the transfer off repeatedly"),
        ("endless", "too_large", False, "crawl.max_bytes allows 3,000,000"),
        ("trickle", "timeout", True, "not finished after 12 s, the limit of crawl.timeout_s"),
        ("silent", "timeout", True, "did not answer in time"),
        ("feed", "playlist", False, "crawl.playlists"),
        ("long", "too_large", False, "the video lasts 32,400 s; crawl.max_duration_s allows 3,600 s"),
        ("private", "private_address", False, "127.0.0.1, which is not a public address"),
        ("file", "scheme", False, "only http and https URLs are supported"),
        ("unreachable", "network", True, "cannot be reached"),
    ],
)
def test_what_goes_wrong_is_told(
    name: str, kind: str, retryable: bool, said: str, outcomes: dict[str, Outcome]
) -> None:
    error, left, _ = outcomes[name]
    assert isinstance(error, UnitError)
    assert (error.kind, error.retryable) == (kind, retryable), str(error)
    assert said in str(error)
    assert left == []


@pytest.mark.slow
def test_an_empty_file_is_an_empty_unit(outcomes: dict[str, Outcome]) -> None:
    nothing, left, _ = outcomes["empty"]
    assert isinstance(nothing, EmptyUnit)
    assert (str(nothing), left) == ("the server sent an empty file", [])


@pytest.mark.slow
def test_a_page_that_calls_itself_a_video_is_found_out(outcomes: dict[str, Outcome]) -> None:
    fetched, *_ = outcomes["disguised"]
    assert isinstance(fetched, Fetched)
    with fetched.path.open("rb") as file, pytest.raises(UnitError, match="looks like an HTML page"):
        probe(file, VideoLimits())


@pytest.mark.slow
def test_the_clock_stops_a_trickle(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["trickle"][2] < 16


@pytest.mark.slow
def test_a_feed_lists_each_video_once(outcomes: dict[str, Outcome]) -> None:
    with serve() as server:
        entries = list_entries(f"{server.base}/feed.rss", CrawlConfig.model_validate(POLITE))
        assert [(entry["position"], entry["title"]) for entry in entries] == [(0, "One"), (1, "Two")]
        assert [entry["url"] for entry in entries] == [f"{server.base}/clip.mp4", f"{server.base}/other.mp4"]
        assert entries[0]["video_id"].startswith("generic:clip-")
        assert {entry["query"] for entry in entries} == {f"{server.base}/feed.rss"}
        assert {*entries[0], "unit_id"} == set(schemas.tables.LISTINGS.names)
        assert server.hits == ["/feed.rss"]


@pytest.mark.slow
def test_a_proxy_is_no_way_into_the_inner_network(tmp_path: Path) -> None:
    with serve() as proxy:
        config = CrawlConfig.model_validate(POLITE | {"allow_private_addresses": False, "proxy": proxy.base})
        with pytest.raises(UnitError, match=r"10\.0\.0\.8, which is not a public address"):
            fetch("http://10.0.0.8/clip.mp4", tmp_path, config)
        with pytest.raises(UnitError, match=r"localhost, which is not a public address"):
            fetch("http://localhost/clip.mp4", tmp_path, config)
        assert proxy.hits == []
        with pytest.raises(UnitError, match="HTTP 404"):
            fetch("http://outside.example/clip.mp4", tmp_path, config)
        assert proxy.hits == ["http://outside.example/clip.mp4"]


def test_a_bad_address_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an http"):
        fetch("file:///etc/passwd", tmp_path, CrawlConfig())


def test_the_row_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "media.mp4"
    path.write_bytes(CLIP.read_bytes())
    info = {
        "extractor_key": "Youtube",
        "webpage_url": "https://me:secret@example.com/watch",
        "title": "A walk",
        "channel": "Walker",
        "upload_date": "20240229",
        "license": "Creative Commons Attribution license (reuse allowed)",
    }
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    fetched = Fetched(path, "youtube:abc", "https://youtu.be/abc", info, moment)
    with path.open("rb") as file:
        facts = probe(file, VideoLimits())
    table = video_row(fetched, facts, media_path="media/x.mp4", query="ytsearch5:walk", unit_id="youtube:abc")
    assert table.schema == schemas.tables.VIDEOS
    [row] = table.to_pylist()
    assert [name for name, value in row.items() if value is None] == []
    assert (row["video_id"], row["extractor"], row["uploader"]) == ("youtube:abc", "youtube", "Walker")
    assert (row["source_url"], row["upload_date"]) == ("https://example.com/watch", dt.date(2024, 2, 29))
    assert (row["frames"], row["media_bytes"], row["crawled_at"]) == (795, CLIP.stat().st_size, moment)
    assert row["media_sha256"] == "f4c1bd77afbaf810b8115aaeddca47a218539f93ec3396bf48493164b64a6383"


@pytest.mark.parametrize("date", [None, "", "yesterday", "20241301"])
def test_a_date_that_is_none_stays_empty(date: str | None, tmp_path: Path) -> None:
    path = tmp_path / "media.mp4"
    path.write_bytes(CLIP.read_bytes())
    with path.open("rb") as file:
        facts = probe(file, VideoLimits())
    fetched = Fetched(path, "generic:a-1", "http://a/b", {"upload_date": date}, dt.datetime.now(dt.UTC))
    [row] = video_row(fetched, facts, media_path="m", query=None, unit_id="generic:a-1").to_pylist()
    assert row["upload_date"] is None
    assert row["extractor"] == "generic"
