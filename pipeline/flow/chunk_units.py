"""Chunks of videos as units, and reading their frames; shared by detection and imported boxes."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.videos import live_videos
from pipeline.run.units import Row
from stages.arrays import Image
from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.frames import excerpt
from stages.video.limits import VideoLimits
from stages.video.media import MediaFile
from stages.video.watch import within

_CHUNK_FIELDS: list["pa.Field[Any]"] = [
    pa.field("video_id", pa.string()),
    pa.field("media_path", pa.string()),
    pa.field("start", pa.int64()),
    pa.field("stop", pa.int64()),
]
CHUNK = pa.schema(_CHUNK_FIELDS)

# Facts of the video that decoding needs, including the key frames near the chunk. Added to the chunks that run: a
# corpus of a million chunks would hold gigabytes of them.
_FACTS = "facts"
_FACT_COLUMNS = [
    *(name for name in VideoFacts.__dataclass_fields__ if name != "time_base"),
    *("time_base_num", "time_base_den"),
]

Frame = tuple[int, float, Image]
"""Index, time in seconds, and pixels."""


def add_facts(
    snapshot: Snapshot, to_read: Callable[[VideoFacts, int, int], VideoFacts] = excerpt
) -> Callable[[pa.Table], pa.Table]:
    """Make the function that adds the facts of their videos to chunks.

    Args:
        snapshot: Holds the videos.
        to_read: Reduces a video's facts to those needed between two frame indices.

    Returns:
        Function from rows with the columns of ``CHUNK`` to the same rows with their facts.
    """
    videos = live_videos(snapshot, _FACT_COLUMNS)

    def add(chunks: pa.Table) -> pa.Table:
        ours = videos.filter(pc.is_in(videos["video_id"], value_set=chunks["video_id"].combine_chunks().unique()))
        by_id = {row["video_id"]: VideoFacts.from_row(row) for row in ours.to_pylist()}
        spans = chunks.select(["video_id", "start", "stop"]).to_pylist()
        texts = [json.dumps(to_read(by_id[row["video_id"]], row["start"], row["stop"]).to_row()) for row in spans]
        return chunks.append_column(_FACTS, pa.array(texts, pa.string()))

    return add


def facts_of(row: Row) -> VideoFacts:
    """Facts of the chunk's video."""
    return VideoFacts.from_row(json.loads(row[_FACTS]))


def read_within(
    limits: VideoLimits, corpus: Corpus, path: str, read: Callable[[MediaFile], Iterable[Frame]]
) -> list[Frame]:
    """All frames that ``read`` takes from a media file, within ``limits.max_seconds``.

    Raises:
        UnitError: The file is missing, or reading takes longer.
    """

    def read_all() -> list[Frame]:
        with _open_media(corpus, path) as file:
            return list(read(file))

    return within(limits.max_seconds, read_all)


def _open_media(corpus: Corpus, path: str) -> pa.NativeFile:
    try:
        return corpus.open(path)
    except FileNotFoundError as error:
        raise UnitError(
            f"the media file {path} is missing; with crawl.keep_media false it is removed once its crops are cut. "
            "Crawl the video again, and set crawl.keep_media to true while you experiment with detect settings",
            kind="media_missing",
        ) from error
