"""What a recipe asks to crawl: URLs, and queries whose results are crawled."""

import functools
from collections.abc import Iterator
from pathlib import Path

from stages.crawl.config import CrawlConfig, check_url
from stages.resources import locate


def given_urls(config: CrawlConfig) -> Iterator[str]:
    """URLs of ``urls`` and of the lines of ``url_files``.

    Raises:
        ValueError: A file cannot be read, or a line is not an http(s) URL; the text names file and line.
    """
    yield from config.urls
    for name in config.url_files:
        yield from _urls_of(name)


def listing_queries(config: CrawlConfig) -> list[str]:
    """The search queries of all cities and the playlists, without repetitions."""
    return list(dict.fromkeys([*expand_search(config), *config.playlists]))


def expand_search(config: CrawlConfig) -> list[str]:
    """Search queries in yt-dlp's form, such as ``ytsearch50:Tokyo street walk``."""
    return [query for search in config.searches for query in search.queries()]


def _urls_of(name: str) -> tuple[str, ...]:
    path = Path(locate(name))
    try:
        state = path.stat()
        return _listed(name, path, state.st_mtime_ns, state.st_size)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"crawl.url_files: {name} cannot be read: {error}") from error


@functools.lru_cache(8)
def _listed(name: str, path: Path, *_: int) -> tuple[str, ...]:
    """URLs of a file; a command checks them, and then plans with them."""
    return tuple(_checked(name, path.read_text(encoding="utf-8-sig").splitlines()))


def _checked(name: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield check_url(line)
            except ValueError as error:
                raise ValueError(f"crawl.url_files: {name}, line {number}: {error}") from error
