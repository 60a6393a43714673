"""Imported boxes in place of a detector: one unit = one chunk with boxes, decoded and cropped in one task."""

import functools
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.packs import PACK_STRUCT, read_pack
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.chunk_units import CHUNK, add_facts, facts_of, read_within
from pipeline.flow.discover import LISTINGS
from pipeline.flow.videos import live_videos
from pipeline.recipe import Recipe
from pipeline.run.progress import counted
from pipeline.run.stage import Job, Writer, units
from pipeline.run.stream import BUSY_CPUS, Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from schemas.declaration import Table
from stages.detect.chunks import chunk_table, cut_chunks
from stages.detect.config import DetectConfig
from stages.errors import UnitError
from stages.imports.reference import Reference, find_reference, parse_reference

log = logging.getLogger("reidforge")

IMPORTED = Table(
    name="imported",
    folder="imported",
    schema=schemas.tables.IMPORTED,
    row="one row per imported box, as published",
)

IMPORT = Writer(name="import", tables=(LISTINGS, IMPORTED))
"""What ``reidforge import`` writes; it is not a stage of a run."""

_WANTED = pa.schema(
    [
        *CHUNK,
        pa.field("boxes", PACK_STRUCT),
        pa.field("reference", pa.string()),
    ]
)

_BOX = ("x1", "y1", "x2", "y2", "confidence")

# Keys of the configuration that decide the crops when no model runs.
_DECIDES = ("source", "reference", "rules", "crop", "faces", "chunk_seconds")


def identity(config: DetectConfig) -> dict[str, Any]:
    """Keys of the configuration that decide the rows, with their values."""
    return {name: value for name, value in config.identity().items() if name in _DECIDES}


def wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    """Chunks of crawled videos that have imported boxes."""
    columns = ["frames", "fps", "width", "height", "media_sha256", "media_path"]
    by_id = {video["video_id"]: video for video in live_videos(snapshot, columns).to_pylist()}
    rows: list[Row] = []
    for pack in snapshot.packs(IMPORT.name, IMPORTED).to_pylist():
        ours = pack | {"live": sorted(set(pack["live"]) & set(by_id))}
        table = read_pack(snapshot.corpus, IMPORTED, ours, ["video_id", "frame_index", "person", *_BOX])
        place = {name: pack[name] for name in ("path", "file", "first_row", "num_rows")}
        videos_of_pack: list[Any] = pc.unique(table["video_id"]).to_pylist()
        for video_id in videos_of_pack:
            boxes = table.filter(pc.equal(table["video_id"], pa.scalar(video_id)))
            own = {"boxes": place | {"live": [video_id]}}
            rows += [row | own for row in _chunks(by_id[video_id], boxes, recipe)]
    return units(rows, _WANTED)


def _chunks(video: Row, boxes: pa.Table, recipe: Recipe) -> Iterator[Row]:
    reference = _reference(video, boxes, recipe)
    encoded = json.dumps(vars(reference))
    indices = boxes["frame_index"].to_numpy()
    same = {name: video[name] for name in ("video_id", "media_path")} | {"reference": encoded}
    for row in _spans(video, int(indices.max()), recipe.detect.chunk_seconds).to_pylist():
        inside = (row["start"] <= indices) & (indices < row["stop"])
        if inside.any():
            digest = _digest(boxes.filter(pa.array(inside)), reference)
            yield row | same | {"inputs": f"{video['media_sha256'][:16]}-{digest}"}


def _spans(video: Row, last: int, chunk_seconds: float) -> pa.Table:
    """Chunks of the video, and one for boxes beyond its end."""
    frames = video["frames"]
    one = pa.table({"video_id": [video["video_id"]], "frames": [frames], "fps": [video["fps"]]})
    chunks = cut_chunks(one, chunk_seconds).select(["unit_id", "start", "stop"])
    if last < frames:
        return chunks
    return pa.concat_tables([chunks, chunk_table(one["video_id"], np.array([frames]), np.array([last + 1]))])


