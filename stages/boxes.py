"""Boxes in an image: x1, y1, x2, y2 in pixels, then the score if known."""

import numpy as np
import numpy.typing as npt

from stages.arrays import Floats

Boxes = npt.NDArray[np.float32]
"""float32 [N, 4 or more]: x1, y1, x2, y2 in pixels, then the score and further columns."""


def area(boxes: Boxes) -> Floats:
    """Area of each box: float32 [..., 4 or more] to [...]."""
    areas: Floats = (boxes[..., 2:4] - boxes[..., :2]).prod(-1)
    return areas


def common_area(one: Boxes, other: Boxes) -> Floats:
    """Area that boxes have in common, 0 if they are disjoint: float32 [..., 4 or more] each, as NumPy broadcasts."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:4], other[..., 2:4])
    common: Floats = (high - low).clip(0).prod(-1)
    return common


def iou(box: Boxes, others: Boxes) -> Floats:
    """Intersection over union of a box with each of others, float32 [n]; 0 if neither has an area."""
    common = common_area(box, others)
    union = area(box) + area(others) - common
    ratio: Floats = common / np.maximum(union, np.finfo(np.float32).tiny)
    return ratio


def by_falling_score(boxes: Boxes) -> npt.NDArray[np.intp]:
    """The order of float32 [n, 5 or more] by descending score; ties by position, so that it is deterministic."""
    return np.lexsort((*boxes[:, 3::-1].T, -boxes[:, 4]))
