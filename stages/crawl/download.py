"""Fetching one video: yt-dlp in a process of its own, with limits on time, size and where it may connect to."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.crawl.config import CrawlConfig, check_url
from stages.crawl.process import run_worker
from stages.crawl.sources import video_key
from stages.errors import EmptyUnit


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded.

    Attributes:
        path: The file.
        video_id: ``<extractor>:<id>`` of the address that was asked for.
        url: That address.
        info: What the site says of the video, as yt-dlp names it.
        fetched_at: When the download ended.
    """

    path: Path
    video_id: str
    url: str
    info: dict[str, Any]
    fetched_at: dt.datetime


def fetch(url: str, directory: Path, config: CrawlConfig) -> Fetched:
    """Download the video of an address: at most ``max_height`` pixels tall, without its sound where it comes apart.

    Args:
        url: Page of a video, or a media file; http or https.
        directory: Existing folder for the file; a failed download leaves nothing there.
        config: Limits and manners.

    Returns:
        The file and what the site says of it.

    Raises:
        UnitError: With a kind such as ``http_404``, ``private``, ``timeout``, ``private_address`` and a text that says
            what to do; retryable where time may heal it.
        EmptyUnit: The server sent an empty file.
        ValueError: ``url`` is no http(s) address.
    """
    url = check_url(url)
    before = set(directory.iterdir())
    request = {"task": "fetch", "url": url, "directory": str(directory), "config": config.model_dump(mode="json")}
    try:
        answer = run_worker(request, config.timeout_s)
    except BaseException:
        _remove(set(directory.iterdir()) - before)
        raise
    path = Path(answer["path"])
    if not path.stat().st_size:
        path.unlink()
        raise EmptyUnit("the server sent an empty file")
    return Fetched(path, ":".join(video_key(url)), url, answer["info"], dt.datetime.now(dt.UTC))


def _remove(left: set[Path]) -> None:
    import shutil

    for path in left:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
