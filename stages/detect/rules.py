"""The rules that a detection must pass to be cut out."""

import numpy as np
import numpy.typing as npt

from stages.detect.config import RulesConfig

RULES = ("low_confidence", "narrow", "aspect_low", "aspect_high")
"""Names of the rules, in the order in which the first failure is told."""


def failed_rules(boxes: npt.NDArray[np.float32], rules: RulesConfig) -> list[list[str]]:
    """Names of the rules that each detection fails.

    LUPerson keeps confidence above 0.72, width above 48 pixels, and height / width from 1.5 to 5, both included.

    Args:
        boxes: float32 [n, 5]: x1, y1, x2, y2 in pixels, confidence.
        rules: Thresholds.

    Returns:
        One list per detection, in the order of ``RULES``; empty for those that pass.
    """
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    # A product in place of the quotient: a box of no width is narrow, not a division by zero.
    fails = {
        "low_confidence": boxes[:, 4] <= rules.min_confidence,
        "narrow": width <= rules.min_width,
        "aspect_low": height < rules.min_aspect * width,
        "aspect_high": height > rules.max_aspect * width,
    }
    return [[name for name in RULES if fails[name][row]] for row in range(len(boxes))]
