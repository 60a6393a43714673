"""A pose model of ultralytics: loading it, and reading persons and keypoints from its results."""

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stages.arrays import Image, Keypoints
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.families.ultralytics.named_weights import find_weights
from stages.devices import pick_detector_dtype, pick_device, set_threads

POINTS: Final = 17

_PERSON: Final = 0


class PoseModel:
    """Loaded pose weights. Each forward pass has the same number of images; the last is padded with blank ones.

    Args:
        config: Device, precision, threads, and the model.
        key: ``detect.model`` or ``detect.pose.model``.
        batch: Images in one forward pass; None = 1 on a CPU, ``gpu_batch`` on a GPU.
        gpu_batch: See ``batch``.

    Raises:
        ValueError: The weights are missing, not the intended ones, or not those of a pose model of persons.
    """

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

    def __call__(self, images: Sequence[Image], **options: Any) -> list[Any]:
        """Ultralytics' results for images of one shape."""
        found: list[Any] = []
        for first in range(0, len(images), self._batch):
            batch = list(images[first : first + self._batch])
            filling = [np.zeros_like(batch[0])] * (self._batch - len(batch))
            found += self._predict(batch + filling, options)[: len(batch)]
        return found

    def _predict(self, images: list[Image], options: dict[str, Any]) -> list[Any]:
        import torch

        with torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32):
            results: list[Any] = self._model.predict(
                images, classes=[_PERSON], device=self._device, verbose=False, **options
            )
        return results


def _load_model(path: str, name: str, key: str) -> Any:
    """Load the model without console output, and without installing packages.

    Raises:
        ValueError: Its class 0 is not a person.
    """
    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    from ultralytics.models import YOLO

    model = YOLO(path)
    if model.names.get(_PERSON) != "person":
        raise ValueError(f"{key} {name}: it is a {model.task} model of {model.names}; class 0 must be person")
    return model


def _require_keypoints(model: Any, name: str, key: str) -> None:
    if model.task != "pose":
        raise ValueError(f"{key} {name}: it is a {model.task} model; keypoints need one such as yolo11n-pose.pt")
    shape = list(model.model.kpt_shape)
    if shape != [POINTS, 3]:
        raise ValueError(f"{key} {name}: its keypoints are {shape}; accepted are COCO's, [{POINTS}, 3]")


def arrays(result: Any) -> tuple[Boxes, Keypoints]:
    """Boxes, float32 [n, 5], and keypoints, float32 [n, 17, 3], of one of ultralytics' results."""
    boxes: Boxes = result.boxes.data[:, :5].float().cpu().numpy().astype(np.float32)
    points: Keypoints = result.keypoints.data.float().cpu().numpy().astype(np.float32)
    return boxes, points.reshape(len(boxes), POINTS, 3)
