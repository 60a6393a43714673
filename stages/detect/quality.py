"""Quality measures of detections: truncation and overlap of the box, and statistics of its pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.arrays import Floats, Grey, Image
from stages.boxes import Boxes, common_area
from stages.detect.crops import crop_pixels

# Pixel measures depend on scale, so all crops are measured at one size: that of Market-1501 and similar datasets.
WIDTH, HEIGHT = 64, 128

# If a person is cut off by the frame, detectors end the box slightly inside the frame.
_BORDER_SHARE = 0.005


@dataclass(frozen=True)
class PixelQuality:
    """Measures of one crop's pixels.

    Attributes:
        sharpness: Variance of the Laplacian at 64x128, grey levels squared; 0 = flat.
        brightness: Mean luma, 0 to 255.
        contrast: Standard deviation of luma at 64x128, 0 to 127.5 (RMS contrast; Peli, JOSA A 1990).
        colourfulness: At 64x128, as in Hasler & Suesstrunk, SPIE 2003: 0 = grey, 33 = moderate, 109 = extreme.
    """

    sharpness: float
    brightness: float
    contrast: float
    colourfulness: float


@dataclass(frozen=True)
class FrameQuality:
    """Measures of all detections of a frame.

    Attributes:
        truncation: int64 [n], sides of the box on the frame's border, 0 to 4.
        overlap: float32 [n], largest share of the box that one other box covers, 0 to 1.
        pixels: One each; None where the box has no pixel in the frame.
    """

    truncation: npt.NDArray[np.int64]
    overlap: Floats
    pixels: list[PixelQuality | None]

    def row(self, n: int) -> dict[str, Any]:
        """Columns of ``crops`` for one detection."""
        boxed = {"truncation": int(self.truncation[n]), "overlap": float(self.overlap[n])}
        pixels = self.pixels[n]
        return boxed if pixels is None else boxed | vars(pixels)


def measure_frame(image: Image, boxes: Boxes, margin: float) -> FrameQuality:
    """Measure all detections of a frame.

    Args:
        image: uint8 [H, W, 3], BGR.
        boxes: float32 [n, 4 or more]: x1, y1, x2, y2 in pixels.
        margin: Border around the box that belongs to the crop, as in ``detect.crop.margin``.
    """
    height, width = image.shape[:2]
    crops = (crop_pixels(image, box, margin) for box in boxes)
    pixels = [measure_pixels(crop) if crop.size else None for crop in crops]
    return FrameQuality(truncation(boxes, width, height), overlap(boxes), pixels)


def measure_pixels(pixels: Image) -> PixelQuality:
    """Measure a crop.

    Args:
        pixels: uint8 [H, W, 3], BGR, at least one pixel.
    """
    import cv2

    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    small_grey = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    return PixelQuality(sharpness(grey), float(grey.mean()), float(small_grey.std()), colourfulness(small))


def sharpness(grey: Grey) -> float:
    """Variance of the Laplacian of a grey image resized to 64 wide and 128 high (Pech-Pacheco et al., ICPR 2000)."""
    import cv2

    small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_64F).var())


def colourfulness(pixels: Image) -> float:
    """Colourfulness M3 of Hasler & Suesstrunk, "Measuring colourfulness in natural images", SPIE 2003, section 7.

    Args:
        pixels: uint8 [H, W, 3], BGR.
    """
    blue, green, red = pixels.astype(np.float32).transpose(2, 0, 1)
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    return float(spread + 0.3 * offset)


def truncation(boxes: Boxes, width: int, height: int) -> npt.NDArray[np.int64]:
    """Sides of each box that lie on the frame's border: within 0.5 % of the frame's shorter side, at least 1 pixel.

    Args:
        boxes: float32 [n, 4 or more]: x1, y1, x2, y2 in pixels.
        width: Width of the frame.
        height: Height of the frame.

    Returns:
        int64 [n], 0 to 4.
    """
    near = max(1.0, _BORDER_SHARE * min(width, height))
    starts, ends = boxes[:, :2] <= near, boxes[:, 2:4] >= np.array([width, height]) - near
    counts: npt.NDArray[np.int64] = starts.sum(1) + ends.sum(1)
    return counts


def overlap(boxes: Boxes) -> Floats:
    """Largest share of each box that one other box of the frame covers.

    Args:
        boxes: float32 [n, 4 or more]: x1, y1, x2, y2 in pixels, of all detections of one frame.

    Returns:
        float32 [n], 0 to 1; 0 for a box without area.
    """
    if not len(boxes):
        return np.zeros(0, np.float32)
    shared = common_area(boxes[:, None], boxes)
    areas = np.diagonal(shared).copy()
    np.fill_diagonal(shared, 0)
    covered: Floats = np.divide(shared.max(1), areas, out=np.zeros(len(boxes), np.float32), where=areas > 0)
    return covered
