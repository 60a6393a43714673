"""Corpora that grow and change, and what their catalogs show."""

import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

import schemas.tables as tables
from pipeline.audit import catalog
from pipeline.audit.catalog.native_tables import native_tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from tests.corpora import crop_id_of, crop_rows, ledger_row

VIEWS = (*(native.name for native in native_tables()), "ledger", "ledger_history", "live", "runs", "variants")


def rows_of(corpus: Corpus, views: Iterable[str] = VIEWS) -> dict[str, list[Any]]:
    """Rows of views, without what differs between two corpora: clocks, and names of files."""
    volatile = "COLUMNS(lambda c: c NOT IN ('finished_at', 'created', 'updated', 'published', 'file'))"
    with catalog.connect(corpus) as connection:
        return {view: connection.execute(f"SELECT {volatile} FROM {view} ORDER BY ALL").fetchall() for view in views}


def add_crops(corpus: Corpus, video: str, frames: Iterable[int], unit: str | None = None) -> str:
    """Commit one more unit of detect. Returns the path of its crops."""
    unit = unit or f"{video}@0"
    path = f"crops/{uuid.uuid4().hex}.parquet"
    corpus.write_table(pa.Table.from_pylist(crop_rows(video, unit, frames), tables.CROPS), path)
    Ledger(corpus, "detect").append([ledger_row(unit, [path])])
    return path


def add_tracks(corpus: Corpus, video: str, frames: Iterable[int], track: str = "t0") -> None:
    """Commit the tracklet of a video."""
    rows = [
        {
            "detection_id": f"{video}/{frame}/0",
            "video_id": video,
            "unit_id": video,
            "frame_index": frame,
            "track_id": f"{video}/{track}",
            "track_frames": 9,
        }
        for frame in frames
    ]
    path = f"tracks/{uuid.uuid4().hex}.parquet"
    corpus.write_table(pa.Table.from_pylist(rows, tables.TRACKS), path)
    Ledger(corpus, "track").append([ledger_row(video, [path])])


def add_duplicates(corpus: Corpus, stage: str, unit: str, pairs: dict[str, str]) -> None:
    """Commit duplicates: detections, each with the one that represents it."""
    rows = [
        {
            "crop_id": crop_id_of(one),
            "video_id": unit,
            "unit_id": unit,
            "duplicate_of": crop_id_of(other),
            "how": "cosine",
            "similarity": 0.99,
        }
        for one, other in pairs.items()
    ]
    path = f"duplicates/{uuid.uuid4().hex}.parquet"
    corpus.write_table(pa.Table.from_pylist(rows, tables.DUPLICATES), path)
    Ledger(corpus, stage).append([ledger_row(unit, [path])])
