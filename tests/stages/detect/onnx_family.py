"""A second family of detectors: any ONNX file with one uint8 [B, H, W, 3] input and one [B, N, 6] output."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.detector import Detector, Found
from stages.detect.suppress import PERSON, ordered, suppress

BACKENDS: tuple[str, ...] = ("onnx",)
KEYPOINTS: bool = False


def backend(config: DetectConfig, device: str) -> str:
    return "onnx"


def weights(config: DetectConfig) -> str:
    return config.model


def check(config: DetectConfig) -> None:
    if not Path(config.model).is_file():
        raise ValueError(f"detect.model onnx:{config.model}: no such file; give an ONNX file")


def load(config: DetectConfig) -> Detector:
    return _OnnxDetector(config)


class _OnnxDetector:
    backend = "onnx"

    def __init__(self, config: DetectConfig) -> None:
        import onnxruntime

        self._config = config
        self._session = onnxruntime.InferenceSession(config.model, providers=["CPUExecutionProvider"])

    def __call__(self, images: Sequence[Image]) -> list[Found]:
        return [Found(self._persons(image)) for image in images]

    def _persons(self, image: Image) -> Boxes:
        """Without a letterbox: every image is squashed to a square."""
        size = self._config.image_size
        (candidates,) = self._session.run(None, {"canvases": cv2.resize(image, (size, size))[None]})
        found = candidates[0][(candidates[0][:, 5] == PERSON) & (candidates[0][:, 4] > self._config.confidence_floor)]
        height, width = image.shape[:2]
        found[:, :4] *= np.array([width, height] * 2, np.float32) / size
        found[:, :4] = found[:, :4].clip(0, [width, height, width, height])
        return ordered(suppress(found[:, :5], self._config.max_persons))
