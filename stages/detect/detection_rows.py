"""Rows of the detections and crops tables."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import schemas.tables
from stages.arrays import Image, Keypoints
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.crops import crop_id, crop_window, cut_crop
from stages.detect.faces import blur_heads, find_heads
from stages.detect.objects import objects_near
from stages.detect.quality import measure_frame
from stages.detect.rules import failed_rules

Row = dict[str, Any]


def detect_chunk(
    frames: Sequence[tuple[int, float, Image]],
    boxes: Sequence[Boxes],
    *,
    video_id: str,
    unit_id: str,
    config: DetectConfig,
    keypoints: Sequence[Keypoints] | None = None,
    objects: Sequence[Boxes | None] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Apply the rules to the detections of a chunk, and crop those that pass.

    Args:
        frames: Frame index, pts in seconds, and image (uint8 [H, W, 3], BGR) of each sampled frame.
        boxes: Detections of each of them: float32 [n, 5] as in ``Found.persons``.
        video_id: Video.
        unit_id: Chunk.
        config: Rules and crops.
        keypoints: Of each frame's detections, float32 [n, 17, 3] as in ``Found.keypoints``; None without a pose
            model.
        objects: Objects in each of the frames, float32 [m, 6] as in ``Found.objects``; None, for one frame or for all,
            if the detector cannot find objects.

    Returns:
        ``detections``, one row for each, kept or not; and ``crops``, one row for each that was kept. Both by frame,
        then by descending confidence.
    """
    detections: list[Row] = []
    crops: list[Row] = []
    nothing: Sequence[None] = [None] * len(frames)
    by_frame = zip(frames, boxes, keypoints or nothing, objects or nothing, strict=True)
    for (index, pts_s, image), found, points, seen in sorted(by_frame, key=lambda frame: frame[0][0]):
        shared = _shared(index, pts_s, image) | {"video_id": video_id, "unit_id": unit_id}
        passed_over = ["between_crops"] if index % (config.crop.every_frames or 1) else []
        judged = _judge(image, found, points, config, f"{video_id}/{index}", passed_over)
        for (row, crop), box in zip(judged, found, strict=True):
            detections.append(shared | row)
            if crop is not None:
                own = {"crop_id": crop_id(row["detection_id"]), "objects": _near(box, seen)}
                crops.append(shared | row | crop | own)
    return _table(detections, schemas.tables.DETECTIONS), _table(crops, schemas.tables.CROPS)


def _near(person: Boxes, objects: Boxes | None) -> list[Row] | None:
    return None if objects is None else objects_near(person, objects)


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _shared(index: int, pts_s: float, image: Image) -> Row:
    height, width = image.shape[:2]
    return {"frame_index": index, "pts_s": pts_s, "frame_width": width, "frame_height": height}


def _judge(
    image: Image,
    boxes: Boxes,
    keypoints: Keypoints | None,
    config: DetectConfig,
    frame_id: str,
    passed_over: list[str],
) -> Iterator[tuple[Row, Row | None]]:
    """Each detection of a frame with the rules that it fails; for one that passes, also the columns of its crop.

    Args:
        image: The frame.
        boxes: Its detections.
        keypoints: Theirs; None without a pose model.
        config: Rules and crops.
        frame_id: Prefix of the ids of its detections.
        passed_over: Why no crop is cut from this frame; empty if crops are cut.
    """
    # Measured before heads are blurred: quality describes what the camera recorded.
    quality = measure_frame(image, boxes, config.crop.margin)
    heads = find_heads(boxes, keypoints) if config.faces == "blur" else []
    shown = blur_heads(image, heads) if heads else image
    for n, (box, failed) in enumerate(zip(boxes, failed_rules(boxes, config.rules, quality, keypoints), strict=True)):
        reasons = failed or list(passed_over)
        crop = None if reasons else cut_crop(shown, box, config.crop)
        if not reasons and crop is None:
            reasons.append("no_pixels")
        row: Row = dict(zip(("x1", "y1", "x2", "y2", "confidence"), map(float, box), strict=True))
        row |= {"detection_id": f"{frame_id}/{n}", "kept": not reasons, "drop_reasons": reasons}
        row |= {"drop_reason": reasons[0] if reasons else None}
        if crop is None:
            yield row, None
            continue
        left, top, *_ = crop_window(image, box, config.crop.margin)
        points = None if keypoints is None else _in_crop(keypoints[n], left, top)
        blurred = heads[n].by if heads else None
        yield row, vars(crop) | quality.row(n) | {"keypoints": points, "head_blurred_by": blurred}


def _in_crop(points: Keypoints, left: int, top: int) -> list[float] | None:
    """Keypoints as 51 numbers, in pixels of the crop that begins at left, top; None where no person was found."""
    if np.isnan(points).any():
        return None
    return [float(value) for value in (points - np.array([left, top, 0], np.float32)).ravel()]
