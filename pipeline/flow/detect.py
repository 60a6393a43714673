"""Detect on Ray: one unit = one chunk of a video; decoded on CPU tasks, looked at by actors, cut on CPU tasks."""

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus import Corpus
from pipeline.errors import UserError
from pipeline.flow import imported
from pipeline.flow.crawl import drop_media, live_videos, open_media
from pipeline.flow.stage import Job, Stage, units
from pipeline.flow.stream import Operator, actors_for, stream
from pipeline.flow.weights import weights_digest
from pipeline.recipe import Recipe
from pipeline.units import RESULT, Row, Step, result
from stages.detect.chunks import cut_chunks, sampled
from stages.detect.config import DetectConfig
from stages.video.facts import VideoFacts

Image = npt.NDArray[np.uint8]

DETECTIONS = "detections"
CROPS = "crops"

_WANTED = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("media_path", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("stop", pa.int64()),
        # One string per video, shared by its chunks: key frames and the other facts that decoding needs.
        pa.field("facts", pa.string()),
    ]
)

_DECODED = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("index", pa.list_(pa.int64())),
        pa.field("pts_s", pa.list_(pa.float64())),
        # Per frame, as a video may change its size.
        pa.field("shapes", pa.list_(pa.list_(pa.int32()))),
        pa.field("pixels", pa.large_binary()),
    ]
)

_DETECTED = pa.schema(
    [
        *_DECODED,
        pa.field("boxes", pa.list_(pa.list_(pa.float32()))),
        # Things near the persons; null per frame where the model knows none.
        pa.field("things", pa.list_(pa.list_(pa.float32()))),
    ]
)


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    if recipe.detect.source == "imported":
        return imported.wanted(corpus, recipe, live_videos(corpus))
    rows = [row for video in live_videos(corpus) for row in _chunks(video, recipe.detect)]
    return units(rows, _WANTED)


def _chunks(video: Row, config: DetectConfig) -> Iterator[Row]:
    facts = json.dumps(VideoFacts.from_row(video).to_row())
    for chunk in cut_chunks(video["video_id"], video["frames"], video["fps"], config.chunk_seconds):
        yield {
            "unit_id": chunk.unit_id,
            "inputs": video["media_sha256"][:16],
            "video_id": video["video_id"],
            "media_path": video["media_path"],
            "start": chunk.start,
            "stop": chunk.stop,
            "facts": facts,
        }


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.detect
    if config.source == "imported":
        return imported.cut(job)
    actors, cpus, gpus = actors_for(config.actors, config.threads)
    operators = [
        # Twice as many decoders as models: a unit is ready when a model is, and few more wait in memory.
        Operator(
            make_step=functools.partial(_make_decode, job.corpus, config), fields=_DECODED, cpus=0.5, tasks=2 * actors
        ),
        Operator(
            make_step=functools.partial(_make_detect, config), fields=_DETECTED, cpus=cpus, gpus=gpus, actors=actors
        ),
        Operator(make_step=functools.partial(_make_cut, config), fields=RESULT, cpus=0.25, tasks=2 * actors),
    ]
    return stream(job, operators, config.units_per_file)


def _make_decode(corpus: Corpus, config: DetectConfig) -> Step:
    from stages.video.frames import read_frames
    from stages.video.watch import within

    def decode(row: Row) -> Row:
        facts = VideoFacts.from_row(json.loads(row["facts"]))
        wanted = sampled(row["start"], row["stop"], config.sampling, facts.fps)

        def read() -> list[tuple[int, float, Image]]:
            with open_media(corpus, row["media_path"]) as file:
                return list(read_frames(file, facts, row["start"], row["stop"], wanted, limits=config.limits))

        frames = within(config.limits.max_seconds, read)
        index, pts_s, images = zip(*frames, strict=True) if frames else ((), (), ())
        shapes, pixels = [image.shape for image in images], b"".join(image.data for image in images)
        return {"index": index, "pts_s": pts_s, "shapes": shapes, "pixels": pixels, "frames": len(frames)}

    return decode


def _make_detect(config: DetectConfig) -> Step:
    from stages.detect.detector import PersonDetector

    detector = PersonDetector(config)

    def detect(row: Row) -> Row:
        found = detector.look(_images(row))
        return {
            "boxes": [persons.ravel() for persons, _ in found],
            "things": [None if things is None else things.ravel() for _, things in found],
        }

    return detect


def _make_cut(config: DetectConfig) -> Step:
    from stages.detect.tables import detect_chunk

    def cut(row: Row) -> Row:
        frames = list(zip(row["index"], row["pts_s"], _images(row), strict=True))
        boxes = [np.asarray(found, np.float32).reshape(-1, 5) for found in row["boxes"]]
        things = [None if seen is None else np.asarray(seen, np.float32).reshape(-1, 6) for seen in row["things"]]
        detections, crops = detect_chunk(
            frames, boxes, video_id=row["video_id"], unit_id=row["unit_id"], config=config, things=things
        )
        reason = "no person was found" if not detections.num_rows else "no person passed the rules"
        return result({DETECTIONS: detections, CROPS: crops}, reason)

    return cut


def _images(row: Row) -> list[Image]:
    """Views of the frames, uint8 [H, W, 3] each."""
    ends = np.cumsum([0, *(np.prod(shape) for shape in row["shapes"])])
    pixels = np.frombuffer(row["pixels"], np.uint8)
    spans = itertools.pairwise(ends)
    return [pixels[start:stop].reshape(shape) for (start, stop), shape in zip(spans, row["shapes"], strict=True)]


def _check(recipe: Recipe) -> None:
    config = recipe.detect
    if config.source == "imported":
        return
    found = weights_digest(config.model)
    if found == config.model and "/" in config.model and "://" not in config.model:
        raise UserError(
            f"detect.model {config.model}: no such file. Give the path of YOLO weights, such as models/yolo26n.pt, "
            "or a bare name like yolo26m.pt, which ultralytics fetches where its hub answers"
        )
    if config.model_sha256 and found not in (config.model, config.model_sha256):
        raise UserError(
            f"detect.model {config.model}: its SHA-256 is {found}, detect.model_sha256 says {config.model_sha256}. "
            "Get the file that the recipe means, or change the recipe"
        )


def _identity(recipe: Recipe) -> dict[str, Any]:
    if recipe.detect.source == "imported":
        return imported.identity(recipe.detect)
    return recipe.detect.identity() | {"model": weights_digest(recipe.detect.model)}


STAGE = Stage(
    name="detect",
    unit="chunk",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    finish=drop_media,
)
