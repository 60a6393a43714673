"""The sources that a crawl uses, and which of them handles an address."""

from collections.abc import Sequence
from typing import Final

from stages.crawl.sources import ytdlp
from stages.crawl.sources.source import Source

SOURCES: Final[tuple[Source, ...]] = (ytdlp,)
"""In order of preference. yt-dlp accepts every address, so it is the last."""


def source_of(address: str, sources: Sequence[Source] = SOURCES) -> Source:
    """The first source that accepts a URL or search query.

    Raises:
        ValueError: None of them does.
    """
    for source in sources:
        if source.accepts(address):
            return source
    raise ValueError(f"{address!r} is handled by none of the sources {', '.join(one.__name__ for one in sources)}")


def name_video(url: str, sources: Sequence[Source] = SOURCES) -> str:
    """``<extractor>:<id>`` of a video, from its URL alone and offline."""
    return ":".join(source_of(url, sources).key(url))
