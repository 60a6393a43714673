"""What to crawl: addresses given, and addresses listed by searches and playlists."""

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from stages.crawl.config import CrawlConfig, check_url
from stages.crawl.process import run_worker
from stages.resources import locate

_YOUTUBE = re.compile(r"(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com")


def given_urls(config: CrawlConfig) -> Iterator[str]:
    """Addresses of ``urls`` and of the lines of ``url_files``.

    Raises:
        ValueError: A file cannot be read, or a line holds no http(s) address; the text names file and line.
    """
    yield from config.urls
    for name in config.url_files:
        yield from _urls_of(name)


def listing_queries(config: CrawlConfig) -> list[str]:
    """What is to be listed: the search queries of all cities and the playlists, each once."""
    return list(dict.fromkeys([*expand_search(config), *config.playlists]))


def expand_search(config: CrawlConfig) -> list[str]:
    """Search queries as yt-dlp takes them, such as ``ytsearch50:Tokyo street walk``."""
    return [query for search in config.searches for query in search.queries()]


def list_entries(query: str, config: CrawlConfig) -> list[dict[str, Any]]:
    """Entries of a search or a playlist, without looking into any of them.

    Args:
        query: One of ``listing_queries``.
        config: How to reach the site.

    Returns:
        Rows of ``schemas.tables.LISTINGS`` but for their ``unit_id``; a video that is listed twice is given once.

    Raises:
        UnitError: The site could not be asked.
    """
    found = run_worker({"task": "list", "query": query, "config": config.model_dump(mode="json")}, config.timeout_s)
    rows: dict[str, dict[str, Any]] = {}
    for entry in found["entries"]:
        video_id = ":".join(video_key(entry["url"]))
        row = {"position": len(rows), "url": entry["url"], "video_id": video_id, "title": entry["title"]}
        rows.setdefault(video_id, row | {"query": query})
    return list(rows.values())


def video_key(url: str) -> tuple[str, str]:
    """Name a video by its address alone, offline: addresses of the same video get the same key.

    yt-dlp's extractors know most sites' addresses. Where none does, or where its address does not hold the video's id,
    the key is the bare file name and a digest of the address.

    Returns:
        Extractor in lower case, and id; the id is free of slashes and blanks.
    """
    url = _plain(url)
    for pattern, name, temp_id in _extractors():
        if pattern(url):
            known = temp_id(url) if name != "generic" else None
            return name, quote(known, safe="@+=,~:") if known else _bare_name(url)
    return "generic", _bare_name(url)


def _plain(url: str) -> str:
    """YouTube's addresses of a video seen as part of a list name the list as well; the video is what is meant."""
    parts = urlsplit(url)
    video = parse_qs(parts.query).get("v", [""])[0]
    if _YOUTUBE.fullmatch(parts.hostname or "") and parts.path == "/watch" and video:
        return f"https://www.youtube.com/watch?v={video}"
    return url


@functools.cache
def _extractors() -> list[tuple[Any, str, Any]]:
    """Test, name and id reader of every extractor, in yt-dlp's order."""
    from yt_dlp.extractor import gen_extractor_classes

    return [(ie.suitable, ie.ie_key().lower(), ie.get_temp_id) for ie in gen_extractor_classes()]


def _bare_name(url: str) -> str:
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(last).stem)[:80] or "index"
    return f"{stem}-{hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()[:8]}"


def _urls_of(name: str) -> Iterator[str]:
    try:
        lines = Path(locate(name)).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"crawl.url_files: {name} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield check_url(line)
            except ValueError as error:
                raise ValueError(f"crawl.url_files: {name}, line {number}: {error}") from error
