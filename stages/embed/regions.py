"""Regions of a crop by fixed proportions of an upright person."""

from typing import Final

import numpy as np
import numpy.typing as npt

from stages.embed.config import Region

# Share of the height at which each region starts and ends. Head and trunk overlap a little: a crop is seldom cut so
# tightly that the chin stands where the drawing books put it.
BANDS: Final[dict[Region, tuple[float, float]]] = {
    "whole": (0.0, 1.0),
    "head": (0.0, 0.25),
    "upper": (0.12, 0.55),
    "lower": (0.48, 1.0),
    "feet": (0.85, 1.0),
}


def cut_region(image: npt.NDArray[np.uint8], region: Region) -> npt.NDArray[np.uint8]:
    """Part of a crop.

    Args:
        image: uint8 [H, W, 3].
        region: Name of the part.

    Returns:
        A view uint8 [h, W, 3] with at least one row.
    """
    top, bottom = (round(share * image.shape[0]) for share in BANDS[region])
    top = min(top, image.shape[0] - 1)
    return image[top : max(bottom, top + 1)]
