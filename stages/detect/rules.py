"""The rules that a detection must pass to be cropped."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stages.arrays import Keypoints
from stages.boxes import Boxes
from stages.detect.config import RulesConfig
from stages.detect.quality import FrameQuality

Fails = npt.NDArray[np.bool_]

RULES = (
    "low_confidence",
    "narrow",
    "short",
    "aspect_low",
    "aspect_high",
    "truncated",
    "overlapped",
    "blurred",
    "dark",
    "bright",
    "low_contrast",
    "colourless",
    "head_hidden",
    "upper_body_hidden",
    "hips_hidden",
    "legs_hidden",
    "few_keypoints",
)
"""Names of the rules, in the order that decides which failure is reported as the first."""

# COCO's 17: nose, eyes, ears; shoulders, elbows, wrists; hips; knees, ankles.
HEAD, UPPER, HIPS, LEGS = slice(0, 5), slice(5, 11), slice(11, 13), slice(13, 17)


def failed_rules(
    boxes: Boxes, rules: RulesConfig, quality: FrameQuality | None = None, keypoints: Keypoints | None = None
) -> list[list[str]]:
    """Names of the rules that each detection fails.

    LUPerson keeps confidence above 0.72, width above 48 pixels, and height / width from 1.5 to 5, both included.

    Args:
        boxes: float32 [n, 5]: x1, y1, x2, y2 in pixels, confidence.
        rules: Thresholds.
        quality: Measures of the same detections; None = rules on them are not applied.
        keypoints: float32 [n, 17, 3]: x, y, confidence; NaN where no person was found, which fails every rule that
            requires a point. None = rules on keypoints are not applied.

    Returns:
        One list per detection, in the order of ``RULES``; empty for those that pass.
    """
    fails = dict(_box_rules(boxes, rules))
    if quality is not None:
        fails |= dict(_quality_rules(quality, rules))
    if keypoints is not None:
        fails |= dict(_keypoint_rules(keypoints, rules))
    return [[name for name in RULES if name in fails and fails[name][row]] for row in range(len(boxes))]


def _box_rules(boxes: Boxes, rules: RulesConfig) -> Iterator[tuple[str, Fails]]:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    yield "low_confidence", boxes[:, 4] <= rules.min_confidence
    yield "narrow", width <= rules.min_width
    if rules.min_height is not None:
        yield "short", height <= rules.min_height
    # A product in place of the quotient: a box of no width is narrow, not a division by zero.
    yield "aspect_low", height < rules.min_aspect * width
    yield "aspect_high", height > rules.max_aspect * width


def _quality_rules(quality: FrameQuality, rules: RulesConfig) -> Iterator[tuple[str, Fails]]:
    if rules.max_truncation is not None:
        yield "truncated", quality.truncation > rules.max_truncation
    if rules.max_overlap is not None:
        yield "overlapped", quality.overlap > rules.max_overlap
    for name, measure, least in (
        ("blurred", "sharpness", rules.min_sharpness),
        ("dark", "brightness", rules.min_brightness),
        ("low_contrast", "contrast", rules.min_contrast),
        ("colourless", "colourfulness", rules.min_colourfulness),
    ):
        if least is not None:
            yield name, _pixels(quality, measure) < least
    if rules.max_brightness is not None:
        yield "bright", _pixels(quality, "brightness") > rules.max_brightness


def _pixels(quality: FrameQuality, measure: str) -> npt.NDArray[np.float64]:
    """A measure of each detection; NaN, which fails no rule, if the box holds no pixel."""
    return np.array([getattr(pixels, measure, np.nan) for pixels in quality.pixels], np.float64)


def _keypoint_rules(keypoints: Keypoints, rules: RulesConfig) -> Iterator[tuple[str, Fails]]:
    visible = keypoints[:, :, 2] >= rules.keypoint_confidence
    for name, points, least in (
        ("head_hidden", HEAD, rules.min_head_points),
        ("upper_body_hidden", UPPER, rules.min_upper_points),
        ("hips_hidden", HIPS, rules.min_hip_points),
        ("legs_hidden", LEGS, rules.min_leg_points),
        ("few_keypoints", slice(None), rules.min_points),
    ):
        yield name, visible[:, points].sum(1) < least
