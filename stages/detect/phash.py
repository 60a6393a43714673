"""Perceptual hash of a crop: 64 bits of which few change when the image changes little."""

from typing import Final

import numpy as np
import numpy.typing as npt

_SIDE: Final = 32
_LOW: Final = 8


def perceptual_hash(grey: npt.NDArray[np.uint8]) -> int:
    """Hash of the lowest frequencies of the discrete cosine transform (Zauner, 2010; ``pHash`` of the usual libraries).

    Args:
        grey: uint8 [H, W].

    Returns:
        64 bits as an integer: for each of the 8x8 lowest frequencies, whether it is above their median; row by row, the
        first in the highest bit. The mean brightness has a bit but does not count for the median.
    """
    import cv2

    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distances(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Bits in which hashes differ: uint64 [N] and [M] to uint8 [N, M]."""
    return np.asarray(np.bitwise_count(one[:, None] ^ other[None, :]), np.uint8)
