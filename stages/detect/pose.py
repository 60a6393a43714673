"""Keypoints of persons by a pose model of ultralytics: from whole frames, or in a second pass over detections."""

import math
import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stages.arrays import Image, Keypoints
from stages.boxes import Boxes, by_falling_score, iou
from stages.detect.config import DetectConfig
from stages.detect.crops import crop_window
from stages.detect.rules import failed_rules
from stages.detect.weights import find_weights
from stages.devices import pick_detector_dtype, pick_device, set_threads

POINTS: Final = 17

_GPU_FRAMES: Final = 16
_GPU_PERSONS: Final = 32
_PERSON: Final = 0

# Room around a person, which the model saw in training: on the demo's clip it finds more points with it.
_MARGIN: Final = 0.1

# A picture holds its neighbours too; what overlaps the detection less is one of them.
_SAME_PERSON: Final = 0.3
_LEAST_CONFIDENCE: Final = 0.1
_NEIGHBOURS: Final = 20

_GREY: Final = 114


class PoseDetector:
    """A loaded pose model as the detector: persons and their keypoints from whole frames.

    Args:
        config: ``pose.source`` is ``detector``; ``model`` is a pose model.

    Raises:
        ValueError: The weights are missing or not the ones meant, or are no pose model of persons.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._model = _PoseModel(config, "detect.model", config.batch_size, _GPU_FRAMES)
        self._options = {
            "imgsz": config.image_size,
            "conf": config.confidence_floor,
            "max_det": config.max_persons,
        }

    def __call__(self, images: Sequence[Image]) -> list[tuple[Boxes, Keypoints]]:
        """Find persons with their keypoints.

        Args:
            images: uint8 [H, W, 3] each, BGR; sizes may differ.

        Returns:
            For each image float32 [n, 5], as ``PersonDetector`` gives them, and float32 [n, 17, 3]: x, y in pixels
            of the image and confidence, in COCO's order.
        """
        found: dict[int, tuple[Boxes, Keypoints]] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            # Ultralytics pads pictures of mixed sizes, which would move boxes with the company.
            alike = [position for position, image in enumerate(images) if image.shape == shape]
            results = self._model([images[position] for position in alike], **self._options)
            found |= dict(zip(alike, map(_inside, results), strict=True))
        return [found[position] for position in range(len(images))]


class SecondPass:
    """A loaded pose model that looks at detections one by one.

    Each is enlarged or reduced into a picture of one size, so that the points are the same to the last bit whatever
    else is looked at with them.

    Args:
        config: ``pose.source`` is ``second_pass``.

    Raises:
        ValueError: The weights are missing or not the ones meant, or are no pose model of persons.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._rules = config.rules
        # A multiple of 32 each, two thirds as wide as high: between an upright person's shape and a striding one's.
        self._height, self._width = config.pose.image_height, math.ceil(config.pose.image_height / 48) * 32
        self._model = _PoseModel(config, "detect.pose.model", config.pose.batch_size, _GPU_PERSONS)

    def __call__(self, images: Sequence[Image], boxes: Sequence[Boxes]) -> list[Keypoints]:
        """Find the keypoints of the detections that pass the rules on boxes.

        Args:
            images: uint8 [H, W, 3] each, BGR.
            boxes: Detections of each: float32 [n, 5] as ``PersonDetector`` gives them.

        Returns:
            For each image float32 [n, 17, 3]: x, y in its pixels and confidence, in COCO's order; NaN for those that
            were not looked at, and where nobody was found.
        """
        found = [np.full((len(ours), POINTS, 3), np.nan, np.float32) for ours in boxes]
        places = [
            (frame, row)
            for frame, ours in enumerate(boxes)
            for row, reasons in enumerate(failed_rules(ours, self._rules))
            if not reasons
        ]
        views = [_View(images[frame], boxes[frame][row], self._width, self._height) for frame, row in places]
        pictures = [view.picture for view in views]
        results = self._model(pictures, imgsz=[self._height, self._width], conf=_LEAST_CONFIDENCE, max_det=_NEIGHBOURS)
        for (frame, row), view, result in zip(places, views, results, strict=True):
            found[frame][row] = view.keypoints(result)
        return found


