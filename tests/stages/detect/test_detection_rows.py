import io

import cv2
import numpy as np
import pyarrow as pa
import pytest

import schemas.tables
from stages.detect.config import DetectConfig
from stages.detect.crops import crop_id
from stages.detect.detection_rows import detect_chunk
from stages.detect.phash import perceptual_hash

CONFIG = DetectConfig()
GOOD, NARROW, WEAK = (100, 50, 160, 230, 0.95), (10, 10, 30, 60, 0.9), (200, 20, 260, 180, 0.5)
OUTSIDE = (500, 50, 560, 230, 0.8)


def frame(level: int = 100) -> np.ndarray:
    return np.full((300, 400, 3), level, np.uint8)


def chunk(*frames: tuple[int, list[tuple[float, ...]]]) -> tuple[pa.Table, pa.Table]:
    pictures = [(index, index / 10, frame(index % 256)) for index, _ in frames]
    boxes = [np.array(found, np.float32).reshape(-1, 5) for _, found in frames]
    return detect_chunk(pictures, boxes, video_id="youtube:abc", unit_id="youtube:abc/0-200", config=CONFIG)


def test_every_detection_has_a_row_and_the_kept_ones_a_crop() -> None:
    detections, crops = chunk((20, [GOOD, NARROW, WEAK]), (40, []), (60, [GOOD]))
    assert detections.schema == schemas.tables.DETECTIONS
    assert crops.schema == schemas.tables.CROPS
    assert detections["detection_id"].to_pylist() == [
        f"youtube:abc/{name}" for name in ("20/0", "20/1", "20/2", "60/0")
    ]
    assert detections["kept"].to_pylist() == [True, False, False, True]
    assert detections["drop_reason"].to_pylist() == [None, "narrow", "low_confidence", None]
    assert detections["drop_reasons"].to_pylist() == [[], ["narrow"], ["low_confidence"], []]
    assert crops["detection_id"].to_pylist() == ["youtube:abc/20/0", "youtube:abc/60/0"]
    assert crops["crop_id"].to_pylist() == [crop_id(name) for name in crops["detection_id"].to_pylist()]


def test_a_crop_carries_its_frame_and_its_picture() -> None:
    _, crops = chunk((20, [GOOD]))
    [row] = crops.to_pylist()
    assert (row["frame_index"], row["pts_s"], row["frame_width"], row["frame_height"]) == (20, 2.0, 400, 300)
    assert (row["x1"], row["y1"], row["x2"], row["y2"]) == GOOD[:4]
    assert (row["width"], row["height"], row["brightness"]) == (60, 180, 20)
    assert row["phash"] == perceptual_hash(np.full((180, 60), 20, np.uint8))
    assert cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (180, 60, 3)


def test_rows_come_in_order_whatever_the_order_of_the_frames() -> None:
    detections, _ = chunk((60, [GOOD]), (20, [GOOD, NARROW]), (40, [GOOD]))
    assert detections["frame_index"].to_pylist() == [20, 20, 40, 60]


def test_a_box_outside_the_picture_is_recorded_without_a_crop() -> None:
    detections, crops = chunk((20, [OUTSIDE]))
    assert detections["drop_reason"].to_pylist() == ["no_pixels"]
    assert crops.num_rows == 0


@pytest.mark.parametrize("frames", [[], [(0, [])]])
def test_a_chunk_without_anybody_is_empty_but_typed(frames: list[tuple[int, list[tuple[float, ...]]]]) -> None:
    detections, crops = chunk(*frames)
    assert (detections.num_rows, crops.num_rows) == (0, 0)
    assert (detections.schema, crops.schema) == (schemas.tables.DETECTIONS, schemas.tables.CROPS)


def test_frames_of_different_sizes_stand_side_by_side() -> None:
    pictures = [(0, 0.0, frame()), (20, 2.0, np.full((600, 800, 3), 9, np.uint8))]
    boxes = [np.array([GOOD], np.float32)] * 2
    detections, _ = detect_chunk(pictures, boxes, video_id="v", unit_id="u", config=CONFIG)
    assert detections["frame_width"].to_pylist() == [400, 800]


def test_the_same_chunk_gives_the_same_bytes() -> None:
    def written() -> bytes:
        sink = io.BytesIO()
        for table in chunk((20, [GOOD, WEAK]), (40, [GOOD])):
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        return sink.getvalue()

    assert written() == written()


def test_crops_come_from_every_so_many_frames_and_detections_from_all() -> None:
    config = DetectConfig.model_validate({"crop": {"every_frames": 20}})
    pictures = [(index, index / 10, frame()) for index in (20, 30, 40)]
    boxes = [np.array([GOOD, NARROW], np.float32)] * 3
    detections, crops = detect_chunk(pictures, boxes, video_id="v", unit_id="u", config=config)
    reasons = detections["drop_reasons"].to_pylist()
    assert reasons == [[], ["narrow"], ["between_crops"], ["narrow"], [], ["narrow"]]
    assert crops["frame_index"].to_pylist() == [20, 40]


@pytest.mark.parametrize(
    ("rules", "reasons"),
    [
        ({"min_contrast": 1}, [["low_contrast"], ["low_contrast"]]),
        ({"min_brightness": 101}, [["dark"], ["dark"]]),
        ({"max_truncation": 0}, [[], ["truncated"]]),
        ({"max_overlap": 0.9}, [[], []]),
        ({"max_overlap": 0.3}, [["overlapped"], ["overlapped"]]),
    ],
)
def test_rules_judge_the_measures_of_the_frame(rules: dict[str, float], reasons: list[list[str]]) -> None:
    config = DetectConfig.model_validate({"rules": rules})
    boxes = np.array([GOOD, (120, 120, 180, 300, 0.9)], np.float32)  # 40 x 110 pixels of 60 x 180 are common
    detections, crops = detect_chunk([(0, 0.0, frame())], [boxes], video_id="v", unit_id="u", config=config)
    assert detections["drop_reasons"].to_pylist() == reasons
    assert crops.num_rows == reasons.count([])
