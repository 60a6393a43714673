"""Downloading one video in a process of its own, with limits on time, size and the addresses it may connect to."""

import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.crawl.config import CrawlConfig, check_url
from stages.crawl.process import run_worker
from stages.crawl.sources.known_sources import SOURCES, name_video, source_of
from stages.crawl.sources.source import Source
from stages.errors import EmptyUnit


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded.

    Attributes:
        path: The file.
        video_id: ``<extractor>:<id>`` of the requested URL.
        url: The requested URL.
        info: What the site states about the video, as ``stages.crawl.sources.source.Download`` describes it.
        fetched_at: When the download ended.
    """

    path: Path
    video_id: str
    url: str
    info: dict[str, Any]
    fetched_at: dt.datetime


def fetch(url: str, directory: Path, config: CrawlConfig, sources: Sequence[Source] = SOURCES) -> Fetched:
    """Download the video of a URL: at most ``max_height`` pixels tall, and without sound if that comes separately.

    Args:
        url: Page of a video, or a media file; http or https.
        directory: Existing folder for the file; a failed download leaves nothing there.
        config: Limits and politeness.
        sources: Sources to choose from.

    Returns:
        The file and what the site states about it.

    Raises:
        UnitError: With a kind such as ``http_404``, ``private``, ``timeout`` or ``private_address`` and a text that
            says what to do; retryable if a later attempt may succeed.
        EmptyUnit: The server sent an empty file.
        ValueError: ``url`` is not an http(s) URL.
    """
    url = check_url(url)
    before = set(directory.iterdir())
    request = {"task": "fetch", "source": source_of(url, sources).__name__, "url": url, "directory": str(directory)}
    try:
        answer = run_worker(request | {"config": config.model_dump(mode="json")}, config.timeout_s)
    except BaseException:
        _remove(set(directory.iterdir()) - before)
        raise
    path = Path(answer["path"])
    if not path.stat().st_size:
        path.unlink()
        raise EmptyUnit("the server sent an empty file")
    return Fetched(path, name_video(url, sources), url, answer["info"], dt.datetime.now(dt.UTC))


def _remove(left: set[Path]) -> None:
    for path in left:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
