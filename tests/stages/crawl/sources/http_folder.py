"""A source without yt-dlp: folders of videos that a web server lists as links."""

import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from stages.crawl.config import CrawlConfig
from stages.crawl.sources.source import Download, Entry
from stages.errors import EmptyUnit, UnitError

_LINK = re.compile(r'<a href="([^"]+\.mp4)"')


def accepts(address: str) -> bool:
    return "/walks/" in urlsplit(address).path


def key(url: str) -> tuple[str, str]:
    return "httpfolder", Path(urlsplit(url).path).stem


def entries(query: str, config: CrawlConfig) -> list[Entry]:
    with urllib.request.urlopen(query, timeout=config.socket_timeout_s) as page:
        links = _LINK.findall(page.read().decode())
    return [Entry(urljoin(query, link), link) for link in links]


def fetch(url: str, directory: Path, config: CrawlConfig) -> Download:
    path = directory / "media.mp4"
    with urllib.request.urlopen(url, timeout=config.socket_timeout_s) as answer, path.open("wb") as file:
        while block := answer.read(1 << 20):
            file.write(block)
    return Download(path, {"title": path.name, "license": "CC0"})


def explain(error: Exception) -> UnitError | EmptyUnit:
    if isinstance(error, urllib.error.HTTPError):
        return UnitError(f"HTTP {error.code}", kind=f"http_{error.code}", retryable=error.code >= 500)
    return UnitError(f"the server cannot be reached ({error})", kind="network", retryable=True)
