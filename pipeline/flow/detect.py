"""Detect on Ray: one unit = one chunk of a video, decoded by CPU tasks, detected by actors, cropped by either."""

import functools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import detect_imported
from pipeline.flow.chunk_units import CHUNK, add_facts, facts_of, read_within
from pipeline.flow.videos import MEDIA, live_videos
from pipeline.recipe import Recipe
from pipeline.run.plan import plan_stage
from pipeline.run.progress import counted
from pipeline.run.stage import Job, Stage, unit_columns
from pipeline.run.stream import Operator, busy_actors_for, stream
from pipeline.run.units import PICTURES, RESULT, Row, Step, pictures, result
from pipeline.run.weights_digest import weights_digest
from schemas.declaration import Table
from stages.arrays import Floats, Image
from stages.detect.chunks import cut_chunks
from stages.detect.config import DetectConfig, preset_path
from stages.detect.families.known_families import DEFAULT, check_detector, choose, load_detector
from stages.detect.sampling import facts_to_read

log = logging.getLogger("reidforge")

DETECTIONS = Table(
    name="detections",
    folder="detections",
    schema=schemas.tables.DETECTIONS,
    row="one row per person found in a sampled frame, including dropped ones with their reasons",
    marked=True,
)
CROPS = Table(
    name="crops",
    folder="crops",
    schema=schemas.tables.CROPS,
    row="one row per kept detection, with its JPEG",
    counts_crops=True,
    marked=True,
)

_DECODED = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("index", pa.list_(pa.int64())),
        pa.field("pts_s", pa.list_(pa.float64())),
        # Per frame, as the size may change within a video.
        pa.field("shapes", pa.list_(pa.list_(pa.int32()))),
        pa.field("pixels", PICTURES),
    ]
)

_DETECTED = pa.schema(
    [
        *_DECODED,
        pa.field("boxes", pa.list_(pa.list_(pa.float32()))),
        # Objects near the persons; null per frame where the model detects only persons.
        pa.field("objects", pa.list_(pa.list_(pa.float32()))),
        # 51 numbers per box; null without pose in the recipe.
        pa.field("keypoints", pa.list_(pa.list_(pa.float32()))),
    ]
)


def drop_media(snapshot: Snapshot, recipe: Recipe) -> None:
    """Remove the media of videos whose every chunk is done, where the recipe does not keep media.

    The media of a video with a quarantined chunk stays, so that ``reidforge retry`` can read it, and so does that of a
    video of which the recipe wants no chunk.
    """
    if recipe.crawl.keep_media:
        return
    there = {snapshot.corpus.relative(info.path) for info in snapshot.corpus.files(MEDIA)}
    if not there:
        return
    plan = plan_stage(snapshot, recipe, STAGE)
    unfinished = plan.wanted.filter(pc.not_equal(plan.reasons, pa.scalar("done")))
    paths = plan.wanted["media_path"].unique()
    finished = paths.filter(pc.invert(pc.is_in(paths, value_set=unfinished["media_path"].unique())))
    snapshot.corpus.delete(*(str(path) for path in finished.to_pylist() if path in there))


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    if recipe.detect.source == "imported":
        return detect_imported.wanted(snapshot, recipe)
    videos = live_videos(snapshot, ["frames", "fps", "media_sha256", "media_path"])
    chunks = cut_chunks(videos, recipe.detect.chunk_seconds)
    places = chunks["video"]
    columns = {name: videos[name].take(places) for name in ("video_id", "media_path")}
    columns["inputs"] = pc.utf8_slice_codeunits(videos["media_sha256"], 0, 16).take(places)
    return unit_columns({name: chunks[name] for name in ("unit_id", "start", "stop")} | columns, CHUNK)


def _execute(job: Job) -> Iterator[pa.Table]:
    config = job.recipe.detect
    if config.source == "imported":
        return detect_imported.cut(job)
    actors, cpus, gpus = busy_actors_for(config.actors, config.threads)
    config = _settle(config, actors, gpus)
    operators = _operators(job.corpus, config, actors, cpus, gpus)
    to_read = functools.partial(facts_to_read, sampling=config.sampling)
    return stream(job, operators, config.units_per_file, complete=add_facts(job.snapshot, to_read))


def _operators(corpus: Corpus, config: DetectConfig, actors: int, cpus: float, gpus: float) -> list[Operator]:
    make_decode = functools.partial(_make_decode, corpus, config)
    if gpus:
        # All cores feed the models on GPUs, which never wait for JPEG encoding.
        make_detect, make_cut = functools.partial(_make_detect, config), functools.partial(_make_cut, config)
        return [
            Operator(make_step=make_decode, fields=_DECODED, cpus=1.0),
            Operator(make_step=make_detect, fields=_DETECTED, cpus=cpus, gpus=gpus, actors=actors),
            Operator(make_step=make_cut, fields=RESULT, cpus=0.5),
        ]
    # Models on CPUs take ten times as long as decoding; moving frames once more for the cheap last step does not pay.
    make_both = functools.partial(_make_detect_and_cut, config)
    return [
        Operator(make_step=make_decode, fields=_DECODED, cpus=0.25, tasks=actors),
        Operator(make_step=make_both, fields=RESULT, cpus=cpus, actors=actors),
    ]


