"""Rows of the videos table."""

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa

import schemas.tables
from stages.crawl.download import Fetched
from stages.video.facts import VideoFacts


def video_row(fetched: Fetched, facts: VideoFacts, *, media_path: str, query: str | None, unit_id: str) -> pa.Table:
    """The row of ``videos`` for a downloaded file.

    Args:
        fetched: The file and what the site says of it.
        facts: What the file says of itself.
        media_path: Where the file will lie below the corpus.
        query: Search query or playlist that listed it; None when it was given by its address.
        unit_id: Unit of work.

    Returns:
        One row with ``schemas.tables.VIDEOS``.
    """
    row = (
        facts.to_row()
        | _site(fetched)
        | {
            "video_id": fetched.video_id,
            "unit_id": unit_id,
            "query": query,
            "media_path": media_path,
            "media_bytes": fetched.path.stat().st_size,
            "media_sha256": _sha256(fetched.path),
            "crawled_at": fetched.fetched_at,
        }
    )
    return pa.Table.from_pylist([row], schema=schemas.tables.VIDEOS)


def _site(fetched: Fetched) -> dict[str, Any]:
    info = fetched.info
    return {
        "extractor": (info.get("extractor_key") or fetched.video_id.partition(":")[0]).lower(),
        "source_url": _public_url(info.get("webpage_url") or fetched.url),
        "title": info.get("title"),
        "uploader": info.get("uploader") or info.get("channel"),
        "upload_date": _date(info.get("upload_date")),
        "license": info.get("license"),
    }


def _public_url(url: str) -> str:
    """The address without user name and password: it travels into what is published."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _date(text: str | None) -> dt.date | None:
    """yt-dlp's YYYYMMDD; None where a site says something else."""
    try:
        return dt.datetime.strptime(text or "", "%Y%m%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
