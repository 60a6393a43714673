"""The family of a recipe's detector. New families are registered here only."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from stages.arrays import Image
from stages.detect.config import DetectConfig
from stages.detect.detector import Detector, Family, Found
from stages.detect.families.ultralytics import family as ultralytics
from stages.detect.families.ultralytics.named_weights import check_named

DEFAULT: Final = "ultralytics"

FAMILIES: dict[str, Family] = {DEFAULT: ultralytics}
"""Families by name. ``detect.model: <name>:<model>`` selects one; without a name, ultralytics."""


class Choice(NamedTuple):
    """A family and its part of the recipe."""

    name: str
    family: Family
    config: DetectConfig
    """The recipe's detect block; ``model`` without the family's name."""


def choose(config: DetectConfig) -> Choice:
    """The family that ``detect.model`` names."""
    name, colon, model = config.model.partition(":")
    if colon and name in FAMILIES:
        return Choice(name, FAMILIES[name], config.model_copy(update={"model": model}))
    return Choice(DEFAULT, FAMILIES[DEFAULT], config)


def check_detector(config: DetectConfig) -> None:
    """Check a recipe's detector before anything runs.

    Raises:
        ValueError: The model or its backend cannot be used, or it gives no keypoints although the recipe requires them.
    """
    name, family, own = choose(config)
    if config.backend not in ("auto", *family.BACKENDS):
        accepted = ", ".join(("auto", *family.BACKENDS))
        raise ValueError(f"detect.backend {config.backend}: {name} models accept {accepted}")
    if config.pose.source == "detector" and not family.KEYPOINTS:
        raise ValueError(f"detect.pose.source detector: {name} models give no keypoints; set it to second_pass or none")
    family.check(own)
    if config.pose.source == "second_pass":
        check_named(config.pose, "detect.pose.model", "models/yolo11n-pose.pt")


def load_detector(config: DetectConfig) -> Detector:
    """Load a recipe's detector, and its second pass if ``detect.pose`` requests one.

    Raises:
        ValueError: The model cannot be loaded.
    """
    _, family, own = choose(config)
    detector = family.load(own)
    return _WithSecondPass(detector, config) if config.pose.source == "second_pass" else detector


class _WithSecondPass:
    """A detector whose persons get their keypoints from a second model."""

    def __init__(self, detector: Detector, config: DetectConfig) -> None:
        from stages.detect.second_pass import SecondPass

        self._detector, self._second_pass = detector, SecondPass(config)

    @property
    def backend(self) -> str:
        return self._detector.backend

    def __call__(self, images: Sequence[Image]) -> list[Found]:
        found = self._detector(images)
        keypoints = self._second_pass(images, [frame.persons for frame in found])
        return [frame._replace(keypoints=points) for frame, points in zip(found, keypoints, strict=True)]
