"""yt-dlp as a source: pages of the sites that it knows, search queries, playlists and plain media files."""

import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from stages.crawl.config import CrawlConfig
from stages.crawl.sources import ytdlp_names
from stages.crawl.sources.source import Download, Entry
from stages.errors import EmptyUnit, UnitError

_YOUTUBE = re.compile(r"(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com")


def accepts(address: str) -> bool:  # noqa: ARG001 - yt-dlp's generic extractor tries whatever the others do not know
    """Every address."""
    return True


def key(url: str) -> tuple[str, str]:
    """Name a video by its URL alone, offline: all URLs of the same video get the same key.

    yt-dlp's extractors know the URLs of most sites. Elsewhere, or where a URL does not contain the video's id, the key
    is the bare file name and a digest of the URL.

    Returns:
        Extractor in lower case, and id; the id contains no slashes and no blanks.
    """
    url = _plain(url)
    name, known = ytdlp_names.find(url)
    return name, quote(known, safe="@+=,~:") if known else _bare_name(url)


def entries(query: str, config: CrawlConfig) -> list[Entry]:
    """Videos of a search or a playlist; playlists inside it (a channel's tabs) are opened too."""
    from stages.crawl.sources.ytdlp_client import listing

    return listing(query, config)


def fetch(url: str, directory: Path, config: CrawlConfig) -> Download:
    """Download the one video of a URL."""
    from stages.crawl.sources.ytdlp_client import download

    return download(url, directory, config)


def explain(error: Exception) -> UnitError | EmptyUnit:
    """Meaning and remedy of an error of yt-dlp."""
    from stages.crawl.sources import ytdlp_failures

    return ytdlp_failures.explain(error)


def _plain(url: str) -> str:
    """YouTube's URL of a video in a playlist names the playlist as well; only the video is meant."""
    if "youtube" not in url.lower():
        return url
    parts = urlsplit(url)
    video = parse_qs(parts.query).get("v", [""])[0]
    if _YOUTUBE.fullmatch(parts.hostname or "") and parts.path == "/watch" and video:
        return f"https://www.youtube.com/watch?v={video}"
    return url


def _bare_name(url: str) -> str:
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(last).stem)[:80] or "index"
    return f"{stem}-{hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()[:8]}"
