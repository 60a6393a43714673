"""Regions of a crop: from the keypoints of the person, or without them from the proportions of an upright person."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stages.arrays import Image, Keypoints
from stages.embed.config import Region

# Share of the height at which each region starts and ends. Head and trunk overlap a little: crops are seldom so tight
# that the chin is where textbook proportions put it.
BANDS: Final[Mapping[Region, tuple[float, float]]] = {
    "whole": (0.0, 1.0),
    "head": (0.0, 0.25),
    "upper": (0.12, 0.55),
    "lower": (0.48, 1.0),
    "feet": (0.85, 1.0),
}

# Left, top, right and bottom of the cloth in a region, as shares of the crop: the middle of the garment, without arms,
# hands, hem and street. Of the boxes tried on rendered persons, these gave the most correct colour names.
CLOTH: Final[Mapping[Region, tuple[float, float, float, float]]] = {
    "upper": (0.3, 0.25, 0.7, 0.45),
    "lower": (0.3, 0.6, 0.7, 0.75),
}

# COCO's keypoints: left and right of each joint.
_SHOULDERS, _HIPS, _KNEES, _ANKLES = (5, 6), (11, 12), (13, 14), (15, 16)

_LEAST_CONFIDENCE = 0.5

# Regions and pieces of cloth smaller than this share of the crop come from a wrong pose.
_LEAST_HEIGHT, _LEAST_WIDTH = 0.05, 0.2


@dataclass(frozen=True)
class _Joint:
    """Position of a pair of joints in pixels of the crop; one of the two may be hidden."""

    y: float
    left: float
    right: float


def cut_region(image: Image, region: Region, keypoints: Keypoints | None = None) -> Image:
    """Part of a crop, over its full width: sleeves and skirts reach beyond the joints.

    Args:
        image: uint8 [H, W, 3].
        region: Name of the part.
        keypoints: float32 [17, 3], COCO's keypoints: x and y in pixels of the crop, and confidence. None, or joints
            that are hidden or out of order, leave the region to fixed proportions.

    Returns:
        A view uint8 [h, W, 3] with at least one row.
    """
    height = image.shape[0]
    top, bottom = _from_joints(region, keypoints, height) or tuple(share * height for share in BANDS[region])
    first = min(max(round(top), 0), height - 1)
    return image[first : max(min(round(bottom), height), first + 1)]


def cut_cloth(image: Image, region: Region, keypoints: Keypoints | None = None) -> Image:
    """The middle of the garment in a region of ``CLOTH``; arguments as for ``cut_region``.

    Returns:
        A view uint8 [h, w, 3] with at least one pixel.
    """
    height, width = image.shape[:2]
    box = _cloth_of_joints(region, keypoints, height, width)
    left, top, right, bottom = box or tuple(
        share * size for share, size in zip(CLOTH[region], (width, height) * 2, strict=True)
    )
    row, column = min(max(round(top), 0), height - 1), min(max(round(left), 0), width - 1)
    return image[row : max(round(bottom), row + 1), column : max(round(right), column + 1)]


def _from_joints(region: Region, keypoints: Keypoints | None, height: int) -> tuple[float, float] | None:
    """First and last row of a region, with a tenth of the trunk or leg beyond the joints."""
    if keypoints is None or region == "whole":
        return None
    shoulders, hips, ankles = (_joint(keypoints, pair) for pair in (_SHOULDERS, _HIPS, _ANKLES))
    rows: tuple[float, float] | None = None
    if region == "head" and shoulders:
        rows = (0.0, shoulders.y)
    elif region == "upper" and shoulders and hips:
        beyond = (hips.y - shoulders.y) / 10
        rows = (shoulders.y - 2 * beyond, hips.y + beyond)
    elif region in ("lower", "feet") and hips and ankles and ankles.y > hips.y:
        above = hips if region == "lower" else ankles
        rows = (above.y - (ankles.y - hips.y) / 10, height)
    return rows if rows and rows[1] - rows[0] >= _LEAST_HEIGHT * height else None


def _cloth_of_joints(
    region: Region, keypoints: Keypoints | None, height: int, width: int
) -> tuple[float, float, float, float] | None:
    if keypoints is None:
        return None
    pairs = (_SHOULDERS, _HIPS) if region == "upper" else (_HIPS, _KNEES)
    above, below = (_joint(keypoints, pair) for pair in pairs)
    if not above or not below or below.y - above.y < _LEAST_HEIGHT * height:
        return None
    # In side view the two shoulders coincide, but the trunk is still at least a fifth of the crop wide.
    left, right = min(above.left, below.left), max(above.right, below.right)
    middle, half = (left + right) / 2, max((right - left) * 0.3, width * _LEAST_WIDTH / 2)
    down = below.y - above.y
    return middle - half, above.y + 0.2 * down, middle + half, above.y + 0.8 * down


def _joint(keypoints: Keypoints, pair: tuple[int, int]) -> _Joint | None:
    seen = keypoints[list(pair)]
    seen = seen[seen[:, 2] >= _LEAST_CONFIDENCE]
    if not len(seen):
        return None
    return _Joint(float(seen[:, 1].mean()), float(seen[:, 0].min()), float(seen[:, 0].max()))
