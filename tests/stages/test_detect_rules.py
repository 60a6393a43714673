import numpy as np
import pytest

from stages.detect.config import RulesConfig
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


def test_names_are_those_of_the_table() -> None:
    assert RULES == ("low_confidence", "narrow", "aspect_low", "aspect_high")
