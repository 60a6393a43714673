"""The interface between detectors and the rest of the stage, implemented by every family of models."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from stages.arrays import Image, Keypoints
from stages.boxes import Boxes
from stages.detect.config import DetectConfig


class Found(NamedTuple):
    """What a detector found in one frame, in pixels of the frame."""

    persons: Boxes
    """float32 [n, 5]: x1, y1, x2, y2, inside the frame, and the confidence; by descending confidence."""
    objects: Boxes | None = None
    """float32 [m, 6]: as for persons, then the position in ``stages.detect.objects.LABELS``; None = the model knows
    none of these labels."""
    keypoints: Keypoints | None = None
    """float32 [n, 17, 3], one row per person; None = the model gives no keypoints."""


class Detector(Protocol):
    """A loaded model.

    What it finds in an image must not depend on the other images of the call, so that chunks of any length give the
    same rows.
    """

    @property
    def backend(self) -> str:
        """Name of the library that runs the model."""

    def __call__(self, images: Sequence[Image]) -> list[Found]:
        """Find persons, and objects if the model knows any.

        Args:
            images: uint8 [H, W, 3] each, BGR; sizes may differ; read-only.

        Returns:
            One ``Found`` per image, in their order.
        """


class Family(Protocol):
    """Models of one kind; a module implements it (``stages.detect.families``).

    The functions get a configuration whose ``model`` no longer has the family's prefix. Only ``load`` may import
    libraries that are slow to import.
    """

    BACKENDS: tuple[str, ...]
    """Accepted values of ``detect.backend``, besides ``auto``."""
    KEYPOINTS: bool
    """Whether its models can give keypoints (``detect.pose.source: detector``)."""

    def backend(self, config: DetectConfig, device: str) -> str:
        """Name of the backend that ``load`` would use on a device, "cpu" or "cuda"."""

    def weights(self, config: DetectConfig) -> str:
        """File, folder or name whose content decides what the model finds; part of the stage's fingerprint."""

    def check(self, config: DetectConfig) -> None:
        """Check what can be checked before a run, without loading the model.

        Raises:
            ValueError: The model cannot be used; the message states the reason and a remedy.
        """

    def load(self, config: DetectConfig) -> Detector:
        """Load the model.

        Raises:
            ValueError: As ``check``; or the weights are not those of a person detector.
        """
