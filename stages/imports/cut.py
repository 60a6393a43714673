"""Crops from published boxes, at whatever resolution the video is available."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig, RulesConfig
from stages.detect.detection_rows import detect_chunk
from stages.imports.reference import Reference
from stages.video.facts import VideoFacts

NO_FRAME = "frame_damaged"
"""Drop reason of a published box whose frame cannot be decoded."""


def cut_published(
    frames: Sequence[tuple[int, float, Image]],
    boxes: dict[int, Boxes],
    reference: Reference,
    facts: VideoFacts,
    *,
    video_id: str,
    unit_id: str,
    config: DetectConfig,
) -> tuple[pa.Table, pa.Table]:
    """Apply the rules to the published boxes of a chunk, and crop those that pass.

    The rules apply in the pixels that the boxes were published in, so that a smaller copy of a video gives the same
    crops as a larger one. A box without a confidence passes the rule on confidence.

    Args:
        frames: Frame index, pts in seconds, and image (uint8 [H, W, 3], BGR) of the frames that decoded.
        boxes: Published boxes by frame index, float32 [n, 5]: x1, y1, x2, y2 in pixels of the reference, and the
            confidence, NaN if none was published.
        reference: Frame size that they refer to.
        facts: The available video.
        video_id: Video.
        unit_id: Chunk.
        config: Rules and crops.

    Returns:
        ``detections`` and ``crops`` as ``detect_chunk`` returns them; boxes in pixels of the available frames.
    """
    scale = np.array([facts.width / reference.width, facts.height / reference.height], np.float32)
    rules = _in_frame_pixels(config.rules, *map(float, scale))
    factors = np.array([*scale, *scale, 1], np.float32)
    scaled = {index: found * factors for index, found in boxes.items()}
    tables = detect_chunk(
        frames,
        [scaled[index] for index, *_ in frames],
        video_id=video_id,
        unit_id=unit_id,
        config=config.model_copy(update={"rules": rules}),
    )
    lost = _without_frame(scaled, {index for index, *_ in frames}, facts, video_id, unit_id, tables[0].schema)
    detections, crops = (_confidence(table) for table in (pa.concat_tables([tables[0], lost]), tables[1]))
    return _with_reference(detections, reference), crops


def _in_frame_pixels(rules: RulesConfig, across: float, down: float) -> RulesConfig:
    height = None if rules.min_height is None else rules.min_height * down
    return rules.model_copy(update={"min_width": rules.min_width * across, "min_height": height})


def _without_frame(
    boxes: dict[int, Boxes], seen: set[int], facts: VideoFacts, video_id: str, unit_id: str, schema: pa.Schema
) -> pa.Table:
    """Rows of the boxes whose frame was not decoded; their time follows from the mean frame rate."""
    rows = [
        {
            **dict(zip(("x1", "y1", "x2", "y2", "confidence"), map(float, box), strict=True)),
            "detection_id": f"{video_id}/{index}/{n}",
            "video_id": video_id,
            "unit_id": unit_id,
            "frame_index": index,
            "pts_s": index / facts.fps,
            "frame_width": facts.width,
            "frame_height": facts.height,
            "kept": False,
            "drop_reason": NO_FRAME,
            "drop_reasons": [NO_FRAME],
        }
        for index, found in sorted(boxes.items())
        if index not in seen
        for n, box in enumerate(found)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _confidence(table: pa.Table) -> pa.Table:
    """The table with null for confidences that were not published."""
    values = table["confidence"].to_numpy()
    position = table.schema.get_field_index("confidence")
    return table.set_column(
        position, table.schema.field(position), pa.array(values, pa.float32(), mask=np.isnan(values))
    )


def _with_reference(detections: pa.Table, reference: Reference) -> pa.Table:
    """The table with the frame size that its boxes refer to, and the evidence for it."""
    for name, value in {
        "reference_width": reference.width,
        "reference_height": reference.height,
        "reference": reference.evidence,
    }.items():
        position = detections.schema.get_field_index(name)
        field = detections.schema.field(position)
        detections = detections.set_column(position, field, pa.array([value] * detections.num_rows, field.type))
    return detections
