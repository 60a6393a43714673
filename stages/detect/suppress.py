"""From candidates to persons: doubles suppressed, in a fixed order."""

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]

PERSON = 0
"""Kind of a candidate that is a person; 1 + the position among ``stages.detect.objects.LABELS`` is that of a thing."""

_IOU = 0.7  # ultralytics' own threshold


def above_floor(found: Boxes, floor: float) -> list[Boxes]:
    """Candidates above a score: float32 [B, N, 6] to B times [n, 6]."""
    return [rows[rows[:, 4] > floor] for rows in found]


def suppress(candidates: Boxes, most: int) -> Boxes:
    """Greedy non-maximum suppression, as in torchvision: of two boxes with IoU above 0.7 the surer one stays.

    Args:
        candidates: float32 [n, 5 or more]: xyxy and score first, all of one kind.
        most: Most boxes to keep.

    Returns:
        The rows kept, by falling score.
    """
    rest = candidates[np.argsort(-candidates[:, 4], kind="stable")]
    kept: list[Boxes] = []
    while len(rest) and len(kept) < most:
        first, rest = rest[0], rest[1:]
        kept.append(first)
        rest = rest[_iou(first, rest) <= _IOU]
    return np.stack(kept) if kept else candidates[:0]


def ordered(boxes: Boxes) -> Boxes:
    """By falling score; ties by place, so that the order is always the same."""
    order = np.lexsort((*boxes[:, 3::-1].T, -boxes[:, 4]))
    return np.ascontiguousarray(boxes[order])


def _iou(box: Boxes, others: Boxes) -> Boxes:
    """IoU of a box with others; 0 where both are points."""
    lower = np.maximum(box[:2], others[:, :2])
    upper = np.minimum(box[2:4], others[:, 2:4])
    common = (upper - lower).clip(0).prod(1)
    union = (box[2:4] - box[:2]).prod() + (others[:, 2:4] - others[:, :2]).prod(1) - common
    return common / np.maximum(union, np.finfo(np.float32).tiny)  # type: ignore[no-any-return]
