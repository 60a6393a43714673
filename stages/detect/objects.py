"""Objects near a person that the detector found, kept as evidence for captions."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stages.boxes import Boxes, area, common_area

Row = dict[str, Any]

LABELS: Final = (
    "backpack",
    "handbag",
    "suitcase",
    "umbrella",
    "cell phone",
    "bicycle",
    "motorcycle",
    "skateboard",
    "dog",
)
"""COCO's names of objects that captions may mention, or that belong to a person."""

# How far outside the person's box an object may lie, as shares of the box's width and height: an arm's length at the
# sides, an umbrella above, a wheel below.
_BESIDE, _ABOVE, _BELOW = 0.5, 0.25, 0.1


def object_classes(names: Mapping[int, str]) -> dict[int, int]:
    """Position among ``LABELS`` of each class of a model that is named there."""
    return {number: LABELS.index(name) for number, name in names.items() if name in LABELS}


def objects_near(person: Boxes, objects: Boxes) -> list[Row]:
    """Objects near one person.

    Args:
        person: float32 [4 or more]: x1, y1, x2, y2 in pixels of the frame.
        objects: float32 [m, 6]: x1, y1, x2, y2, confidence, position in ``LABELS``.

    Returns:
        Rows of ``schemas.tables.OBJECT``, by descending confidence; ``overlap`` is the share of the object's box that
        lies in the person's.
    """
    left, top, right, bottom = (float(edge) for edge in person[:4])
    beside, above, below = (right - left) * _BESIDE, (bottom - top) * _ABOVE, (bottom - top) * _BELOW
    around = np.array([left - beside, top - above, right + beside, bottom + below], np.float32)
    near = objects[common_area(around, objects) > 0]
    overlaps = common_area(person, near) / np.maximum(area(near), 1e-6)
    order = np.argsort(-near[:, 4], kind="stable")
    return [_row(near[at], overlaps[at]) for at in order]


def _row(found: Boxes, overlap: np.float32) -> Row:
    edges = dict(zip(("x1", "y1", "x2", "y2"), map(float, found[:4]), strict=True))
    return {"label": LABELS[int(found[5])], "confidence": float(found[4]), **edges, "overlap": float(overlap)}
