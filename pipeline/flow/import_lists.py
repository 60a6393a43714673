"""``reidforge import``: published lists become tables of a corpus, with a ledger row per video."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.ledger import Ledger, LedgerWriter
from pipeline.errors import UserError
from pipeline.flow.detect_imported import IMPORT, IMPORTED
from pipeline.flow.discover import LISTINGS
from pipeline.run.record import new_run_id
from stages.crawl.config import check_url
from stages.crawl.sources.known_sources import name_video
from stages.imports.luperson import Name, box_rows, parse_name, read_detections, read_names, remainders

# Boxes per file, about 20 MB.
_ROWS_PER_FILE = 250_000
_VIDEOS_PER_FILE = 4096

_STEP = 20
"""LUPerson sampled one frame in this many."""


@dataclass(kw_only=True)
class ImportSummary:
    """Counts of an import.

    Args:
        videos: Imported videos with boxes.
        boxes: Their boxes.
        frames: Their frames with boxes.
        scored: Boxes with a confidence.
        tracked: Boxes with a tracklet.
        refused: Errors of videos that could not be read, by name.
        unlisted: Names with boxes that are not in the list of videos, and were left out.
        without_boxes: Listed names without boxes, which were left out.
        repeated: Names of a video that an earlier name refers to, too.
        starts: Boxes by remainder of the frame number modulo 20.
    """

    videos: int = 0
    boxes: int = 0
    frames: int = 0
    scored: int = 0
    tracked: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    unlisted: int = 0
    without_boxes: int = 0
    repeated: int = 0
    starts: dict[int, int] = field(default_factory=dict)


def import_luperson(
    corpus: Corpus, videos: Path | None, detections: Path, *, first_frame: int, url: str, memory: int
) -> ImportSummary:
    """Read LUPerson's or LUPerson-NL's lists into ``listings`` and ``imported``.

    Args:
        corpus: The corpus.
        videos: ``vnames.txt``, the videos to import; None = all that have boxes.
        detections: ``dets.pkl``, or a folder or zip archive of one pickle per video.
        first_frame: Number of the first frame of a video in the lists.
        url: URL of a video, with ``{id}`` for its id.
        memory: Maximum size of one pickle in memory, bytes.

    Raises:
        UserError: A list cannot be read, or nothing was imported.
    """
    if "{id}" not in url:
        raise UserError(f"--url {url!r}: expected a URL with {{id}} in it")
    summary = ImportSummary()
    try:
        check_url(url.replace("{id}", "x"))
        listed = None if videos is None else read_names(videos)
        found = read_detections(detections, memory)
        with LedgerWriter(Ledger(corpus, IMPORT.name)) as ledger:
            for batch in _batches(_units(found, listed, first_frame, url, summary)):
                ledger.add(_write(corpus, batch, first_frame))
    except ValueError as error:
        raise UserError(str(error)) from error
    Ledger(corpus, IMPORT.name).compact()
    if not summary.videos and not summary.refused:
        raise UserError(f"{detections}: no video was imported: none of its names is in {videos}")
    return summary


def describe(summary: ImportSummary, first_frame: int) -> Iterator[str]:
    """Lines for the console: what was imported, and what to do next."""
    yield (
        f"{summary.videos:,} videos with {summary.boxes:,} boxes on {summary.frames:,} frames; "
        f"{summary.scored:,} boxes have a confidence, {summary.tracked:,} a tracklet"
    )
    (start, count), *_ = summary.starts.items() or [(0, 0)]
    share = count / max(summary.boxes, 1)
    yield f"the first frame has number {first_frame}; {share:.0%} of the boxes' frames are {start} modulo {_STEP}"
    for count, what in (
        (summary.unlisted, "left out, names with boxes that are not in the list of videos"),
        (summary.without_boxes, "left out, listed names without boxes"),
        (summary.repeated, "left out, names of a video that an earlier name refers to"),
        (len(summary.refused), "videos that could not be read; see stage import in ledger ('reidforge sql CORPUS')"),
    ):
        if count:
            yield f"{what}: {count:,}"
    for name, reason in list(summary.refused.items())[:3]:
        yield f"  {name}: {reason}"
    yield "next: reidforge run RECIPE --corpus CORPUS --set detect.source=imported"


@dataclass(frozen=True, kw_only=True)
class _Video:
    """One video of the lists; ``error`` says why its boxes could not be read."""

    video_id: str
    listing: dict[str, Any]
    boxes: pa.Table
    error: str | None
    seconds: float


def _units(
    found: Iterator[tuple[str, Any]], listed: dict[str, Name] | None, first_frame: int, url: str, summary: ImportSummary
) -> Iterator[_Video]:
    seen: set[str] = set()
    missing = set(listed or ())
    for text, frames in found:
        began = time.perf_counter()
        name = parse_name(text) if listed is None else listed.get(text)
        if name is None:
            summary.unlisted += 1
            continue
        missing.discard(name.text)
        address = url.replace("{id}", name.youtube_id)
        video_id = name_video(address)
        if video_id in seen:
            summary.repeated += 1
            continue
        boxes, error = _boxes(frames, first_frame, video_id)
        if not boxes.num_rows and not error:
            summary.without_boxes += 1
            continue
        seen.add(video_id)
        _count(summary, name, boxes, error)
        listing = {"position": 0, "url": address, "video_id": video_id, "query": name.place, "unit_id": video_id}
        seconds = time.perf_counter() - began
        yield _Video(video_id=video_id, listing=listing, boxes=boxes, error=error, seconds=seconds)
    summary.without_boxes += len(missing)


def _boxes(frames: Any, first_frame: int, video_id: str) -> tuple[pa.Table, str | None]:
    try:
        return box_rows(frames, first_frame, video_id, video_id), None
    except ValueError as error:
        return schemas.tables.IMPORTED.empty_table(), str(error)


def _count(summary: ImportSummary, name: Name, boxes: pa.Table, error: str | None) -> None:
    if error:
        summary.refused[name.text] = error
        return
    summary.videos += 1
    summary.boxes += boxes.num_rows
    summary.frames += len(boxes["frame_index"].unique())
    summary.scored += boxes.num_rows - boxes["confidence"].null_count
    summary.tracked += boxes.num_rows - boxes["person"].null_count
    frame_ids: list[Any] = boxes["frame_id"].to_pylist()
    for start, count in remainders(frame_ids, _STEP).items():
        summary.starts[start] = summary.starts.get(start, 0) + count
    summary.starts = dict(sorted(summary.starts.items(), key=lambda item: -item[1]))


def _batches(videos: Iterator[_Video]) -> Iterator[list[_Video]]:
    batch: list[_Video] = []
    rows = 0
    for video in videos:
        batch.append(video)
        rows += video.boxes.num_rows
        if len(batch) >= _VIDEOS_PER_FILE or rows >= _ROWS_PER_FILE:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _write(corpus: Corpus, batch: list[_Video], first_frame: int) -> Iterator[dict[str, Any]]:
    """Write the rows of some videos into shared files; yields their ledger rows."""
    fingerprint = digest(IMPORT.name, "luperson", str(first_frame))
    inputs = {video.video_id: _digest(video.boxes) for video in batch}
    name = digest(fingerprint, *chain.from_iterable(sorted(inputs.items())))
    outputs = {table.name: f"{table.folder}/{name}.parquet" for table in (IMPORTED, LISTINGS)}
    good = sorted((video for video in batch if not video.error), key=lambda video: video.video_id)
    if good:
        corpus.write_table(pa.concat_tables(video.boxes for video in good), outputs[IMPORTED.name])
        listings = pa.Table.from_pylist([video.listing for video in good], schema=schemas.tables.LISTINGS)
        corpus.write_table(listings, outputs[LISTINGS.name])
    run_id = new_run_id()
    for video in batch:
        yield {
            "scope": "",
            "unit_id": video.video_id,
            "fingerprint": fingerprint,
            "inputs": inputs[video.video_id],
            "status": "quarantined" if video.error else "ok",
            "attempts": 1,
            "error_type": "malformed" if video.error else None,
            "error_message": video.error,
            "outputs": [] if video.error else list(outputs.values()),
            "rows_out": 0 if video.error else video.boxes.num_rows + 1,
            "seconds": video.seconds,
            "run_id": run_id,
        }


def _digest(boxes: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, boxes.schema) as writer:
        writer.write_table(boxes)
    return hashlib.sha256(sink.getvalue()).hexdigest()[:16]
