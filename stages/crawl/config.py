"""Configuration of the crawl stage."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from stages.config import Config

_CITY = "{city}"


def check_url(url: str) -> str:
    """Return ``url`` without surrounding blanks.

    Raises:
        ValueError: It is not an http(s) URL with a host.
    """
    url = url.strip()
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or len(url.split()) > 1:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    return url


def _check_proxy(proxy: str) -> str:
    if urlsplit(proxy).scheme not in ("http", "https", "socks4", "socks5", "socks5h") or not urlsplit(proxy).hostname:
        raise ValueError(f"{proxy!r} is not the URL of a proxy, such as http://host:3128 or socks5h://host:1080")
    return proxy


Url = Annotated[str, AfterValidator(check_url)]
Proxy = Annotated[str, AfterValidator(_check_proxy)]


class Search(Config):
    """A search query, run once or once per city."""

    query: str = Field(min_length=1)
    """Words to search for; {city} stands for each of the cities."""
    cities: tuple[str, ...] = ()
    """Cities to insert for {city}."""
    limit: int = Field(default=50, ge=1, le=10_000)
    """Most results per query."""
    site: str = Field(default="ytsearch", pattern=r"^[a-z0-9]+search(date)?$")
    """Search extractor of yt-dlp: ytsearch, ytsearchdate, scsearch, bilisearch and so on."""

    @model_validator(mode="after")
    def _cities_and_place(self) -> Self:
        if (_CITY in self.query) != bool(self.cities):
            raise ValueError(f"cities and {_CITY} in the query go together: query {self.query!r}, cities {self.cities}")
        return self

    def queries(self) -> list[str]:
        """The queries in yt-dlp's form, such as ``ytsearch50:Tokyo street walk``."""
        texts = [self.query.replace(_CITY, city) for city in self.cities] or [self.query]
        return [f"{self.site}{self.limit}:{text}" for text in texts]


class CrawlConfig(Config):
    """Where videos come from, and how politely and safely they are downloaded."""

    # A downloaded video stays valid whatever list named it; only options that decide its pixels make it stale.
    operational: ClassVar[frozenset[str]] = frozenset(
        {
            *("urls", "url_files", "searches", "playlists"),
            *("max_bytes", "max_duration_s", "timeout_s", "socket_timeout_s", "allow_private_addresses"),
            *("retries", "sleep_s", "rate_limit", "concurrency", "cookies_file", "proxy", "keep_media"),
        }
    )

    urls: tuple[Url, ...] = ()
    """URLs of videos: pages that yt-dlp knows, or media files."""
    url_files: tuple[str, ...] = ()
    """Text files with one URL per line; blank lines and lines that begin with # are skipped."""
    searches: tuple[Search, ...] = ()
    """Search queries whose results are crawled."""
    playlists: tuple[Url, ...] = ()
    """URLs of playlists, channels or feeds whose entries are crawled."""
    max_height: int = Field(default=720, ge=144)
    """Tallest format to download, pixels."""
    max_bytes: int = Field(default=2_000_000_000, gt=0)
    """Largest file to download, bytes."""
    max_duration_s: float = Field(default=21_600, gt=0)
    """Longest video to download, seconds, as its page states it."""
    timeout_s: float = Field(default=3_600, gt=0)
    """Wall-clock limit for one video or one listing, seconds."""
    socket_timeout_s: float = Field(default=30, gt=0)
    """Longest time to wait for a server to answer, seconds."""
    retries: int = Field(default=3, ge=0)
    """Attempts to resume a broken transfer; each continues where the last one ended."""
    sleep_s: float = Field(default=1.0, ge=0)
    """Pause between the requests that read a page, seconds."""
    rate_limit: int | None = Field(default=None, gt=0)
    """Most bytes per second of one download; null = no limit."""
    concurrency: int = Field(default=4, ge=1)
    """Videos downloaded at the same time."""
    cookies_file: Path | None = None
    """Cookies of a browser in Netscape format, for sites that require a login; the file is never written."""
    proxy: Proxy | None = None
    """Proxy for all requests; null = as the environment variables say."""
    keep_media: bool = True
    """Keep the media files after detect has finished with them."""
    allow_private_addresses: bool = False
    """Also download from loopback, link-local, private and reserved addresses."""
    format_preference: Literal["h264", "vp9", "av1"] = "h264"
    """Codec to prefer among formats of the same size; H.264 is the cheapest to decode."""
