from pathlib import Path

import pytest

from stages.crawl.config import CrawlConfig
from stages.crawl.sources import expand_search, given_urls, listing_queries, video_key

SEARCH = {"query": "{city} street walk", "cities": ["Tokyo", "São Paulo"], "limit": 7}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://youtu.be/dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://youtu.be/dQw4w9WgXcQ?t=30", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://m.youtube.com/watch?v=dQw4w9WgXcQ&feature=share", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL123&index=4", ("youtube", "dQw4w9WgXcQ")),
        ("https://www.youtube.com/shorts/dQw4w9WgXcQ", ("youtube", "dQw4w9WgXcQ")),
        ("https://vimeo.com/76979871", ("vimeo", "76979871")),
        ("https://commons.wikimedia.org/wiki/File:Street_in_Rome.webm", ("wikimedia", "Street_in_Rome.webm")),
        ("http://127.0.0.1:8642/street.mp4", ("generic", "street-3f9b5d0c")),
        ("https://example.com/a/street.mp4?token=1", ("generic", "street-b7c8d6ea")),
        ("https://example.com/", ("generic", "index-")),
        ("https://example.com/a%2Fb%20c.mp4", ("generic", "b_c-")),
    ],
)
def test_key_of_a_video(url: str, key: tuple[str, str]) -> None:
    extractor, id_ = video_key(url)
    assert extractor == key[0]
    if extractor == "generic":
        stem, _, digest = id_.rpartition("-")
        assert stem == key[1].rpartition("-")[0]
        assert len(bytes.fromhex(digest)) == 4
    else:
        assert id_ == key[1]


def test_files_of_the_same_name_at_other_addresses_are_other_videos() -> None:
    one, other = video_key("https://a.com/street.mp4"), video_key("https://b.com/street.mp4")
    assert one != other
    assert one == video_key("https://a.com/street.mp4")


def test_given_urls_come_from_the_recipe_and_from_files(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("﻿# cameras\n\n  https://example.com/b.mp4  \nhttps://example.com/c.mp4\n", encoding="utf-8")
    config = CrawlConfig(urls=("https://example.com/a.mp4",), url_files=(str(listed),))
    assert list(given_urls(config)) == [f"https://example.com/{name}.mp4" for name in "abc"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"https://a.com/x\nwww.b.com/y\n", "line 2: 'www.b.com/y' is no http"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_a_bad_line_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        list(given_urls(CrawlConfig(url_files=(str(listed),))))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"crawl\.url_files: nowhere\.txt cannot be read"):
        list(given_urls(CrawlConfig(url_files=("nowhere.txt",))))


def test_searches_become_one_query_per_city() -> None:
    config = CrawlConfig.model_validate({"searches": [SEARCH, {"query": "crossing", "site": "ytsearchdate"}]})
    assert expand_search(config) == [
        "ytsearch7:Tokyo street walk",
        "ytsearch7:São Paulo street walk",
        "ytsearchdate50:crossing",
    ]


def test_listing_queries_are_searches_and_playlists_each_once() -> None:
    feed = "https://example.com/feed.rss"
    config = CrawlConfig.model_validate({"searches": [SEARCH, SEARCH], "playlists": [feed, feed]})
    assert listing_queries(config) == ["ytsearch7:Tokyo street walk", "ytsearch7:São Paulo street walk", feed]