def _reference(video: Row, boxes: pa.Table, recipe: Recipe) -> Reference:
    if recipe.detect.reference != "auto":
        return parse_reference(recipe.detect.reference)
    x1, y1, x2, y2 = (boxes[name].to_numpy() for name in _BOX[:4])
    if boxes["person"].null_count < boxes.num_rows:
        # Boxes of a tracker extend beyond the frame; their centres do not.
        x2, y2 = (x1 + x2) / 2, (y1 + y2) / 2
    size = (video["width"], video["height"])
    return find_reference((float(x2.max()), float(y2.max())), size, recipe.crawl.max_height)


def _digest(boxes: pa.Table, reference: Reference) -> str:
    content = np.column_stack([boxes[name].to_numpy() for name in ("frame_index", *_BOX)]).tobytes()
    return hashlib.sha256(content + f"{reference.width}x{reference.height}".encode()).hexdigest()[:16]


def cut(job: Job) -> Iterator[pa.Table]:
    """Decode frames and crop the imported boxes; no model is loaded."""
    _log_references(job.todo)
    make_step = functools.partial(_make_cut, job.corpus, job.recipe.detect)
    operators = [Operator(make_step=make_step, fields=RESULT, cpus=BUSY_CPUS)]
    return stream(job, operators, job.recipe.detect.units_per_file, complete=add_facts(job.snapshot))


def _log_references(todo: pa.Table) -> None:
    """Log how the frame sizes that the boxes refer to were determined, over the videos of a pass."""
    references: list[Any] = todo["reference"].to_pylist()
    known = dict(zip(todo["video_id"].to_pylist(), references, strict=True))
    counts = Counter(json.loads(text)["evidence"] for text in known.values())
    evidences = ", ".join(f"{count} {evidence}" for evidence, count in counts.most_common())
    videos = counted(len(known), "video")
    log.info("detect: imported boxes of %s; the frame size that they refer to: %s", videos, evidences)
    if counts["ambiguous"]:
        log.warning(
            "detect: %s may have been published at several sizes; the most likely one is used: "
            "SELECT DISTINCT video_id FROM detections WHERE reference = 'ambiguous'",
            counted(counts["ambiguous"], "video"),
        )


def _make_cut(corpus: Corpus, config: DetectConfig) -> Step:
    from stages.imports.cut import cut_published
    from stages.video.frames import read_frames

    def cut_chunk(row: Row) -> Row:
        facts = facts_of(row)
        boxes = _boxes(corpus, row)
        if row["start"] >= facts.frames:
            raise UnitError(
                f"boxes were published up to frame {row['stop'] - 1:,}, and the video has {facts.frames:,} frames at "
                f"{facts.fps:.2f} a second: its cut or frame rate differs from the published one",
                kind="beyond_video",
            )
        frames = read_within(
            config.limits,
            corpus,
            row["media_path"],
            lambda file: read_frames(file, facts, row["start"], row["stop"], sorted(boxes), limits=config.limits),
        )
        reference = Reference(**json.loads(row["reference"]))
        names = {"video_id": row["video_id"], "unit_id": row["unit_id"]}
        detections, crops = cut_published(frames, boxes, reference, facts, **names, config=config)
        found = result({"detections": detections, "crops": crops}, "no published box passed the rules")
        return found | {"frames": len(frames)}

    return cut_chunk


def _boxes(corpus: Corpus, row: Row) -> dict[int, Any]:
    """Imported boxes of a chunk by frame: float32 [n, 5] each, in the published order."""
    chosen = (
        (pc.field("video_id") == row["video_id"])
        & (pc.field("frame_index") >= row["start"])
        & (pc.field("frame_index") < row["stop"])
    )
    table = read_pack(corpus, IMPORTED, row["boxes"], ["video_id", "frame_index", *_BOX]).filter(chosen)
    indices = table["frame_index"].to_numpy()
    boxes = np.column_stack([table[name].to_numpy() for name in _BOX]).astype(np.float32)
    return {int(index): boxes[indices == index] for index in np.unique(indices)}