class _PoseModel:
    """Pose weights of ultralytics; each forward pass has as many pictures as any other, blank ones to fill it up."""

    def __init__(self, config: DetectConfig, key: str, batch: int | None, gpu_batch: int) -> None:
        weights = config if key == "detect.model" else config.pose
        self._device = pick_device(config.device)
        self._dtype = pick_detector_dtype(config.precision, self._device)
        self._batch = batch or (1 if self._device == "cpu" else gpu_batch)
        self._model = _load_model(str(find_weights(weights, key)), weights.model, key)
        _require_keypoints(self._model, weights.model, key)
        self([np.zeros((64, 64, 3), np.uint8)], imgsz=64)
        # Ultralytics sets the threads when it sets up its predictor, so ours are set after the first prediction.
        set_threads(config.threads)

    def __call__(self, pictures: Sequence[Image], **options: Any) -> list[Any]:
        """Ultralytics' results for pictures of one shape."""
        found: list[Any] = []
        for first in range(0, len(pictures), self._batch):
            batch = list(pictures[first : first + self._batch])
            filling = [np.zeros_like(batch[0])] * (self._batch - len(batch))
            found += self._predict(batch + filling, options)[: len(batch)]
        return found

    def _predict(self, pictures: list[Image], options: dict[str, Any]) -> list[Any]:
        import torch

        with torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32):
            results: list[Any] = self._model.predict(
                pictures, classes=[_PERSON], device=self._device, verbose=False, **options
            )
        return results


class _View:
    """A detection with some room around it, drawn into a picture of fixed size, and the way back to the frame."""

    def __init__(self, image: Image, box: npt.NDArray[np.float32], width: int, height: int) -> None:
        import cv2

        left, top, right, bottom = crop_window(image, box, _MARGIN)
        self._box, self._origin = box, np.array([left, top], np.float32)
        self._scale = min(width / max(right - left, 1), height / max(bottom - top, 1))
        self.picture = np.full((height, width, 3), _GREY, np.uint8)
        if right > left and bottom > top:
            size = max(round(self._scale * (right - left)), 1), max(round(self._scale * (bottom - top)), 1)
            part = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
            self.picture[: size[1], : size[0]] = part

    def keypoints(self, result: Any) -> Keypoints:
        """Points, in pixels of the frame, of the person found whose box is most like the detection's."""
        boxes, points = _arrays(result)
        likeness = iou(self._box, self._back(boxes[:, :4].reshape(-1, 2, 2)).reshape(-1, 4))
        if not len(likeness) or likeness.max() < _SAME_PERSON:
            return np.full((POINTS, 3), np.nan, np.float32)
        best = points[likeness.argmax()]
        return np.concatenate([self._back(best[:, :2]), best[:, 2:]], 1)

    def _back(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        moved: npt.NDArray[np.float32] = (points / self._scale + self._origin).astype(np.float32)
        return moved


def _load_model(path: str, name: str, key: str) -> Any:
    """The model; quiet, and without installing anything.

    Raises:
        ValueError: Its class 0 is not a person.
    """
    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    from ultralytics import YOLO

    model = YOLO(path)
    if model.names.get(_PERSON) != "person":
        raise ValueError(f"{key} {name}: it is a {model.task} model of {model.names}; class 0 must be person")
    return model


def _require_keypoints(model: Any, name: str, key: str) -> None:
    if model.task != "pose":
        raise ValueError(f"{key} {name}: it is a {model.task} model; keypoints want one such as yolo11n-pose.pt")
    shape = list(model.model.kpt_shape)
    if shape != [POINTS, 3]:
        raise ValueError(f"{key} {name}: its keypoints are {shape}; COCO's are meant, which are [{POINTS}, 3]")


def _arrays(result: Any) -> tuple[Boxes, Keypoints]:
    """Boxes, float32 [n, 5], and keypoints, float32 [n, 17, 3], of one of ultralytics' results."""
    boxes: Boxes = result.boxes.data[:, :5].float().cpu().numpy().astype(np.float32)
    points: Keypoints = result.keypoints.data.float().cpu().numpy().astype(np.float32)
    return boxes, points.reshape(len(boxes), POINTS, 3)


def _inside(result: Any) -> tuple[Boxes, Keypoints]:
    """Boxes inside the picture, by falling confidence, ties by place; and the keypoints in the same order."""
    boxes, points = _arrays(result)
    height, width = result.orig_shape
    boxes[:, :4] = boxes[:, :4].clip(0, [width, height, width, height])
    order = by_falling_score(boxes)
    return boxes[order], points[order]
