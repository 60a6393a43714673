from pathlib import Path

import pytest

from stages.crawl.config import CrawlConfig
from stages.crawl.targets import expand_search, given_urls, listing_queries

SEARCH = {"query": "{city} street walk", "cities": ["Tokyo", "São Paulo"], "limit": 7}


def test_given_urls_come_from_the_recipe_and_from_files(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("﻿# cameras\n\n  https://example.com/b.mp4  \nhttps://example.com/c.mp4\n", encoding="utf-8")
    config = CrawlConfig(urls=("https://example.com/a.mp4",), url_files=(str(listed),))
    assert list(given_urls(config)) == [f"https://example.com/{name}.mp4" for name in "abc"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"https://a.com/x\nwww.b.com/y\n", "line 2: 'www.b.com/y' is not an http"), (b"\xff\xfe\x00", "cannot be read")],
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
