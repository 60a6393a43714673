import numpy as np
import pytest

from stages.boxes import by_falling_score, iou

BOX = (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (BOX, BOX, 1),
        (BOX, (5, 0, 15, 10), 1 / 3),
        (BOX, (10, 0, 20, 10), 0),
        (BOX, (20, 20, 30, 30), 0),
        (BOX, (4, 4, 4, 4), 0),
        ((4, 4, 4, 4), (4, 4, 4, 4), 0),
    ],
    ids=["itself", "half across", "touching", "apart", "a point in it", "two points"],
)
def test_intersection_over_union(one: tuple[int, ...], other: tuple[int, ...], expected: float) -> None:
    found = iou(np.array(one, np.float32), np.array([other], np.float32))
    assert found.dtype == np.float32
    assert found == pytest.approx([expected])


def test_equal_scores_are_ordered_by_place() -> None:
    boxes = np.array([(5, 0, 9, 9, 0.5), (1, 3, 9, 9, 0.5), (1, 2, 9, 9, 0.5), (7, 0, 9, 9, 0.9)], np.float32)
    assert by_falling_score(boxes).tolist() == [3, 2, 1, 0]
