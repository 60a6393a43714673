import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import ultralytics

from stages.detect.config import DetectConfig
from stages.detect.detection_rows import detect_chunk
from stages.detect.families.ultralytics.pose_detector import PoseDetector
from stages.detect.families.ultralytics.yolo_detector import YoloDetector
from stages.detect.second_pass import SecondPass

MODELS = Path(__file__).resolve().parents[3] / "models"
BUS = cv2.imread(str(Path(ultralytics.__file__).parent / "assets" / "bus.jpg"))
NOSE, SHOULDERS, HIPS, ANKLES = 0, [5, 6], [11, 12], [15, 16]


def config(**pose: object) -> DetectConfig:
    return DetectConfig.model_validate(
        {"device": "cpu", "pose": {"source": "second_pass"} | pose, "rules": {"min_confidence": 0.5}}
    )


@pytest.fixture(scope="module")
def boxes() -> np.ndarray:
    return YoloDetector(config())([BUS])[0].persons


@pytest.fixture(scope="module")
def second() -> SecondPass:
    return SecondPass(config())


def standing(points: np.ndarray) -> bool:
    heights = [points[part, 1].mean() for part in (NOSE, SHOULDERS, HIPS, ANKLES)]
    return heights == sorted(heights)


def test_a_second_pass_finds_the_joints_of_everybody_at_the_bus(boxes: np.ndarray, second: SecondPass) -> None:
    [points] = second([BUS], [boxes])
    looked_at = ~np.isnan(points).any((1, 2))
    assert points.shape == (4, 17, 3)
    assert points.dtype == np.float32
    assert looked_at.sum() >= 3
    whole = points[looked_at & (boxes[:, 2] < 800) & (boxes[:, 0] > 5)]
    assert len(whole) >= 2
    for person in whole:
        assert standing(person)
    for box, person in zip(boxes[looked_at], points[looked_at], strict=True):
        seen = person[person[:, 2] > 0.5, :2]
        assert (seen > box[:2] - 20).all()
        assert (seen < box[2:4] + 20).all()


def test_what_fails_the_rules_on_boxes_is_not_looked_at(boxes: np.ndarray, second: SecondPass) -> None:
    weak = boxes.copy()
    weak[1:, 4] = 0.4
    [points] = second([BUS], [weak])
    assert np.isnan(points).any((1, 2)).tolist() == [False, True, True, True]
    assert [found.shape for found in second([BUS], [boxes[:0]])] == [(0, 17, 3)]


def test_points_do_not_depend_on_the_company(boxes: np.ndarray) -> None:
    four = SecondPass(config(batch_size=4))
    smaller = BUS[::2, ::2].copy()
    halves = boxes * np.array([0.5, 0.5, 0.5, 0.5, 1], np.float32)
    together = four([BUS, smaller], [boxes, halves])
    for row in range(len(boxes)):
        np.testing.assert_array_equal(four([BUS], [boxes[row : row + 1]])[0][0], together[0][row])
    np.testing.assert_array_equal(four([smaller], [halves])[0], together[1])


def test_a_box_without_anybody_has_no_points(second: SecondPass) -> None:
    [points] = second([np.full((400, 300, 3), 114, np.uint8)], [np.array([[50, 50, 150, 300, 0.9]], np.float32)])
    assert np.isnan(points).all()


def test_a_pose_model_as_the_detector_gives_boxes_and_points() -> None:
    detector = PoseDetector(config(source="detector").model_copy(update={"model": "models/yolo11n-pose.pt"}))
    (boxes, _, points), (grey, objects, none) = detector([BUS, np.full((100, 80, 3), 114, np.uint8)])
    assert points is not None
    assert none is not None
    assert objects is None
    assert len(boxes) >= 3
    assert points.shape == (len(boxes), 17, 3)
    assert list(boxes[:, 4]) == sorted(boxes[:, 4], reverse=True)
    assert standing(points[0])
    assert (grey.shape, none.shape) == ((0, 5), (0, 17, 3))
    np.testing.assert_array_equal(detector([BUS])[0].keypoints, points)


def test_crops_carry_keypoints_in_their_own_pixels(boxes: np.ndarray, second: SecondPass) -> None:
    points = second([BUS], [boxes])
    chosen = config().model_copy(update={"crop": config().crop.model_copy(update={"margin": 0.05})})
    _, crops = detect_chunk([(0, 0.0, BUS)], [boxes], video_id="v", unit_id="u", config=chosen, keypoints=points)
    assert crops.num_rows >= 2
    for row in crops.to_pylist():
        person = np.array(row["keypoints"], np.float32).reshape(17, 3)
        n = int(row["detection_id"].rpartition("/")[2])
        shift = points[0][n, :, :2] - person[:, :2]
        assert np.ptp(shift, axis=0) == pytest.approx([0, 0], abs=1e-3)
        assert shift[0, 0] == max(round(row["x1"] - 0.05 * (row["x2"] - row["x1"])), 0)
        visible = person[person[:, 2] > 0.5]
        assert (visible[:, 0] < row["width"] + 20).all()
    _, without = detect_chunk([(0, 0.0, BUS)], [boxes], video_id="v", unit_id="u", config=chosen)
    assert without["keypoints"].null_count == without.num_rows


def test_somebody_whose_legs_are_out_of_sight_is_dropped_with_the_reason(second: SecondPass) -> None:
    whole = YoloDetector(config())([BUS])[0].persons
    person = next(box for box in whole if box[0] > 5 and box[2] < 800)
    cut = BUS[: int(person[1] + 0.55 * (person[3] - person[1]))]
    half = np.array([[*person[:3], len(cut), 0.9]], np.float32)
    narrow = half.copy()
    narrow[0, [0, 2]] += [15, -15]  # upright again
    points = second([cut], [narrow])
    rows, _ = detect_chunk([(0, 0.0, cut)], [narrow], video_id="v", unit_id="u", config=config(), keypoints=points)
    assert rows["drop_reasons"].to_pylist() == [["legs_hidden"]]


def test_weights_that_give_no_keypoints_are_refused(tmp_path: Path) -> None:
    for key, broken in (
        ("detect.pose.model models/yolo26n.pt", config(model="models/yolo26n.pt")),
        ("detect.model models/yolo26n.pt", config(source="detector")),
    ):
        kind = PoseDetector if broken.pose.source == "detector" else SecondPass
        with pytest.raises(ValueError, match=f"{key}: it is a detect model; keypoints need one such as"):
            kind(broken)
    changed = tmp_path / "yolo11n-pose.pt"
    shutil.copy(MODELS / "yolo11n-pose.pt", changed)
    with changed.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"detect\.pose\.model .*its SHA-256 is .*expected 869e83fc"):
        SecondPass(config(model=str(changed)))
    with pytest.raises(ValueError, match=r"detect\.pose\.model weights/none\.pt: no such file"):
        SecondPass(config(model="weights/none.pt"))
