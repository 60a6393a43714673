"""Stripes, checks and prints on cloth."""

from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.render import textures
from evaluation.render.palette import Colour
from evaluation.render.textures import Picture

_TURNS = {"striped": (0.0, 0.0, pi / 2), "plaid": (0.0, 0.0, pi / 4), "patterned": (0.0, 0.6, 1.2)}
"""Orientations of patterns on the body, radians; stripes run across it twice as often as along it."""

_PERIOD = (0.034, 0.07)
"""Range of the period of a pattern, body heights."""


def lay_pattern(
    picture: Picture, mask: NDArray[np.uint8], kind: str, colour: Colour, scale: float, rng: np.random.Generator
) -> None:
    """Lay a pattern in a second colour over a garment.

    Args:
        picture: RGB uint8 (h, w, 3), changed in place.
        mask: Where the garment is seen, 0 or 255, uint8 (h, w).
        kind: striped, plaid or patterned.
        colour: The second colour.
        scale: Pixels per body height.
        rng: Source of chance.
    """
    height, width = mask.shape
    turn, zoom = _TURNS[kind][int(rng.random() * 3)], 32 / (rng.uniform(*_PERIOD) * scale)
    shift = rng.uniform(0, 9, 2).tolist()
    warp = np.array([[cos(turn) * zoom, -sin(turn) * zoom, shift[0]], [sin(turn) * zoom, cos(turn) * zoom, shift[1]]])
    share = cv2.warpAffine(
        textures.pattern(kind, int(rng.random() * textures.PATTERN_COUNT)),
        warp,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    weight = cv2.merge([cv2.bitwise_and(share, mask)] * 3)
    second = cv2.multiply(weight, np.array([*colour, 0.0]), scale=1 / 255)
    picture[:] = cv2.add(cv2.multiply(picture, cv2.bitwise_not(weight), scale=1 / 255), second)
