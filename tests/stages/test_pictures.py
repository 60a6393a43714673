import cv2
import numpy as np

from stages.pictures import squash


def test_shrinking_averages_so_stripes_become_grey() -> None:
    stripes = np.zeros((128, 32, 3), np.uint8)
    stripes[::2] = 200
    assert (squash(stripes, 32, 16) == 100).all()


def test_an_image_that_is_not_taller_than_the_input_is_interpolated() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
    for height in (32, 64):
        expected = cv2.resize(image, (16, height), interpolation=cv2.INTER_CUBIC)
        assert (squash(image, height, 16) == expected).all()
    assert not (squash(image, 31, 16) == cv2.resize(image, (16, 31), interpolation=cv2.INTER_CUBIC)).all()


def test_the_result_can_be_written_into_a_batch() -> None:
    image = np.random.default_rng(1).integers(0, 255, (90, 40, 3), np.uint8)
    batch = np.zeros((2, 32, 16, 3), np.uint8)
    squash(image, 32, 16, out=batch[1])
    assert (batch[1] == squash(image, 32, 16)).all()
    assert not batch[0].any()
