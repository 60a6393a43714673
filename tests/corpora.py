"""A small corpus for tests: every table and the ledger, consistent with each other, with real JPEGs."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import schemas.tables as tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from schemas.declaration import Mark
from schemas.parquet_layout import blob_options
from stages.publish.config import PublishConfig
from stages.publish.manifest import crop_columns, manifest_table
from stages.publish.selection import CROP_COLUMNS, Found, plan_manifest
from stages.video.limits import VideoLimits
from stages.video.probe import probe

Row = dict[str, Any]

VIDEOS = ("youtube:aaa", "youtube:bbb", "youtube:ccc")
MODEL = "clip-tiny"
VARIANT = "base"
FRAMES = 10
"""Frames with a person in each chunk; each chunk also has one frame whose only person was dropped."""
CHUNKS = 2

COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 190), "black": (25, 25, 25), "gray": (128, 128, 128)}


def small_corpus(
    path: str,
    videos: Sequence[str] = VIDEOS,
    variants: Sequence[str] = (VARIANT,),
    splits: Mapping[str, float] | None = None,
) -> Corpus:
    """Write a finished corpus: 20 crops and 2 dropped detections per video, captions and a manifest per variant."""
    corpus = Corpus(path)
    config = PublishConfig.model_validate({"splits": splits} if splits else {})
    _write_videos(corpus, videos)
    crops = pa.concat_tables([_write_detections(corpus, video) for video in videos])
    _write_embeddings(corpus, crops)
    for variant in variants:
        _write_captions(corpus, crops, variant)
        _write_manifest(corpus, variant, config)
        _write_metrics(corpus, variant)
    return corpus


def ledger_row(unit_id: str, outputs: Iterable[str] = (), **changes: Any) -> Row:
    """A row as a stage's end leaves it."""
    return {
        "scope": "",
        "unit_id": unit_id,
        "fingerprint": "f0",
        "inputs": "i0",
        "status": "ok",
        "attempts": 1,
        "outputs": list(outputs),
        "rows_out": 1,
        "seconds": 1.5,
        "node": "host-a",
        "run_id": "run-1",
        **changes,
    }


def add_media(corpus: Corpus, path: str, content: bytes, video: str = "x:a") -> None:
    """A video that was crawled, as crawl leaves it: its file, its row, the ledger's word."""
    corpus.put(path, content)
    with corpus.open(path) as file:
        facts = probe(file, VideoLimits())
    row = video_row(video) | facts.to_row() | {"media_path": path}
    corpus.write_table(pa.Table.from_pylist([row], tables.VIDEOS), "videos/a.parquet")
    Ledger(corpus, "crawl").append([ledger_row("url-a", ["videos/a.parquet", path])])


def crop_id_of(detection_id: str) -> str:
    """The crop_id that belongs to a detection."""
    return hashlib.sha1(detection_id.encode()).hexdigest()[:16]


