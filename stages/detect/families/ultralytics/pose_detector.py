"""Persons and their keypoints by a pose model of ultralytics that sees whole frames."""

from collections.abc import Sequence
from typing import Any, Final

from stages.arrays import Image
from stages.boxes import by_falling_score
from stages.detect.config import DetectConfig
from stages.detect.detector import Found
from stages.detect.families.ultralytics.pose_model import PoseModel, arrays

_GPU_FRAMES: Final = 16


class PoseDetector:
    """A loaded pose model as the detector: persons and their keypoints from whole frames.

    Args:
        config: ``pose.source`` is ``detector``; ``model`` is a pose model.

    Raises:
        ValueError: The weights are missing or not the intended ones, or are not those of a pose model of persons.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._model = PoseModel(config, "detect.model", config.batch_size, _GPU_FRAMES)
        self._options = {
            "imgsz": config.image_size,
            "conf": config.confidence_floor,
            "max_det": config.max_persons,
        }

    @property
    def backend(self) -> str:
        """PyTorch: pose models are not exported."""
        return "torch"

    def __call__(self, images: Sequence[Image]) -> list[Found]:
        """Find persons with their keypoints; as ``stages.detect.detector.Detector``."""
        found: dict[int, Found] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            # Ultralytics pads images of mixed sizes, so a box would depend on the images beside it.
            alike = [position for position, image in enumerate(images) if image.shape == shape]
            results = self._model([images[position] for position in alike], **self._options)
            found |= dict(zip(alike, map(_inside, results), strict=True))
        return [found[position] for position in range(len(images))]


def _inside(result: Any) -> Found:
    """Persons inside the image, by descending confidence, ties by position; and their keypoints in the same order."""
    boxes, points = arrays(result)
    height, width = result.orig_shape
    boxes[:, :4] = boxes[:, :4].clip(0, [width, height, width, height])
    order = by_falling_score(boxes)
    return Found(boxes[order], keypoints=points[order])
