import hashlib

import cv2
import numpy as np
import pytest

from stages.detect.config import CropConfig
from stages.detect.crops import crop_id, crop_window, cut_crop
from stages.detect.phash import perceptual_hash

FRAME = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(FRAME, (0, 0), 9)


def cut(box: tuple[float, ...], frame: np.ndarray = SMOOTH, **crop: float) -> np.ndarray | None:
    found = cut_crop(frame, np.array(box, np.float32), CropConfig.model_validate(crop))
    if found is None:
        return None
    image = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (found.height, found.width, 3)
    return image


@pytest.mark.parametrize(
    ("box", "margin", "rows", "columns"),
    [
        ((10.4, 20.6, 40.4, 80.6), 0, (21, 81), (10, 40)),
        ((0, 0, 160, 120), 0, (0, 120), (0, 160)),
        ((-5, -9, 30, 50), 0, (0, 50), (0, 30)),
        ((150, 100, 170, 140), 0, (100, 120), (150, 160)),
        ((40, 40, 60, 80), 0.1, (36, 84), (38, 62)),
        ((0, 0, 20, 40), 0.5, (0, 60), (0, 30)),
    ],
)
def test_the_rounded_box_is_cut(
    box: tuple[float, ...], margin: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image = cut(box, margin=margin)
    assert image is not None
    expected = SMOOTH[slice(*rows), slice(*columns)]
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() < 12


@pytest.mark.parametrize("box", [(10, 10, 10.2, 50), (200, 10, 240, 50), (-40, -40, -10, -10), (10, 10, 10, 10)])
def test_a_box_without_pixels_gives_no_crop(box: tuple[float, ...]) -> None:
    assert cut(box) is None


def test_quality_decides_the_size() -> None:
    box = np.array([0, 0, 80, 120], np.float32)
    sizes = [len(found.jpeg) for q in (50, 80, 95) if (found := cut_crop(FRAME, box, CropConfig(jpeg_quality=q)))]
    assert sizes == sorted(sizes)


def test_crop_id_is_the_digest_of_the_detection_id() -> None:
    assert crop_id("youtube:abc/40/0") == hashlib.sha1(b"youtube:abc/40/0").hexdigest()[:16]


@pytest.mark.parametrize(
    ("box", "margin", "window"),
    [
        ((10.4, 20.6, 40.6, 80.4), 0, (10, 21, 41, 80)),
        ((10.6, 20.4, 40.4, 80.6), 0, (11, 20, 40, 81)),
        ((10.4, 20.4, 50.4, 60.4), 0.01, (10, 20, 51, 61)),
        ((-0.4, -0.6, 160.4, 120.6), 0, (0, 0, 160, 120)),
    ],
)
def test_corners_are_rounded_to_the_nearest_pixel(
    box: tuple[float, ...], margin: float, window: tuple[int, int, int, int]
) -> None:
    assert crop_window(FRAME, np.array(box, np.float32), margin) == window


def test_the_hash_is_that_of_the_luma() -> None:
    """Blue has luma 29 and red 76 (Rec. 601); with the channels swapped the left half would be the bright one."""
    frame, luma = np.zeros((40, 40, 3), np.uint8), np.full((40, 40), 29, np.uint8)
    frame[:, :20], frame[:, 20:], luma[:, 20:] = (255, 0, 0), (0, 0, 255), 76
    found = cut_crop(frame, np.array([0, 0, 40, 40], np.float32), CropConfig())
    assert found is not None
    # The first horizontal frequency is negative where brightness rises from left to right.
    assert found.phash >> 62 & 1 == 0
    assert found.phash == perceptual_hash(luma)
