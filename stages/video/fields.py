"""Interlaced frames: two fields, a fiftieth of a second apart, woven into one frame."""

import numpy as np

from stages.arrays import Image

# A line that is brighter or darker than both neighbours by this much belongs to another moment; less is noise.
_COMB = 10


def without_combing(image: Image) -> Image:
    """Replace what moved between the fields by the lines of the upper field around it.

    Still parts keep every line. Each frame is processed by itself: the result of a filter over time would depend on
    where decoding began.

    Args:
        image: uint8 [H, W, 3], BGR, not rotated.

    Returns:
        uint8 [H, W, 3].
    """
    import cv2

    upper, lower = image[0::2], image[1::2]
    if not len(lower):
        return image
    above = upper[: len(lower)]
    below = np.concatenate([upper[1:], upper[-1:]])[: len(lower)]
    first, line, second = (
        cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_BGR2GRAY) for part in (above, lower, below)
    )
    same_way = (line.astype(np.int32) - first) * (line.astype(np.int32) - second)
    moved = cv2.dilate((same_way > _COMB**2).astype(np.uint8), np.ones((3, 5), np.uint8)).astype(bool)
    clean = image.copy()
    clean[1::2][moved] = cv2.addWeighted(np.ascontiguousarray(above), 0.5, np.ascontiguousarray(below), 0.5, 0)[moved]
    return clean
