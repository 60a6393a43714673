import numpy as np
import pytest

from stages.detect.config import RulesConfig
from stages.detect.quality import FrameQuality, PixelQuality
from stages.detect.rules import RULES, failed_rules


@pytest.mark.parametrize(
    ("width", "height", "confidence", "fails"),
    [
        (60, 150, 0.9, []),
        (60, 150, 0.72, ["low_confidence"]),
        (60, 150, 0.7201, []),
        (48, 120, 0.9, ["narrow"]),
        (48.01, 120, 0.9, []),
        (60, 90, 0.9, []),
        (60, 89.9, 0.9, ["aspect_low"]),
        (60, 300, 0.9, []),
        (60, 300.1, 0.9, ["aspect_high"]),
        (20, 120, 0.3, ["low_confidence", "narrow", "aspect_high"]),
        (40, 30, 0.3, ["low_confidence", "narrow", "aspect_low"]),
        (0, 100, 0.9, ["narrow", "aspect_high"]),
        (0, 0, 0.9, ["narrow"]),
    ],
)
def test_lupersons_rules(width: float, height: float, confidence: float, fails: list[str]) -> None:
    boxes = np.array([[10, 20, 10 + width, 20 + height, confidence]], np.float32)
    assert failed_rules(boxes, RulesConfig()) == [fails]


def test_every_detection_is_judged_by_itself() -> None:
    boxes = np.array([[0, 0, 60, 150, 0.9], [0, 0, 10, 20, 0.9], [0, 0, 60, 150, 0.1]], np.float32)
    assert failed_rules(boxes, RulesConfig()) == [[], ["narrow"], ["low_confidence"]]
    assert failed_rules(np.empty((0, 5), np.float32), RulesConfig()) == []


def quality(**values: float) -> FrameQuality:
    pixels = {"sharpness": 100.0, "brightness": 120.0, "contrast": 40.0, "colourfulness": 30.0}
    measured = PixelQuality(**(pixels | {name: value for name, value in values.items() if name in pixels}))
    return FrameQuality(
        np.array([values.get("truncation", 0)]), np.array([values.get("overlap", 0)], np.float32), [measured]
    )


@pytest.mark.parametrize(
    ("rules", "measured", "fails"),
    [
        ({}, {"sharpness": 0, "brightness": 0, "overlap": 1, "truncation": 4}, []),
        ({"max_truncation": 1}, {"truncation": 1}, []),
        ({"max_truncation": 1}, {"truncation": 2}, ["truncated"]),
        ({"max_overlap": 0.5}, {"overlap": 0.5}, []),
        ({"max_overlap": 0.5}, {"overlap": 0.51}, ["overlapped"]),
        ({"min_sharpness": 50}, {"sharpness": 50}, []),
        ({"min_sharpness": 50}, {"sharpness": 49.9}, ["blurred"]),
        ({"min_brightness": 30, "max_brightness": 220}, {"brightness": 29}, ["dark"]),
        ({"min_brightness": 30, "max_brightness": 220}, {"brightness": 221}, ["bright"]),
        ({"min_brightness": 30, "max_brightness": 220}, {"brightness": 30}, []),
        ({"min_brightness": 30, "max_brightness": 220}, {"brightness": 220}, []),
        ({"min_contrast": 10}, {"contrast": 9}, ["low_contrast"]),
        ({"min_contrast": 10}, {"contrast": 10}, []),
        ({"min_colourfulness": 3}, {"colourfulness": 2.9}, ["colourless"]),
        ({"min_colourfulness": 3}, {"colourfulness": 3}, []),
        ({"min_height": 150}, {}, ["short"]),
        ({"min_height": 149}, {}, []),
        (
            {"min_contrast": 50, "max_overlap": 0, "min_height": 200},
            {"overlap": 0.1},
            ["short", "overlapped", "low_contrast"],
        ),
    ],
)
def test_every_measure_may_be_a_rule(rules: dict[str, float], measured: dict[str, float], fails: list[str]) -> None:
    boxes = np.array([[10, 20, 70, 170, 0.9]], np.float32)
    assert failed_rules(boxes, RulesConfig.model_validate(rules), quality(**measured)) == [fails]


def body(*hidden: str) -> np.ndarray:
    """Keypoints of a person, [1, 17, 3], of whom the named parts are not visible."""
    points = np.full((1, 17, 3), 0.9, np.float32)
    for part in hidden:
        points[0, PARTS[part], 2] = 0.1
    return points


