"""The table of crawled videos, which most stages read."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.snapshot import Snapshot
from schemas.declaration import Table
from stages.arrays import arrow

VIDEOS = Table(name="videos", folder="videos", schema=schemas.tables.VIDEOS, row="one row per downloaded video")
MEDIA = "media"


def live_videos(snapshot: Snapshot, columns: Sequence[str] = VIDEOS.schema.names) -> pa.Table:
    """Rows of ``videos`` that count; a video reached by two URLs is returned once.

    Args:
        snapshot: What counts.
        columns: Columns to read; video_id is always among them. The seek points are larger than all others together.
    """
    return first_of_each(snapshot.read("crawl", VIDEOS, list(dict.fromkeys(["video_id", *columns]))), "video_id")


def live_media(snapshot: Snapshot) -> set[str]:
    """Media files named in ``videos``."""
    return {str(path) for path in live_videos(snapshot, ["media_path"])["media_path"].to_pylist()}


def first_of_each(table: pa.Table, key: str) -> pa.Table:
    """The first row with each value of the key, in the order of the table."""
    places = pc.index_in(table[key], value_set=table[key].combine_chunks().unique())
    _, first = np.unique(places.to_numpy(), return_index=True)
    return table.take(arrow(np.sort(first)))
