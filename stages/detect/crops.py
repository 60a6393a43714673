"""Cutting crops of persons from frames."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.arrays import Image
from stages.detect.config import CropConfig
from stages.detect.phash import perceptual_hash

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Crop:
    """An encoded crop.

    Attributes:
        jpeg: JPEG bytes.
        width: Pixels.
        height: Pixels.
        phash: Perceptual hash of the crop's pixels before encoding, 64 bits.
    """

    jpeg: bytes
    width: int
    height: int
    phash: int


def cut_crop(image: Image, box: npt.NDArray[np.float32], config: CropConfig) -> Crop | None:
    """Cut a box out of a frame.

    Args:
        image: uint8 [H, W, 3], BGR.
        box: x1, y1, x2, y2 in pixels; more numbers may follow.
        config: Margin and JPEG quality.

    Returns:
        The crop; None if no part of the rounded box lies in the frame.
    """
    import cv2

    pixels = crop_pixels(image, box, config.margin)
    if not pixels.size:
        return None
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    height, width, _ = pixels.shape
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    return Crop(jpeg.tobytes(), width, height, perceptual_hash(grey))


def crop_window(image: Image, box: npt.NDArray[np.float32], margin: float) -> Window:
    """Left, top, right and bottom of the rounded box with its margin, inside the frame; in pixels."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box[:4])
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, right = (min(max(round(value), 0), width) for value in (x1 - across, x2 + across))
    top, bottom = (min(max(round(value), 0), height) for value in (y1 - down, y2 + down))
    return left, top, right, bottom


def crop_pixels(image: Image, box: npt.NDArray[np.float32], margin: float) -> Image:
    """The pixels of ``crop_window``, contiguous; size 0 if it is empty."""
    left, top, right, bottom = crop_window(image, box, margin)
    return np.ascontiguousarray(image[top:bottom, left:right])


def crop_id(detection_id: str) -> str:
    """First 16 hex digits of SHA-1 of the detection_id."""
    return hashlib.sha1(detection_id.encode(), usedforsecurity=False).hexdigest()[:16]