PARTS = {
    "head": [0, 1, 2, 3, 4], "all but an ear": [0, 1, 2, 3], "face": [0, 1, 2], "shoulders": [5, 6],
    "arms": [7, 8, 9, 10], "hips": [11, 12], "left hip": [11], "knees": [13, 14], "feet": [15, 16],
}  # fmt: skip


@pytest.mark.parametrize(
    ("hidden", "luperson", "webperson"),
    [
        ([], [], []),
        (["head"], ["head_hidden"], ["head_hidden"]),
        (["all but an ear"], [], ["head_hidden"]),
        (["face"], [], []),
        (["shoulders"], [], []),
        (["shoulders", "arms"], ["upper_body_hidden"], []),
        (["knees"], [], []),
        (["knees", "feet"], ["legs_hidden"], []),
        (["left hip"], [], []),
        (["hips"], [], ["hips_hidden"]),
        (["face", "arms", "knees", "feet"], ["legs_hidden"], ["few_keypoints"]),
        (
            ["head", "shoulders", "arms", "hips", "knees", "feet"],
            ["head_hidden", "upper_body_hidden", "legs_hidden"],
            ["head_hidden", "hips_hidden", "few_keypoints"],
        ),
    ],
)
def test_rules_on_keypoints(hidden: list[str], luperson: list[str], webperson: list[str]) -> None:
    boxes = np.array([[0, 0, 100, 250, 0.9]], np.float32)
    for preset, expected in (("luperson", luperson), ("webperson", webperson)):
        rules = RulesConfig.model_validate({"preset": preset})
        assert failed_rules(boxes, rules, keypoints=body(*hidden)) == [expected]
        assert failed_rules(boxes, rules) == [[]]


# By COCO's number: nose, eyes, ears; shoulders, elbows, wrists; hips; knees, ankles.
PARTS_OF = ["head_hidden"] * 5 + ["upper_body_hidden"] * 6 + ["hips_hidden"] * 2 + ["legs_hidden"] * 4


@pytest.mark.parametrize("number", range(17))
def test_each_keypoint_counts_for_its_part_from_the_threshold_on(number: int) -> None:
    boxes, points = np.array([[0, 0, 100, 250, 0.9]], np.float32), np.full((1, 17, 3), 0.49, np.float32)
    points[0, number, 2] = 0.5
    rules = RulesConfig.model_validate({f"min_{part}_points": 1 for part in ("head", "upper", "hip", "leg")})
    hidden = [name for name in dict.fromkeys(PARTS_OF) if name != PARTS_OF[number]]
    assert failed_rules(boxes, rules, keypoints=points) == [hidden]


def test_a_box_without_any_keypoint_fails_every_rule_on_keypoints() -> None:
    boxes, unseen = np.array([[0, 0, 100, 250, 0.9]], np.float32), np.full((1, 17, 3), np.nan, np.float32)
    assert failed_rules(boxes, RulesConfig(), keypoints=unseen) == [["head_hidden", "upper_body_hidden", "legs_hidden"]]


@pytest.mark.parametrize(
    ("width", "height", "confidence", "fails"),
    [
        (91, 190, 0.86, []),
        (90, 190, 0.86, ["narrow"]),
        (91, 190, 0.85, ["low_confidence"]),
        (100, 200, 0.9, []),
        (100, 199, 0.9, ["aspect_low"]),
        (100, 400, 0.9, []),
        (100, 401, 0.9, ["aspect_high"]),
    ],
)
def test_webpersons_rules(width: float, height: float, confidence: float, fails: list[str]) -> None:
    boxes = np.array([[0, 0, width, height, confidence]], np.float32)
    assert failed_rules(boxes, RulesConfig.model_validate({"preset": "webperson"})) == [fails]


def test_reasons_come_in_the_order_of_the_rules() -> None:
    boxes = np.array([[0, 0, 10, 5, 0.1]], np.float32)
    every = RulesConfig.model_validate(
        {"min_height": 9, "max_truncation": 0, "max_overlap": 0, "min_sharpness": 900, "min_brightness": 200,
         "max_brightness": 210, "min_contrast": 90, "min_colourfulness": 90, "min_hip_points": 1, "min_points": 1}
    )  # fmt: skip
    bad = quality(truncation=2, overlap=0.5)
    unseen = np.full((1, 17, 3), np.nan, np.float32)
    [found] = failed_rules(boxes, every, bad, unseen)
    assert found == [name for name in RULES if name not in ("aspect_high", "bright")]
