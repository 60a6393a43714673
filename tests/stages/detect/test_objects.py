import numpy as np
import pytest

import schemas.tables
from stages.detect.config import DetectConfig
from stages.detect.detection_rows import detect_chunk
from stages.detect.objects import LABELS, object_classes, objects_near

PERSON = np.array([100, 50, 160, 230, 0.95], np.float32)


def near(*rows: tuple[float, float, float, float, float, str]) -> np.ndarray:
    return np.array([(*row[:5], LABELS.index(row[5])) for row in rows], np.float32).reshape(-1, 6)


def test_the_labels_are_found_by_name_among_a_models_classes() -> None:
    assert object_classes({0: "person", 24: "backpack", 5: "bus", 67: "cell phone"}) == {24: 0, 67: 4}
    assert object_classes({0: "person"}) == {}


def test_objects_at_a_person_are_kept_with_their_overlap_and_others_are_not() -> None:
    seen = near(
        (110, 80, 150, 130, 0.6, "backpack"),
        (160, 150, 190, 230, 0.9, "suitcase"),
        (300, 150, 340, 230, 0.9, "dog"),
        (90, 20, 170, 60, 0.7, "umbrella"),
    )
    found = objects_near(PERSON, seen)
    assert [row["label"] for row in found] == ["suitcase", "umbrella", "backpack"]
    assert [row["overlap"] for row in found] == pytest.approx([0, 60 * 10 / (80 * 40), 1])
    assert objects_near(PERSON, near()) == []


def test_a_box_without_area_costs_nothing() -> None:
    [row] = objects_near(PERSON, near((120, 100, 120, 100, 0.5, "cell phone"), (130, 99, 140, 120, 0.9, "handbag")))
    assert row["label"] == "handbag"


def test_crops_carry_the_objects_near_them() -> None:
    frames = [(0, 0.0, np.full((300, 400, 3), 90, np.uint8)), (20, 2.0, np.full((300, 400, 3), 90, np.uint8))]
    seen = [near((110, 80, 150, 130, 0.6, "backpack")), None]
    _, crops = detect_chunk(
        frames, [PERSON[None], PERSON[None]], video_id="v", unit_id="u", config=DetectConfig(), objects=seen
    )
    assert crops.schema == schemas.tables.CROPS
    first, second = crops["objects"].to_pylist()
    assert [row["label"] for row in first] == ["backpack"]
    assert second is None


# The person is 60 wide and 180 high: 30 pixels to the sides, 45 above, 18 below.
@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((40, 100, 71, 140), True),
        ((40, 100, 69, 140), False),
        ((189, 100, 220, 140), True),
        ((191, 100, 220, 140), False),
        ((110, 0, 150, 6), True),
        ((110, 0, 150, 4), False),
        ((110, 247, 150, 290), True),
        ((110, 249, 150, 290), False),
    ],
)
def test_objects_are_near_up_to_the_reach_of_each_side(box: tuple[float, float, float, float], kept: bool) -> None:
    assert len(objects_near(PERSON, near((*box, 0.9, "dog")))) == kept
