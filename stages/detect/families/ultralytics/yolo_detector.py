"""Persons, and objects near them, by a detection model of ultralytics."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.detector import Found
from stages.detect.families.ultralytics.backends.letterbox import Letterbox
from stages.detect.families.ultralytics.backends.pick_backend import load_backend
from stages.detect.families.ultralytics.named_weights import find_weights
from stages.detect.suppress import PERSON, ordered, suppress
from stages.devices import pick_device, set_threads

_GPU_BATCH = 16

# Objects of one label kept in a frame.
_MOST_OBJECTS = 30


class YoloDetector:
    """A loaded detection model.

    Incomplete batches are padded, so all forward passes over images of one size have the same shape, and an image's
    boxes are bit-identical whatever other images are passed with it.

    Args:
        config: Model, sizes, device, backend.

    Raises:
        ValueError: The weights are missing or not the intended ones, the model has no class "person", or the backend
            cannot run it.
    """

    def __init__(self, config: DetectConfig) -> None:
        path = find_weights(config)
        device = pick_device(config.device)
        self._config = config
        self._batch = config.batch_size or (1 if device == "cpu" else _GPU_BATCH)
        self._backend = load_backend(path, config, device)
        # Ultralytics sets PyTorch's threads while it loads, so ours are set after it.
        set_threads(config.threads)

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return self._backend.name

    def __call__(self, images: Sequence[Image]) -> list[Found]:
        """Find persons and objects; as ``stages.detect.detector.Detector``."""
        found: dict[int, Found] = {}
        for batch in self._batches(images):
            ours = [images[position] for position in batch]
            filling = [ours[0]] * (self._batch - len(batch))
            found |= dict(zip(batch, self._find(ours + filling), strict=False))
        return [found[position] for position in range(len(images))]

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Positions of images of the same shape, at most a batch of them."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            groups.setdefault(image.shape, []).append(position)
        for group in groups.values():
            for first in range(0, len(group), self._batch):
                yield group[first : first + self._batch]

    def _find(self, images: list[Image]) -> list[Found]:
        height, width = images[0].shape[:2]
        letterbox = Letterbox.fit((height, width), self._config.image_size, square=self._backend.square)
        return [self._sort_out(candidates, letterbox) for candidates in self._backend(images, letterbox)]

    def _sort_out(self, candidates: Boxes, letterbox: Letterbox) -> Found:
        kinds = candidates[:, 5]
        persons = self._kept(candidates[kinds == PERSON], self._config.max_persons, letterbox)[:, :5]
        if not self._backend.knows_objects:
            return Found(np.ascontiguousarray(persons))
        by_label = [
            self._kept(candidates[kinds == kind], _MOST_OBJECTS, letterbox) for kind in np.unique(kinds[kinds > PERSON])
        ]
        objects = ordered(np.concatenate([candidates[:0], *by_label]))
        objects[:, 5] -= 1
        return Found(np.ascontiguousarray(persons), objects)

    def _kept(self, candidates: Boxes, most: int, letterbox: Letterbox) -> Boxes:
        """Candidates of one kind without duplicates, in pixels of the image, by descending score."""
        kept = ordered(candidates)[:most] if self._backend.final else suppress(candidates, most)
        return ordered(np.column_stack((letterbox.undo(kept[:, :4]), kept[:, 4:])).astype(np.float32))
