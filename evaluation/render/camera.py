"""Effects of the camera: light, exposure, sharpness, resolution, noise and compression."""

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.render import textures
from evaluation.render.textures import Picture


def shade(picture: Picture, labels: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """Give a flat person volume: light from one side, folds, dark lines where parts meet.

    Args:
        picture: The person in flat colours, RGB uint8 (h, w, 3).
        labels: Parts of the person, uint8 (h, w); 0 outside.
        rng: Source of chance.

    Returns:
        RGB uint8 (h, w, 3).
    """
    height, width = labels.shape
    top, left = int(rng.random() * (textures.SIZE - height)), int(rng.random() * (textures.SIZE - width))
    light = textures.folds()[top : top + height, left : left + width]
    _, body = cv2.threshold(labels, 0, 255, cv2.THRESH_BINARY)
    small = cv2.resize(body, (max(8, width // 4), max(16, height // 4)), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), small.shape[0] * 0.035).astype(np.float32)
    side, above = rng.uniform(-1, 1), rng.uniform(0.1, 0.8)
    slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * np.float32(side) + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * np.float32(above)
    slope = slope * np.float32(0.16 * rng.uniform(0.4, 1.2)) + np.float32(128) - np.float32(0.08) * (255 - soft)
    volume = cv2.resize(np.clip(slope, 60, 200).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    seams = cv2.compare(labels[1:, 1:], labels[:-1, :-1], cv2.CMP_NE)
    seams = cv2.blur(cv2.copyMakeBorder(seams, 1, 0, 1, 0, cv2.BORDER_REPLICATE), (3, 3))
    shaded = cv2.multiply(light, volume, scale=1 / 128)
    shaded = cv2.subtract(shaded, cv2.convertScaleAbs(seams, alpha=rng.uniform(0.06, 0.16)))
    return np.asarray(cv2.multiply(picture, cv2.merge([shaded] * 3), scale=1 / 128), np.uint8)


def expose(picture: Picture, rng: np.random.Generator) -> Picture:
    """White balance, exposure, contrast and saturation, through one table per channel."""
    gain = rng.uniform(0.82, 1.16) * (1 + rng.normal(0, 0.025, 3))
    contrast, pivot = rng.uniform(0.85, 1.28), rng.uniform(95, 125)
    levels = np.arange(256, dtype=np.float32)[:, None] * gain.astype(np.float32)
    levels = (levels - pivot) * contrast + pivot + rng.uniform(-8, 10)
    table = np.clip(levels, 0, 255).astype(np.uint8)[None]
    picture = np.asarray(cv2.LUT(picture, table), np.uint8)
    if rng.random() < 0.4:
        gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        saturation = rng.uniform(0.82, 1.3)
        picture = np.asarray(cv2.addWeighted(picture, saturation, gray, 1 - saturation, 0), np.uint8)
    return picture


def _motion(picture: Picture, rng: np.random.Generator) -> Picture:
    length = 3 + int(rng.random() * 2)
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.7:
        kernel[length // 2] = 1 / length
    else:
        np.fill_diagonal(kernel, 1 / length)
    return np.asarray(cv2.filter2D(picture, -1, kernel), np.uint8)


def capture(picture: Picture, rng: np.random.Generator) -> Picture:
    """Apply the effects of lens, sensor and codec; three in ten images come from a sensor with fewer pixels.

    Args:
        picture: RGB uint8 (h, w, 3).
        rng: Source of chance.

    Returns:
        RGB uint8 (h, w, 3).
    """
    height, width = picture.shape[:2]
    rows = min(height, int(rng.uniform(64, 104))) if rng.random() < 0.3 else height
    if rows != height:
        size = (max(12, round(width * rows / height)), rows)
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.4:
        blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.35, 0.75) * max(1.0, rows / 110))
        picture = np.asarray(blurred, np.uint8)
    if rng.random() < 0.12 and rows > 80:
        picture = _motion(picture, rng)
    picture = _noise(picture, rng)
    if rows != height:
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    if rng.random() < 0.3:
        strength = rng.uniform(0.3, 0.9)
        sharper = cv2.addWeighted(picture, 1 + strength, cv2.GaussianBlur(picture, (0, 0), 1.2), -strength, 0)
        picture = np.asarray(sharper, np.uint8)
    return _codec(picture, rng)


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    top, left = int(rng.random() * (textures.SIZE - height)), int(rng.random() * (textures.SIZE - width))
    grain = textures.grain()[top : top + height, left : left + width]
    noisy = cv2.addWeighted(picture, 1.0, grain, rng.uniform(0, 4.5) / 64, 0, dtype=cv2.CV_8U)
    return np.asarray(noisy, np.uint8)


def _codec(picture: Picture, rng: np.random.Generator) -> Picture:
    """JPEG compression, in three of four images."""
    if rng.random() < 0.25:
        return picture
    quality = int(rng.uniform(38, 95))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
