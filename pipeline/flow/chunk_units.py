"""Chunks of videos as units, and reading their frames; shared by detection and imported boxes."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from pipeline.corpus.files import Corpus
from pipeline.run.units import Row
from stages.arrays import Image
from stages.detect.chunks import Chunk
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
    # Facts of the video that decoding needs, including the key frames near the chunk.
    pa.field("facts", pa.string()),
]
CHUNK = pa.schema(_CHUNK_FIELDS)

Frame = tuple[int, float, Image]
"""Index, time in seconds, and pixels."""


def chunk_rows(
    video: Row, chunks: Iterable[Chunk], to_read: Callable[[VideoFacts, int, int], VideoFacts] = excerpt
) -> Iterator[Row]:
    """Units of one row of ``videos``, with the fields of ``CHUNK``.

    Args:
        video: Row of ``videos``.
        chunks: Its chunks.
        to_read: Reduces the video's facts to those needed between two frame indices.
    """
    facts = VideoFacts.from_row(video)
    for chunk in chunks:
        yield {
            "unit_id": chunk.unit_id,
            "inputs": video["media_sha256"][:16],
            "video_id": video["video_id"],
            "media_path": video["media_path"],
            "start": chunk.start,
            "stop": chunk.stop,
            "facts": json.dumps(to_read(facts, chunk.start, chunk.stop).to_row()),
        }


def facts_of(row: Row) -> VideoFacts:
    """Facts of the chunk's video."""
    return VideoFacts.from_row(json.loads(row["facts"]))


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
