"""yt-dlp as a library: the options that it gets and the results that are used. Runs in the worker process only."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import ExtractorError

from stages.crawl.config import CrawlConfig
from stages.crawl.sources.source import Download, Entry
from stages.errors import UnitError

_LOG = logging.getLogger(__name__)

_INFO = ("id", "extractor_key", "webpage_url", "title", "uploader", "channel", "upload_date", "license", "duration")

# Schemes that requests may have. Others (file, ftp, rtmp, ...) read local files or reach servers past the guard.
_SCHEMES = ("http:", "https:", "data:")


class _Crawler(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """yt-dlp restricted to http(s)."""

    def urlopen(self, req: Any) -> Any:
        url = req if isinstance(req, str) else getattr(req, "url", None) or req.full_url
        if not url.lower().startswith(_SCHEMES):
            raise RequestError(f"refused: {url.partition(':')[0]} is neither http nor https")
        return super().urlopen(req)


def download(url: str, directory: Path, config: CrawlConfig) -> Download:
    """Download the one video of a URL into a directory."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        options = _options(config, Path(scratch)) | {
            "outtmpl": {"default": str(Path(scratch) / "media.%(ext)s")},
            "format": f"bv*[height<=?{config.max_height}]",
            "format_sort": ["res", f"vcodec:{config.format_preference}", "ext:mp4", "proto"],
            "match_filter": lambda info, *, incomplete=False: _check(info, config),  # noqa: ARG005 - yt-dlp names it
            "progress_hooks": [lambda progress: _check_size(progress, config.max_bytes)],
            "noplaylist": True,
            "playlist_items": "1,2",
        }
        with _Crawler(options) as crawler:
            info = _single(crawler, crawler.extract_info(url, download=True), url)
        file = Path(info["requested_downloads"][0]["filepath"])
        path = directory / file.name
        file.replace(path)
    return Download(path, {name: info.get(name) for name in _INFO})


def listing(query: str, config: CrawlConfig) -> list[Entry]:
    """Videos that a search or a playlist lists; playlists inside it (a channel's tabs) are opened too."""
    with tempfile.TemporaryDirectory() as scratch, _Crawler(_options(config, Path(scratch))) as crawler:
        return list(_entries(crawler, query, depth=1))


def _entries(crawler: _Crawler, query: str, depth: int) -> list[Entry]:
    result = crawler.extract_info(query, download=False)
    found: list[Entry] = []
    for entry in result.get("entries") or [result]:
        url = entry.get("webpage_url") or entry.get("url") or ""
        if depth and _is_list(crawler, entry, url):
            found += _entries(crawler, url, depth - 1)
        elif url.startswith(("http://", "https://")):
            found.append(Entry(url, entry.get("title")))
    return found


def _is_list(crawler: _Crawler, entry: dict[str, Any], url: str) -> bool:
    key = entry.get("ie_key")
    return bool(key) and crawler.get_info_extractor(key).is_single_video(url) is False


def _options(config: CrawlConfig, scratch: Path) -> dict[str, Any]:
    options: dict[str, Any] = {
        "logger": _LOG,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "cachedir": False,
        "extract_flat": "in_playlist",
        "socket_timeout": config.socket_timeout_s,
        "retries": config.retries,
        "fragment_retries": config.retries,
        "extractor_retries": config.retries,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), _pause),
        "sleep_interval_requests": config.sleep_s,
        "ratelimit": config.rate_limit,
        "proxy": config.proxy,
        "cookiefile": _own_cookies(config.cookies_file, scratch),
        # Programs such as ffmpeg would open URLs that the guard cannot check. They are not needed: nothing is merged.
        "external_downloader": {"default": "native"},
        "hls_prefer_native": True,
        "fixup": "never",
        "updatetime": False,
        "js_runtimes": {"deno": {}, "node": {}},
    }
    return {name: value for name, value in options.items() if value is not None}


def _pause(n: int) -> float:
    """Seconds before the n-th new attempt."""
    return float(min(2**n, 30))


def _own_cookies(cookies: Path | None, scratch: Path) -> str | None:
    """A copy: yt-dlp writes cookies back, and concurrent workers would overwrite each other's."""
    if cookies is None:
        return None
    if not cookies.is_file():
        raise UnitError(f"crawl.cookies_file {cookies}: no such file on this machine", kind="configuration")
    return str(shutil.copy(cookies, scratch / "cookies.txt"))


def _check(info: dict[str, Any], config: CrawlConfig) -> None:
    """Refuse by what the page states, before anything is downloaded."""
    if info.get("n_entries", 1) > 1:
        raise _several()
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise UnitError("the video is a live stream; crawl its recording when it has ended", kind="live")
    if (duration := info.get("duration") or 0) > config.max_duration_s:
        text = f"the video lasts {duration:,.0f} s; crawl.max_duration_s allows {config.max_duration_s:,.0f} s"
        raise UnitError(text, kind="too_large")


def _check_size(progress: dict[str, Any], most: int) -> None:
    size = max(progress.get("downloaded_bytes") or 0, progress.get("total_bytes") or 0)
    if size > most:
        text = f"the file has at least {size:,} bytes; crawl.max_bytes allows {most:,}"
        raise UnitError(text, kind="too_large")


def _several() -> UnitError:
    text = "the URL lists several videos; to crawl all of them, move it to crawl.playlists"
    return UnitError(text, kind="playlist")


def _single(crawler: _Crawler, info: dict[str, Any], url: str) -> dict[str, Any]:
    """The one video of a result, which may be a page that embeds a single player."""
    if info.get("_type", "video") == "playlist":
        entries = list(info["entries"])
        if len(entries) > 1:
            raise _several()
        if not entries:
            raise ExtractorError(f"Unsupported URL: {url}", expected=True)
        info = entries[0]
    if "requested_downloads" not in info:
        info = crawler.extract_info(info["url"], download=True)
    return info