def person_jpeg(upper: str, lower: str, width: int = 40, height: int = 100, blur: int = 1) -> bytes:
    """A person of three patches on a street-grey ground, as JPEG."""
    image: npt.NDArray[np.uint8] = np.full((height, width, 3), (172, 168, 160), np.uint8)
    image += np.random.default_rng(0).integers(0, 12, image.shape, np.uint8)
    left, right = width // 4, width - width // 4
    image[height // 20 : height // 6, width // 3 : width - width // 3] = (205, 160, 130)
    image[height // 6 : height // 2, left:right] = COLOURS[upper]
    image[height // 2 : height - height // 20, left:right] = COLOURS[lower]
    image[height // 2 :, width // 2 - 1 : width // 2 + 1] = (172, 168, 160)
    content = cv2.imencode(".jpg", cv2.GaussianBlur(image, (blur, blur), 0)[:, :, ::-1])[1]
    return bytes(content)


def crop_rows(video: str, unit_id: str, frames: Iterable[int]) -> list[Row]:
    """Rows of crops, one per frame; colours and sharpness change from frame to frame."""
    return [_crop_row(video, unit_id, frame) for frame in frames]


def caption_rows(crops: pa.Table, unit_id: str, seed: int = 7) -> list[Row]:
    """Rows of captions for crops; the second crop has two sentences, the margins fall from crop to crop."""
    return [_caption_row(crop, unit_id, seed, position) for position, crop in enumerate(crops.to_pylist())]


def video_row(video: str, unit_id: str | None = None, **changes: Any) -> Row:
    """Row of a video with every column filled."""
    extractor, _, name = video.partition(":")
    return {
        "video_id": video,
        "unit_id": unit_id or f"url-{name}",
        "extractor": extractor,
        "source_url": f"https://video.example/{name}",
        "query": "Vienna street walk",
        "title": f"Walk {name}",
        "uploader": "walker",
        "upload_date": dt.date(2024, 5, 1),
        "license": "CC-BY",
        "media_path": f"media/{name}.mp4",
        "media_bytes": 1_000_000,
        "media_sha256": "0" * 64,
        "container": "mov,mp4",
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "rotation": 0,
        "fps": 25.0,
        "duration_s": 40.0,
        "frames": 1000,
        "time_base_num": 1,
        "time_base_den": 12800,
        "key_frames": [{"frame_index": 0, "pts": 0}, {"frame_index": 250, "pts": 128_000}],
        "crawled_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        **changes,
    }


def _write_videos(corpus: Corpus, videos: Sequence[str]) -> None:
    listed = [
        {
            "unit_id": "search",
            "position": n,
            "url": video_row(video)["source_url"],
            "video_id": video,
            "title": None,
            "query": "q",
        }
        for n, video in enumerate(videos)
    ]
    corpus.write_table(pa.Table.from_pylist(listed, tables.LISTINGS), "listings/l0.parquet")
    Ledger(corpus, "discover").append([ledger_row("search", ["listings/l0.parquet"], rows_out=len(listed))])
    rows = [video_row(video) for video in videos]
    corpus.write_table(pa.Table.from_pylist(rows, tables.VIDEOS), "videos/v0.parquet")
    missing = ledger_row("url-gone", status="quarantined", attempts=3, rows_out=0)
    missing |= {"error_type": "HTTPError", "error_message": "404: the page is gone"}
    done = [ledger_row(row["unit_id"], ["videos/v0.parquet", row["media_path"]]) for row in rows]
    Ledger(corpus, "crawl").append([*done, missing])


def _write_detections(corpus: Corpus, video: str) -> pa.Table:
    """Two chunks of one video in one pair of files."""
    name = video.replace(":", "-")
    units = [f"{video}@{chunk}" for chunk in range(CHUNKS)]
    frames = {unit: range(chunk * 500, chunk * 500 + FRAMES * 50, 50) for chunk, unit in enumerate(units)}
    crops = [row for unit in units for row in crop_rows(video, unit, frames[unit])]
    found = [_detection_row(row) for row in crops] + [
        _dropped_row(video, unit, frames[unit][-1] + 10) for unit in units
    ]
    found.sort(key=lambda row: row["frame_index"])
    crop_table = pa.Table.from_pylist(crops, tables.CROPS)
    paths = [f"detections/{name}.parquet", f"crops/{name}.parquet"]
    corpus.write_table(pa.Table.from_pylist(found, tables.DETECTIONS), paths[0])
    corpus.write_table(crop_table, paths[1], **blob_options(crop_table))
    Ledger(corpus, "detect").append(
        [ledger_row(unit, paths, fingerprint="d0", rows_out=2 * FRAMES + 1) for unit in units]
    )
    return crop_table


def _write_embeddings(corpus: Corpus, crops: pa.Table) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(crops), 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    columns = {
        "crop_id": crops["crop_id"],
        "video_id": crops["video_id"],
        "unit_id": pa.repeat(f"{MODEL}/c0", len(crops)),
        "region": pa.repeat("whole", len(crops)),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), 8),
    }
    path = f"embeddings/{MODEL}/e0.parquet"
    corpus.write_table(pa.table(columns, schema=tables.embeddings(8)), path)
    beside = _write_evidence(corpus, crops)
    Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/c0", [path, beside], scope=MODEL, rows_out=2 * len(crops))])


def _write_evidence(corpus: Corpus, crops: pa.Table) -> str:
    colours = [{"region": region, "name": "red", "share": 0.9, "margin": 0.8} for region in ("upper", "lower")]
    rows = [
        {"crop_id": crop, "video_id": video, "unit_id": f"{MODEL}/c0", "colours": colours, "objects": []}
        for crop, video in zip(crops["crop_id"].to_pylist(), crops["video_id"].to_pylist(), strict=True)
    ]
    path = f"evidence/{MODEL}/e0.parquet"
    corpus.write_table(pa.Table.from_pylist(rows, tables.EVIDENCE), path)
    return path


def _write_captions(corpus: Corpus, crops: pa.Table, variant: str) -> None:
    path = f"captions/{variant}/c0.parquet"
    rows = caption_rows(crops, f"{variant}/e0", seed=len(variant))
    corpus.write_table(pa.Table.from_pylist(rows, tables.CAPTIONS), path)
    row = ledger_row(f"{variant}/e0", [path], scope=variant, fingerprint="c0", rows_out=len(rows))
    Ledger(corpus, "caption").append([row])


def _write_manifest(corpus: Corpus, variant: str, config: PublishConfig) -> None:
    files = {
        corpus.relative(info.path): corpus.read_table(corpus.relative(info.path)) for info in corpus.files("crops")
    }
    crops = pa.concat_tables(files.values())
    captions, videos = (corpus.read_table(path) for path in (f"captions/{variant}/c0.parquet", "videos/v0.parquet"))
    paths = {unit: path for path, rows in files.items() for unit in rows["unit_id"].unique().to_pylist()}
    manifest = manifest_of(crops, captions, videos, config, variant, paths=paths)
    path = f"manifests/{variant}/m0.parquet"
    corpus.write_table(manifest, path, **blob_options(manifest))
    Ledger(corpus, "publish").append([ledger_row(variant, [path], scope=variant, rows_out=len(manifest))])


def manifest_of(
    crops: pa.Table,
    captions: pa.Table,
    videos: pa.Table,
    config: PublishConfig,
    unit_id: str = "unit",
    *,
    marks: Sequence[tuple[Mark, pa.Table]] = (),
    paths: Mapping[str, str] | None = None,
) -> pa.Table:
    """The manifest of crops, as publish plans and writes it; units are in files ``paths``."""
    plan = plan_manifest(found(crops, captions, videos, marks=marks, paths=paths), config)
    columns = crop_columns(self_contained=config.self_contained)
    return manifest_table(plan.chosen, crops.select(columns), captions, videos, unit_id)


def found(
    crops: pa.Table,
    captions: pa.Table,
    videos: pa.Table,
    *,
    marks: Sequence[tuple[Mark, pa.Table]] = (),
    paths: Mapping[str, str] | None = None,
) -> Found:
    """What planning reads; the fingerprints of units are d0 and c0."""
    sentences = pc.list_value_length(captions["captions"]).fill_null(0)
    places = _units(crops, "crops", "d0", paths or {})
    path = places["path"].take(pc.index_in(crops["unit_id"], value_set=places["unit_id"].combine_chunks()))
    return Found(
        crops=crops.select(list(CROP_COLUMNS)).append_column("path", path),
        captions=captions.select(["crop_id", "unit_id"]).append_column("sentences", sentences),
        videos=videos,
        marks=marks,
        crop_units=places,
        caption_units=_units(captions, "captions/v", "c0", {}),
    )


def _units(rows: pa.Table, folder: str, fingerprint: str, paths: Mapping[str, str]) -> pa.Table:
    ids: list[Any] = rows["unit_id"].unique().to_pylist()
    named = [paths.get(unit, f"{folder}/{unit.replace('/', '-')}.parquet") for unit in ids]
    text = pa.string()
    columns = [pa.array(ids, text), pa.array(named, text), pa.array([fingerprint] * len(ids), text)]
    return pa.Table.from_arrays(columns, ["unit_id", "path", "fingerprint"])


def _write_metrics(corpus: Corpus, variant: str) -> None:
    scores = {(0, "r1"): 0.1, (0, "r5"): 0.2, (0, "map"): 0.12, (40, "r1"): 0.4, (40, "r5"): 0.7, (40, "map"): 0.5}
    rows: list[Row] = [
        {"unit_id": variant, "step": step, "epoch": step / 20, "phase": "val", "name": name, "value": value}
        for (step, name), value in scores.items()
    ]
    rows += [{"unit_id": variant, "step": 20, "epoch": 1.0, "phase": "train", "name": "loss", "value": 2.5}]
    path = f"checkpoints/{variant}/metrics.parquet"
    corpus.write_table(pa.Table.from_pylist(rows, tables.METRICS), path)
    weights = f"checkpoints/{variant}/step-40/model.safetensors"
    corpus.put(weights, b"weights")
    Ledger(corpus, "pretrain").append([ledger_row(variant, [path, weights], scope=variant, rows_out=len(rows))])


def _crop_row(video: str, unit_id: str, frame: int) -> Row:
    detection = f"{video}/{frame}/0"
    number = frame // 50
    upper, lower = _colours(number)
    return {
        "crop_id": crop_id_of(detection),
        "detection_id": detection,
        "video_id": video,
        "unit_id": unit_id,
        **_box(frame, left=100.0 + number * 5),
        "width": 40,
        "height": 100,
        "sharpness": 100.0 + number * 7 % 40,
        "brightness": 120.0,
        "phash": int(crop_id_of(detection), 16),
        "jpeg": person_jpeg(upper, lower, blur=1 + 2 * (number % 2)),
    }


def _colours(number: int) -> tuple[str, str]:
    names = list(COLOURS)
    return names[number % 4], names[number // 4 % 4]


def _box(frame: int, left: float, confidence: float = 0.9) -> Row:
    return {
        "frame_index": frame,
        "pts_s": frame / 25,
        "x1": left,
        "y1": 200.0,
        "x2": left + 40,
        "y2": 300.0,
        "frame_width": 1280,
        "frame_height": 720,
        "confidence": confidence,
    }


def _detection_row(crop: Row) -> Row:
    names = [name for name in tables.DETECTIONS.names if name in crop]
    return {**{name: crop[name] for name in names}, "kept": True, "drop_reason": None, "drop_reasons": []}


def _dropped_row(video: str, unit_id: str, frame: int) -> Row:
    return {
        "detection_id": f"{video}/{frame}/0",
        "video_id": video,
        "unit_id": unit_id,
        **_box(frame, left=900.0, confidence=0.3),
        "kept": False,
        "drop_reason": "confidence",
        "drop_reasons": ["confidence", "width"],
    }


def _caption_row(crop: Row, unit_id: str, seed: int, position: int) -> Row:
    upper, lower = _colours(crop["frame_index"] // 50)
    garments = f"a {upper} jacket and {lower} long pants"
    sentences = [f"A young man is walking, wearing {garments}.", f"The man in {garments} has short hair."]
    texts = sentences if position == 1 else sentences[:1]
    margin = round(0.9 - 0.01 * (position % 60), 4)
    readings = [("upper_colour", "upper", upper), ("lower_colour", "lower", lower), ("gender", "whole", "man")]
    return {
        "crop_id": crop["crop_id"],
        "video_id": crop["video_id"],
        "unit_id": unit_id,
        "seed": seed,
        "captions": [{"text": text, "template": f"t{n}", "style": "plain"} for n, text in enumerate(texts)],
        "attributes": [
            {
                "attribute": attribute,
                "region": region,
                "phrase": f"{value} {attribute}",
                "value": value,
                "probability": 0.95,
                "margin": margin,
                "used": True,
            }
            for attribute, region, value in readings
        ],
    }
