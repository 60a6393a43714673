"""Rows of the detections and crops tables."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from stages.detect.config import DetectConfig
from stages.detect.crops import Crop, Image, crop_id, cut_crop
from stages.detect.rules import failed_rules

Boxes = npt.NDArray[np.float32]
Row = dict[str, Any]


def detect_chunk(
    frames: Sequence[tuple[int, float, Image]],
    boxes: Sequence[Boxes],
    *,
    video_id: str,
    unit_id: str,
    config: DetectConfig,
) -> tuple[pa.Table, pa.Table]:
    """Judge the detections of a chunk, and cut out those that pass.

    Args:
        frames: Frame index, pts in seconds, and picture (uint8 [H, W, 3], BGR) of each sampled frame.
        boxes: Detections of each of them: float32 [n, 5] as ``PersonDetector`` gives them.
        video_id: Video.
        unit_id: Chunk.
        config: Rules and crops.

    Returns:
        ``detections``, one row for each, kept or not; and ``crops``, one row for each that was kept. Both by frame,
        then by falling confidence.
    """
    detections: list[Row] = []
    crops: list[Row] = []
    for (index, pts_s, image), found in sorted(zip(frames, boxes, strict=True), key=lambda pair: pair[0][0]):
        shared = _shared(index, pts_s, image) | {"video_id": video_id, "unit_id": unit_id}
        passed_over = ["between_crops"] if index % (config.crop.every_frames or 1) else []
        for row, crop in _judge(image, found, config, f"{video_id}/{index}", passed_over):
            detections.append(shared | row)
            if crop is not None:
                crops.append(shared | row | vars(crop) | {"crop_id": crop_id(row["detection_id"])})
    return _table(detections, schemas.tables.DETECTIONS), _table(crops, schemas.tables.CROPS)


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _shared(index: int, pts_s: float, image: Image) -> Row:
    height, width = image.shape[:2]
    return {"frame_index": index, "pts_s": pts_s, "frame_width": width, "frame_height": height}


def _judge(
    image: Image, boxes: Boxes, config: DetectConfig, frame_id: str, passed_over: list[str]
) -> Iterator[tuple[Row, Crop | None]]:
    """Each detection of a frame with the rules that it fails, and its crop if it fails none and none is passed over."""
    for n, (box, failed) in enumerate(zip(boxes, failed_rules(boxes, config.rules), strict=True)):
        reasons = failed or list(passed_over)
        crop = None if reasons else cut_crop(image, box, config.crop)
        if not reasons and crop is None:
            reasons.append("no_pixels")
        row: Row = dict(zip(("x1", "y1", "x2", "y2", "confidence"), map(float, box), strict=True))
        row |= {"detection_id": f"{frame_id}/{n}", "kept": not reasons, "drop_reasons": reasons}
        yield row | {"drop_reason": reasons[0] if reasons else None}, crop
