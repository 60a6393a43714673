"""Listing videos by a search query, a playlist or a folder."""

from collections.abc import Sequence
from typing import Any

from stages.crawl.config import CrawlConfig
from stages.crawl.process import run_worker
from stages.crawl.sources.known_sources import SOURCES, name_video, source_of
from stages.crawl.sources.source import Source


def list_entries(query: str, config: CrawlConfig, sources: Sequence[Source] = SOURCES) -> list[dict[str, Any]]:
    """Videos that a query lists; their own pages are not opened.

    Args:
        query: One of ``stages.crawl.targets.listing_queries``.
        config: How to reach the site.
        sources: Sources to choose from.

    Returns:
        Rows of ``schemas.tables.LISTINGS`` without their ``unit_id``; each video once.

    Raises:
        UnitError: The site could not be asked.
    """
    source = source_of(query, sources).__name__
    request = {"task": "list", "source": source, "query": query, "config": config.model_dump(mode="json")}
    rows: dict[str, dict[str, Any]] = {}
    for entry in run_worker(request, config.timeout_s)["entries"]:
        name = name_video(entry["url"], sources)
        row = {"position": len(rows), "url": entry["url"], "video_id": name, "title": entry["title"], "query": query}
        rows.setdefault(name, row)
    return list(rows.values())
