"""Colour names of clothing, from its pixels: evidence that is independent of CLIP.

Every pixel of the cloth gets the name of the nearest of a few dozen prototypes in CIELAB (D65), by the colour
difference CIE94 with the constants of textiles (kL = 2, K1 = 0.048, K2 = 0.014). The name with the largest share of the
pixels is the colour. The names are the twelve of the phrase banks.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stages.arrays import Floats

Pixels = npt.NDArray[np.uint8]

NAMES: Final = (
    "black",
    "white",
    "gray",
    "brown",
    "blue",
    "pink",
    "yellow",
    "red",
    "khaki",
    "purple",
    "green",
    "orange",
)

# Shades of cloth in sunlight and in shade, sRGB. A camera brightens black and darkens white; denim is greyer than any
# blue of a colour chart.
_PROTOTYPES: Final = {
    "black": ("0c0c0c", "1c1c20", "2a2a2c", "241f1e", "1f232c"),
    "white": ("f8f8f8", "e4e4e4", "ccced2", "e6e2d8"),
    "gray": ("4c4c4c", "686868", "888888", "a8a8a8", "6c747c"),
    "brown": ("38241a", "4b3020", "6b4423", "85603f", "54423a"),
    "blue": ("14204c", "1c2c58", "3c4660", "2c4a7c", "4a6a96", "1f4fb4", "3f7fd0", "8fb4dc", "6080a8"),
    "pink": ("f4b6c8", "e87aa4", "d8487c", "e0a0a8"),
    "yellow": ("f0d830", "dcbc38", "f4e070"),
    "red": ("c01c1c", "8c1820", "e03030", "a83a40", "5c1a20"),
    "khaki": ("c0a878", "a89870", "8c8058", "d4c4a0"),
    "purple": ("5a2a7c", "8048a8", "a880c8", "482a54"),
    "green": ("1c5c30", "3c8c40", "70b050", "4c5a30", "2a4434"),
    "orange": ("f07818", "e89030", "d8601c"),
}

# Side of the grid that a piece of cloth is averaged to: small enough to smooth out the colour noise of JPEG.
GRID = 16

# Colours are looked up in a table of 32 steps per channel.
_STEP = 8


@dataclass(frozen=True)
class ColourNames:
    """Colours of N pieces of cloth.

    Args:
        name: int64 [N], index into ``NAMES``.
        share: float32 [N], share of the pixels with this name.
        margin: float32 [N], the share minus that of the next name.
    """

    name: npt.NDArray[np.int64]
    share: Floats
    margin: Floats


def name_colours(cloths: Sequence[Pixels]) -> ColourNames:
    """Name the colour of pieces of cloth.

    Args:
        cloths: RGB uint8 arrays [h, w, 3] of any sizes, each with at least one pixel.
    """
    import cv2

    grids = [cv2.resize(cloth, (GRID, GRID), interpolation=cv2.INTER_AREA) for cloth in cloths]
    cells = np.stack(grids).reshape(len(grids), -1, 3) // _STEP if grids else np.zeros((0, 1, 3), np.uint8)
    names = _table()[tuple(cells[..., channel] for channel in range(3))].astype(np.int64)
    rows = np.arange(len(names))
    counts = np.bincount((rows[:, None] * len(NAMES) + names).ravel(), minlength=len(names) * len(NAMES))
    shares = (counts.reshape(-1, len(NAMES)) / names.shape[1]).astype(np.float32)
    first, second = np.argsort(-shares, axis=1, kind="stable")[:, :2].T
    return ColourNames(first, shares[rows, first], shares[rows, first] - shares[rows, second])


@functools.cache
def _table() -> Pixels:
    """uint8 [32, 32, 32]: index of the name, by red, green and blue."""
    steps = np.arange(0, 256, _STEP) + _STEP / 2
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    shades = [(name, bytes.fromhex(shade)) for name, shades in _PROTOTYPES.items() for shade in shades]
    prototypes = to_lab(np.array([list(shade) for _, shade in shades], np.float64))
    nearest = np.argmin(_differences(prototypes, to_lab(colours)), axis=0)
    names = np.array([NAMES.index(name) for name, _ in shades], np.uint8)
    return np.asarray(names[nearest].reshape(len(steps), len(steps), len(steps)))


def to_lab(colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIELAB (D65, 2 degrees) of sRGB colours, both float64 [N, 3], the latter 0 to 255 (IEC 61966-2-1)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
    return np.asarray(np.stack(lab, axis=1), dtype=np.float64)


def _differences(prototypes: npt.NDArray[np.float64], colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIE94 for textiles, squared: [prototypes, colours]."""
    lightness, a, b = (prototypes[:, None, axis] - colours[None, :, axis] for axis in range(3))
    own, others = (np.hypot(lab[:, 1], lab[:, 2]) for lab in (prototypes, colours))
    chroma = own[:, None] - others[None]
    hue = np.maximum(a**2 + b**2 - chroma**2, 0)
    return np.asarray(
        (lightness / 2) ** 2 + (chroma / (1 + 0.048 * own[:, None])) ** 2 + hue / (1 + 0.014 * own[:, None]) ** 2,
        dtype=np.float64,
    )
