"""Blurring heads before crops are cut, so that no face is ever stored.

Where keypoints are known, a head is an ellipse around nose, eyes and ears; elsewhere it is the top of the box. Both are
wide on purpose: blurring a collar is better than missing a face. No face detector is used, because it would miss faces
of ten pixels and faces that are turned away.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.arrays import Image, Keypoints, Mask
from stages.boxes import Boxes
from stages.detect.crops import Window
from stages.detect.rules import HEAD

_SHOULDERS = slice(5, 7)

# Lower than for a rule: an uncertain point still shows where the head is.
_SURE: Final = 0.3

# Share of the box's height; half the width of an adult's head is a twentieth of the body height.
_LEAST_RADIUS: Final = 0.07

# The head of a person who fills the box takes an eighth to a sixth of its height, anywhere except at the very sides.
_TOP_SHARE: Final = 0.22
_SIDE_SHARE: Final = 0.1

# Number of colours across and down that are left of a head of any size: too few to recognize a person.
_CELLS: Final = 4


class Head(NamedTuple):
    """Where a head is: an ellipse that fills the area by keypoints, the whole area by proportion."""

    by: Literal["keypoints", "proportion"]
    x1: float
    y1: float
    x2: float
    y2: float


def find_heads(boxes: Boxes, keypoints: Keypoints | None) -> list[Head]:
    """Place the head of each detection.

    Args:
        boxes: float32 [n, 4 or more]: x1, y1, x2, y2 in pixels.
        keypoints: float32 [n, 17, 3]: x, y in pixels and confidence; NaN where no person was found. None = unknown.
    """
    points = [None] * len(boxes) if keypoints is None else list(keypoints)
    return [_by_keypoints(box, found) or _by_proportion(box) for box, found in zip(boxes, points, strict=True)]


def blur_heads(image: Image, heads: Sequence[Head]) -> Image:
    """A copy of a frame in which each head is reduced to 16 colours.

    Args:
        image: uint8 [H, W, 3], BGR.
        heads: As returned by ``find_heads``; parts outside the frame are ignored.
    """
    blurred = image.copy()
    for head in heads:
        _blur(blurred, head)
    return blurred


def _by_keypoints(box: npt.NDArray[np.float32], points: Keypoints | None) -> Head | None:
    """Around the visible points of the head; its size from their spread, the shoulders and the box's height."""
    if points is None or not (points[HEAD, 2] >= _SURE).any():
        return None
    head = points[HEAD][points[HEAD, 2] >= _SURE, :2]
    x, y = (float(value) for value in head.mean(0))
    left, right = points[_SHOULDERS]
    across = np.linalg.norm(left[:2] - right[:2]) if min(left[2], right[2]) >= _SURE else 0.0
    radius = max(0.8 * np.linalg.norm(np.ptp(head, axis=0)), 0.4 * across, _LEAST_RADIUS * (box[3] - box[1]))
    return Head("keypoints", x - float(radius), y - 1.5 * float(radius), x + float(radius), y + 1.5 * float(radius))


def _by_proportion(box: npt.NDArray[np.float32]) -> Head:
    x1, y1, x2, y2 = (float(value) for value in box[:4])
    side = _SIDE_SHARE * (x2 - x1)
    return Head("proportion", x1 + side, y1, x2 - side, y1 + _TOP_SHARE * (y2 - y1))


def _blur(image: Image, head: Head) -> None:
    import cv2

    left, top, right, bottom = window = _window(image, head)
    if left >= right or top >= bottom:
        return
    part = image[top:bottom, left:right]
    cells = cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(cells, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    mask = _ellipse(head, window) if head.by == "keypoints" else np.ones(part.shape[:2], np.bool_)
    part[mask] = smooth[mask]


def _window(image: Image, head: Head) -> Window:
    """Pixels of the frame that the head's area touches."""
    height, width = image.shape[:2]
    left, top = max(int(np.floor(head.x1)), 0), max(int(np.floor(head.y1)), 0)
    right, bottom = min(int(np.ceil(head.x2)), width), min(int(np.ceil(head.y2)), height)
    return left, top, right, bottom


def _ellipse(head: Head, window: Window) -> Mask:
    """Pixels of the window whose centre lies in the ellipse."""
    left, top, right, bottom = window
    across = (2 * np.arange(left, right) + 1 - head.x1 - head.x2) / (head.x2 - head.x1)
    down = (2 * np.arange(top, bottom) + 1 - head.y1 - head.y2) / (head.y2 - head.y1)
    inside: Mask = down[:, None] ** 2 + across[None, :] ** 2 <= 1
    return inside