def _settle(config: DetectConfig, actors: int, gpus: float) -> DetectConfig:
    """Choose device and backend once, and log them."""
    if config.device == "auto" and not gpus:
        # An actor without a GPU sees none; with an explicit device it need not load PyTorch to find out.
        config = config.model_copy(update={"device": "cpu"})
    device = "cpu" if config.device == "cpu" else "cuda"
    _, family, own = choose(config)
    backend = family.backend(own, device)
    log.info("detect: %s on %s, %s", backend, device, counted(actors, "actor"))
    return config


def _make_decode(corpus: Corpus, config: DetectConfig) -> Step:
    from stages.detect.sampling import read_sampled

    def decode(row: Row) -> Row:
        facts, limits = facts_of(row), config.limits
        frames = read_within(
            limits,
            corpus,
            row["media_path"],
            lambda file: read_sampled(file, facts, row["start"], row["stop"], config.sampling, limits),
        )
        index, pts_s, images = zip(*frames, strict=True) if frames else ((), (), ())
        shapes = [image.shape for image in images]
        return {"index": index, "pts_s": pts_s, "shapes": shapes, "pixels": images, "frames": len(frames)}

    return decode


def _make_detect(config: DetectConfig) -> Step:
    detector = load_detector(config)
    has_keypoints = config.pose.source != "none"

    def detect(row: Row) -> Row:
        found = detector(_images(row))
        return {
            "boxes": [frame.persons.ravel() for frame in found],
            "keypoints": [_flat(frame.keypoints) for frame in found] if has_keypoints else None,
            "objects": [_flat(frame.objects) for frame in found],
        }

    return detect


def _flat(found: Floats | None) -> Floats | None:
    return None if found is None else found.ravel()


def _make_cut(config: DetectConfig) -> Step:
    from stages.detect.detection_rows import detect_chunk

    def cut(row: Row) -> Row:
        frames = list(zip(row["index"], row["pts_s"], _images(row), strict=True))
        boxes = [np.asarray(found, np.float32).reshape(-1, 5) for found in row["boxes"]]
        objects = [None if seen is None else np.asarray(seen, np.float32).reshape(-1, 6) for seen in row["objects"]]
        flat = row["keypoints"]
        points = None if flat is None else [np.asarray(found, np.float32).reshape(-1, 17, 3) for found in flat]
        detections, crops = detect_chunk(
            frames,
            boxes,
            video_id=row["video_id"],
            unit_id=row["unit_id"],
            config=config,
            keypoints=points,
            objects=objects,
        )
        reason = "no person was found" if not detections.num_rows else "no person passed the rules"
        return result({DETECTIONS.name: detections, CROPS.name: crops}, reason)

    return cut


def _make_detect_and_cut(config: DetectConfig) -> Step:
    detect, cut = _make_detect(config), _make_cut(config)
    return lambda row: cut(row | detect(row))


def _images(row: Row) -> list[Image]:
    """Read-only views of the frames, uint8 [H, W, 3] each."""
    return [pixels.reshape(shape) for pixels, shape in zip(pictures(row["pixels"]), row["shapes"], strict=True)]


def _check(recipe: Recipe) -> None:
    config = recipe.detect
    if config.source == "imported":
        return
    try:
        check_detector(config)
    except ValueError as error:
        raise UserError(str(error)) from error


def _identity(recipe: Recipe) -> dict[str, Any]:
    detect = recipe.detect
    if detect.source == "imported":
        return detect_imported.identity(detect)
    name, family, config = choose(detect)
    model = weights_digest(family.weights(config))
    decided = detect.identity() | {"model": model if name == DEFAULT else f"{name}:{model}"}
    if detect.pose.source == "second_pass":
        decided["pose"] |= {"model": weights_digest(detect.pose.model)}
    return decided


def _files(recipe: Recipe) -> dict[str, str | None]:
    detect, preset = recipe.detect, recipe.detect.rules.preset
    # The values of luperson are the defaults of the block; no file is read for them.
    files = {"detect.rules.preset": None if preset == "luperson" else preset_path(preset)}
    if detect.source == "detector":
        _, family, config = choose(detect)
        files["detect.model"] = family.weights(config)
    if detect.source == "detector" and detect.pose.source == "second_pass":
        files["detect.pose.model"] = detect.pose.model
    return files


STAGE = Stage(
    name="detect",
    tables=(DETECTIONS, CROPS),
    unit="chunk",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    finish=drop_media,
    files=_files,
)
