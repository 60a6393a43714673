"""Cutting a person out of a frame, and measuring the crop."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.detect.config import CropConfig
from stages.detect.phash import perceptual_hash

Image = npt.NDArray[np.uint8]

# Sharpness depends on scale, so it is read at one size for all: that of Market-1501 and its like.
SHARPNESS_WIDTH, SHARPNESS_HEIGHT = 64, 128


@dataclass(frozen=True)
class Crop:
    """A crop, encoded, with what was measured on it.

    Attributes:
        jpeg: JPEG bytes.
        width: Pixels.
        height: Pixels.
        sharpness: Variance of the Laplacian at 64x128, grey levels squared.
        brightness: Mean luma, 0 to 255.
        phash: Perceptual hash, 64 bits.
    """

    jpeg: bytes
    width: int
    height: int
    sharpness: float
    brightness: float
    phash: int


def cut_crop(image: Image, box: npt.NDArray[np.float32], config: CropConfig) -> Crop | None:
    """Cut a box out of a frame.

    Args:
        image: uint8 [H, W, 3], BGR.
        box: x1, y1, x2, y2 in pixels; more numbers may follow.
        config: Margin and JPEG quality.

    Returns:
        The crop; None where nothing of the rounded box lies in the frame.
    """
    import cv2

    pixels = _pixels(image, box, config.margin)
    if not pixels.size:
        return None
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    height, width = grey.shape
    return Crop(jpeg.tobytes(), width, height, sharpness(grey), float(grey.mean()), perceptual_hash(grey))


def sharpness(grey: Image) -> float:
    """Variance of the Laplacian of a grey picture resized to 64 wide and 128 high (Pech-Pacheco et al., ICPR 2000)."""
    import cv2

    small = cv2.resize(grey, (SHARPNESS_WIDTH, SHARPNESS_HEIGHT), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_64F).var())


def crop_id(detection_id: str) -> str:
    """First 16 hex digits of SHA-1 of the detection_id."""
    return hashlib.sha1(detection_id.encode(), usedforsecurity=False).hexdigest()[:16]


def _pixels(image: Image, box: npt.NDArray[np.float32], margin: float) -> Image:
    """The rounded box with its margin, inside the frame."""
    x1, y1, x2, y2 = (float(value) for value in box[:4])
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, top = (max(round(value), 0) for value in (x1 - across, y1 - down))
    right, bottom = (max(round(value), 0) for value in (x2 + across, y2 + down))
    return np.ascontiguousarray(image[top:bottom, left:right])
