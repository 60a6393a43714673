"""Finding persons, and things near them, with a model of ultralytics."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.backends.choice import load_backend
from stages.detect.backends.letterbox import Letterbox
from stages.detect.config import DetectConfig
from stages.detect.suppress import PERSON, ordered, suppress
from stages.detect.weights import find_weights
from stages.devices import pick_device, set_threads

_GPU_BATCH = 16

# Things of one kind kept in a frame.
_MOST_THINGS = 30


class PersonDetector:
    """A loaded model that finds persons in frames.

    Each forward pass has the same shape for pictures of one size: short batches are filled up. A picture's boxes are
    so the same to the last bit, whatever other pictures it is looked at with.

    Args:
        config: Model, sizes, device, backend.

    Raises:
        ValueError: The weights are missing or not the ones meant, the model knows no class "person", or the backend
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
            filling = [pictures[0]] * (self._batch - len(batch))
            boxes |= dict(zip(batch, self._find(pictures + filling), strict=False))
        return [boxes[position] for position in range(len(images))]

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Positions of images of the same shape, at most a batch of them."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            groups.setdefault(image.shape, []).append(position)
        for group in groups.values():
            for first in range(0, len(group), self._batch):
                yield group[first : first + self._batch]

    def _find(self, images: list[Image]) -> list[tuple[Boxes, Boxes | None]]:
        height, width = images[0].shape[:2]
        letterbox = Letterbox.fit((height, width), self._config.image_size, square=self._backend.square)
        return [self._sort_out(candidates, letterbox) for candidates in self._backend(images, letterbox)]

    def _sort_out(self, candidates: Boxes, letterbox: Letterbox) -> tuple[Boxes, Boxes | None]:
        kinds = candidates[:, 5]
        persons = self._kept(candidates[kinds == PERSON], self._config.max_persons, letterbox)[:, :5]
        if not self._backend.things:
            return np.ascontiguousarray(persons), None
        found = [
            self._kept(candidates[kinds == kind], _MOST_THINGS, letterbox) for kind in np.unique(kinds[kinds > PERSON])
        ]
        things = ordered(np.concatenate([candidates[:0], *found]))
        things[:, 5] -= 1
        return np.ascontiguousarray(persons), things

    def _kept(self, candidates: Boxes, most: int, letterbox: Letterbox) -> Boxes:
        """Candidates of one kind without doubles, in pixels of the picture, by falling score."""
        kept = ordered(candidates)[:most] if self._backend.final else suppress(candidates, most)
        return ordered(np.column_stack((letterbox.undo(kept[:, :4]), kept[:, 4:])).astype(np.float32))
