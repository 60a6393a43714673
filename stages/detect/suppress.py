"""From candidates to persons: suppression of duplicates, and a fixed order."""

import numpy as np

from stages.boxes import Boxes, by_falling_score, iou

PERSON = 0
"""Kind of a candidate that is a person; an object's is 1 + its position among ``stages.detect.objects.LABELS``."""

_IOU = 0.7  # ultralytics' own threshold


def above_floor(found: Boxes, floor: float) -> list[Boxes]:
    """Candidates above a score: float32 [B, N, 6] to B times [n, 6]."""
    return [rows[rows[:, 4] > floor] for rows in found]


def suppress(candidates: Boxes, most: int) -> Boxes:
    """Greedy non-maximum suppression, as in torchvision: of two boxes with IoU above 0.7, the higher score is kept.

    Args:
        candidates: float32 [n, 5 or more]: xyxy and score first, all of one kind.
        most: Maximum number of boxes to keep.

    Returns:
        The rows kept, by descending score.
    """
    rest = candidates[np.argsort(-candidates[:, 4], kind="stable")]
    kept: list[Boxes] = []
    while len(rest) and len(kept) < most:
        first, rest = rest[0], rest[1:]
        kept.append(first)
        rest = rest[iou(first, rest) <= _IOU]
    return np.stack(kept) if kept else candidates[:0]


def ordered(boxes: Boxes) -> Boxes:
    """By descending score; ties by position, so that the order is deterministic."""
    return np.ascontiguousarray(boxes[by_falling_score(boxes)])
