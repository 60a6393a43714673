"""The second pass: keypoints of detected persons by a pose model that sees each of them alone."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stages.arrays import Floats, Image, Keypoints
from stages.boxes import Boxes, iou
from stages.detect.config import DetectConfig
from stages.detect.crops import crop_window
from stages.detect.families.ultralytics.pose_model import POINTS, PoseModel, arrays
from stages.detect.rules import failed_rules

_GPU_PERSONS: Final = 32

# Margin around a person, as in the model's training images: on the demo's clip it finds more points with it.
_MARGIN: Final = 0.1

# The enlarged image also shows neighbours: a person found there with a lower IoU is taken for one of them.
_SAME_PERSON: Final = 0.3
_LEAST_CONFIDENCE: Final = 0.1
_NEIGHBOURS: Final = 20

_GREY: Final = 114


class SecondPass:
    """A loaded pose model that sees detections one by one.

    Each is resized to an image of the same size, so its points are bit-identical whatever other detections are
    passed with it.

    Args:
        config: ``pose.source`` is ``second_pass``.

    Raises:
        ValueError: The weights are missing or not the intended ones, or not those of a pose model of persons.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._rules = config.rules
        # A multiple of 32 each, two thirds as wide as high: between an upright person's shape and a striding one's.
        self._height, self._width = config.pose.image_height, math.ceil(config.pose.image_height / 48) * 32
        self._model = PoseModel(config, "detect.pose.model", config.pose.batch_size, _GPU_PERSONS)

    def __call__(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Keypoints]:
        """Find the keypoints of the detections that pass the rules on boxes.

        Args:
            images: uint8 [H, W, 3] each, BGR.
            boxes: Detections of each: float32 [n, 5] as in ``Found.persons``.

        Returns:
            For each image float32 [n, 17, 3]: x, y in its pixels and confidence, in COCO's order; NaN for those that
            fail a rule, and where no person was found.
        """
        found = [np.full((len(ours), POINTS, 3), np.nan, np.float32) for ours in boxes]
        places = [
            (frame, row)
            for frame, ours in enumerate(boxes)
            for row, reasons in enumerate(failed_rules(ours, self._rules))
            if not reasons
        ]
        views = [_View(images[frame], boxes[frame][row], self._width, self._height) for frame, row in places]
        shown = [view.image for view in views]
        results = self._model(shown, imgsz=[self._height, self._width], conf=_LEAST_CONFIDENCE, max_det=_NEIGHBOURS)
        for (frame, row), view, result in zip(places, views, results, strict=True):
            found[frame][row] = view.keypoints(result)
        return found


class _View:
    """A detection with some room around it, resized into an image of fixed size; and the way back to the frame."""

    def __init__(self, image: Image, box: Floats, width: int, height: int) -> None:
        import cv2

        left, top, right, bottom = crop_window(image, box, _MARGIN)
        self._box, self._origin = box, np.array([left, top], np.float32)
        self._scale = min(width / max(right - left, 1), height / max(bottom - top, 1))
        self.image = np.full((height, width, 3), _GREY, np.uint8)
        if right > left and bottom > top:
            size = max(round(self._scale * (right - left)), 1), max(round(self._scale * (bottom - top)), 1)
            part = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
            self.image[: size[1], : size[0]] = part

    def keypoints(self, result: Any) -> Keypoints:
        """Points, in pixels of the frame, of the person whose box is most similar to the detection's."""
        boxes, points = arrays(result)
        likeness = iou(self._box, self._back(boxes[:, :4].reshape(-1, 2, 2)).reshape(-1, 4))
        if not len(likeness) or likeness.max() < _SAME_PERSON:
            return np.full((POINTS, 3), np.nan, np.float32)
        best = points[likeness.argmax()]
        return np.concatenate([self._back(best[:, :2]), best[:, 2:]], 1)

    def _back(self, points: Floats) -> Floats:
        moved: Floats = (points / self._scale + self._origin).astype(np.float32)
        return moved
