"""The perceptual hash: near for the same sight, far for others."""

import cv2
import numpy as np
import pytest

from stages.detect.phash import hash_distances, perceptual_hash
from tests.runs import CLIP


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    capture = cv2.VideoCapture(str(CLIP))
    _, frame = capture.read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def bits(one: np.ndarray, other: np.ndarray) -> int:
    hashes = np.array([perceptual_hash(one), perceptual_hash(other)], np.uint64)
    return int(hash_distances(hashes[:1], hashes[1:])[0, 0])


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize(
    "change",
    [
        lambda crop: jpeg(crop, 60),
        lambda crop: cv2.resize(crop, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
        lambda crop: cv2.resize(crop, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
        lambda crop: np.clip(crop * 0.8 + 20, 0, 255).astype(np.uint8),
    ],
    ids=["worse JPEG", "smaller", "larger", "other light"],
)
def test_the_same_sight_differs_in_few_bits(street, change):
    crops = [street[y : y + 160, x : x + 60] for x, y in ((80, 60), (200, 160), (340, 120), (460, 200))]
    assert max(bits(crop, change(crop)) for crop in crops) <= 4


def test_other_sights_differ_in_many_bits(street):
    rng = np.random.default_rng(0)
    places = rng.integers((0, 0), (street.shape[1] - 60, street.shape[0] - 160), (30, 2))
    hashes = np.array([perceptual_hash(street[y : y + 160, x : x + 60]) for x, y in places], np.uint64)
    apart = np.abs(places[:, None] - places[None]).max(2) > 60
    assert hash_distances(hashes, hashes)[apart].min() > 4


def test_a_picture_of_one_colour_has_a_hash_too():
    assert bits(np.full((100, 40), 128, np.uint8), np.full((200, 80), 128, np.uint8)) == 0


def test_distances_are_counted_bit_by_bit():
    one = np.array([0, 0b1011, 2**64 - 1], np.uint64)
    assert hash_distances(one, one[:2]).tolist() == [[0, 3], [3, 0], [64, 61]]


def test_the_hash_is_that_of_the_definition():
    """Mean of 3x3 pixels, the cosine transform written out, its first 8x8 values against their median."""
    picture = np.random.default_rng(3).integers(0, 256, (96, 96), np.uint8)
    small = np.rint(picture.reshape(32, 3, 32, 3).mean((1, 3)))
    waves = np.cos(np.outer(np.arange(32), 2 * np.arange(32) + 1) * np.pi / 64) * np.sqrt(2 / 32)
    waves[0] /= np.sqrt(2)
    low = (waves @ small @ waves.T)[:8, :8].ravel()
    middle = np.sort(low[1:])[31]
    assert f"{perceptual_hash(picture):064b}" == "".join("01"[int(value > middle)] for value in low)


def test_the_mean_brightness_has_no_say_in_the_median():
    """Of a bright corner every other low frequency is stronger than the mean: 31 of 63 are above their median."""
    picture = np.zeros((32, 32), np.uint8)
    picture[0, :2] = 255, 100
    assert perceptual_hash(picture) >> 63 == 0
    assert perceptual_hash(picture).bit_count() == 31
