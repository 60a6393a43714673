"""Finding persons with a model of ultralytics."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.detect.config import DetectConfig
from stages.detect.crops import Image
from stages.detect.objects import object_classes
from stages.detect.weights import find_weights
from stages.devices import pick_device, pick_dtype, set_threads

Boxes = npt.NDArray[np.float32]

_PERSON = 0  # COCO's first class
_GPU_BATCH = 16

# Room for things among the boxes of a frame, beside the persons that the recipe allows.
_MOST_OBJECTS = 100


class PersonDetector:
    """A loaded model that finds persons in frames.

    Each forward pass has the same shape for pictures of one size: short batches are filled up. A picture's boxes are
    so the same to the last bit, whatever other pictures it is looked at with.

    Args:
        config: Model, sizes, device.

    Raises:
        ValueError: The weights are missing or not the ones meant, or the model knows no class "person".
    """

    def __init__(self, config: DetectConfig) -> None:
        path = find_weights(config)
        self._config = config
        self._device = pick_device(config.device)
        # At 640 pixels bf16 moves boxes by up to a pixel and scores by 0.02, fp16 by a tenth of that, at equal speed.
        fast = "fp16" if config.precision == "auto" and self._device != "cpu" else config.precision
        self._dtype = pick_dtype(fast, self._device)
        self._batch = config.batch_size or (1 if self._device == "cpu" else _GPU_BATCH)
        self._model = load_model(str(path), config.model)
        self._objects = object_classes(self._model.names)
        self._predict([np.zeros((64, 64, 3), np.uint8)])
        # Ultralytics sets the threads when it sets up its predictor, so ours are set after the first prediction.
        set_threads(config.threads)

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Find persons.

        Args:
            images: uint8 [H, W, 3] each, BGR; sizes may differ.

        Returns:
            For each image float32 [n, 5]: x1, y1, x2, y2 in its pixels, inside the image, and the confidence; by
            falling confidence.
        """
        return [persons for persons, _ in self.look(images)]

    def look(self, images: Sequence[Image]) -> list[tuple[Boxes, Boxes | None]]:
        """Find persons, and the things of ``stages.detect.objects.LABELS``.

        Args:
            images: As for a call.

        Returns:
            For each image the persons as a call gives them, and the things: float32 [m, 6] with the position among
            the labels as the last number. None in place of the things where the model knows none of them.
        """
        boxes: dict[int, tuple[Boxes, Boxes | None]] = {}
        for batch in self._batches(images):
            pictures = [images[position] for position in batch]
            filling = [np.zeros_like(pictures[0])] * (self._batch - len(batch))
            found = self._predict(pictures + filling)
            boxes |= {position: self._sort_out(result) for position, result in zip(batch, found, strict=False)}
        return [boxes[position] for position in range(len(images))]

    def _sort_out(self, result: Any) -> tuple[Boxes, Boxes | None]:
        boxes = _boxes(result)
        persons = np.ascontiguousarray(boxes[boxes[:, 5] == _PERSON][: self._config.max_persons, :5])
        if not self._objects:
            return persons, None
        things = boxes[np.isin(boxes[:, 5], list(self._objects))]
        things[:, 5] = [self._objects[int(number)] for number in things[:, 5]]
        return persons, things

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Positions of images of the same shape, at most a batch of them: ultralytics pads a mixed batch otherwise."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            groups.setdefault(image.shape, []).append(position)
        for group in groups.values():
            for first in range(0, len(group), self._batch):
                yield group[first : first + self._batch]

    def _predict(self, images: list[Image]) -> list[Any]:
        import torch

        config = self._config
        with torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32):
            results: list[Any] = self._model.predict(
                images,
                imgsz=config.image_size,
                conf=config.confidence_floor,
                classes=[_PERSON, *self._objects],
                max_det=config.max_persons + (_MOST_OBJECTS if self._objects else 0),
                device=self._device,
                verbose=False,
            )
        return results


def load_model(path: str, name: str, key: str = "detect.model") -> Any:
    """The model; quiet, and without installing anything.

    Raises:
        ValueError: Its class 0 is not a person.
    """
    os.environ.setdefault("YOLO_VERBOSE", "False")
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    from ultralytics import YOLO

    model = YOLO(path)
    if model.task not in ("detect", "pose", "segment") or model.names.get(_PERSON) != "person":
        raise ValueError(f"{key} {name}: it is a {model.task} model of {model.names}; class 0 must be person")
    return model


def _boxes(result: Any) -> Boxes:
    """Boxes of one image, inside it, by falling confidence; ties by place, so that the order is always the same.

    Returns:
        float32 [n, 6], the last number the class.
    """
    boxes: Boxes = result.boxes.data[:, :6].float().cpu().numpy().astype(np.float32)
    height, width = result.orig_shape
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
    order = np.lexsort((*boxes[:, 3::-1].T, -boxes[:, 4]))
    return np.ascontiguousarray(boxes[order])
