"""Detect on Ray: one unit = one chunk of a video; decoded on CPU tasks, looked at by actors, cut on CPU tasks."""

import functools
import itertools
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus import Corpus
from pipeline.errors import UserError
from pipeline.flow.crawl import drop_media, live_videos
from pipeline.flow.stage import Job, Stage, units
from pipeline.flow.stream import Operator, busy_actors_for, stream
from pipeline.flow.weights import weights_digest
from pipeline.recipe import Recipe
from pipeline.units import RESULT, Row, Step, result
from stages.detect.backends.choice import pick_backend
from stages.detect.chunks import cut_chunks, sampled
from stages.detect.config import DetectConfig
from stages.errors import UnitError
from stages.video.facts import VideoFacts

log = logging.getLogger("reidforge")

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

_DETECTED = pa.schema([*_DECODED, pa.field("boxes", pa.list_(pa.list_(pa.float32())))])


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
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
    actors, cpus, gpus = busy_actors_for(config.actors, config.threads)
    config = _settle(config, actors, gpus)
    operators = [
        # Twice as many decoders as models: a unit is ready when a model is, and few more wait in memory.
        Operator(
            make_step=functools.partial(_make_decode, job.corpus, config), fields=_DECODED, cpus=0.25, tasks=2 * actors
        ),
        Operator(
            make_step=functools.partial(_make_detect, config), fields=_DETECTED, cpus=cpus, gpus=gpus, actors=actors
        ),
        Operator(make_step=functools.partial(_make_cut, config), fields=RESULT, cpus=0.25, tasks=2 * actors),
    ]
    return stream(job, operators, config.units_per_file)


def _settle(config: DetectConfig, actors: int, gpus: float) -> DetectConfig:
    """Decide device and backend once, here, and say so."""
    if config.device == "auto" and not gpus:
        # An actor without a GPU sees none; told so, it need not load PyTorch to find out.
        config = config.model_copy(update={"device": "cpu"})
    device = "cpu" if config.device == "cpu" else "cuda"
    backend = pick_backend(config, device)
    log.info("detect: %s on %s, %d actor%s", backend, device, actors, "s" if actors > 1 else "")
    return config


def _make_decode(corpus: Corpus, config: DetectConfig) -> Step:
    from stages.video.frames import read_frames

    def decode(row: Row) -> Row:
        facts = VideoFacts.from_row(json.loads(row["facts"]))
        wanted = sampled(row["start"], row["stop"], config.sampling, facts.fps)
        with _open_media(corpus, row["media_path"]) as file:
            frames = list(read_frames(file, facts, row["start"], row["stop"], wanted, limits=config.limits))
        index, pts_s, images = zip(*frames, strict=True) if frames else ((), (), ())
        shapes, pixels = [image.shape for image in images], b"".join(image.data for image in images)
        return {"index": index, "pts_s": pts_s, "shapes": shapes, "pixels": pixels}

    return decode


def _open_media(corpus: Corpus, path: str) -> pa.NativeFile:
    try:
        return corpus.open(path)
    except FileNotFoundError as error:
        raise UnitError(
            f"the media file {path} is gone; with crawl.keep_media false it is removed once its crops are cut. "
            "Crawl the video again, and set crawl.keep_media to true while you try detect settings",
            kind="media_missing",
        ) from error


def _make_detect(config: DetectConfig) -> Step:
    from stages.detect.detector import PersonDetector

    detector = PersonDetector(config)

    def detect(row: Row) -> Row:
        return {"boxes": [found.ravel() for found in detector(_images(row))]}

    return detect


def _make_cut(config: DetectConfig) -> Step:
    from stages.detect.tables import detect_chunk

    def cut(row: Row) -> Row:
        frames = list(zip(row["index"], row["pts_s"], _images(row), strict=True))
        boxes = [np.asarray(found, np.float32).reshape(-1, 5) for found in row["boxes"]]
        detections, crops = detect_chunk(frames, boxes, video_id=row["video_id"], unit_id=row["unit_id"], config=config)
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
    try:
        # Whether the cluster has GPUs is not known yet; what is wrong on a CPU with a CPU's backend is.
        pick_backend(config, "cuda" if config.device == "cuda" else "cpu")
    except ValueError as error:
        raise UserError(str(error)) from error
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
    return recipe.detect.identity() | {"model": weights_digest(recipe.detect.model)}


STAGE = Stage(
    name="detect",
    unit="chunk",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    finish=drop_media,
)
