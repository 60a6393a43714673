import random

import numpy as np
import pytest
import torch

from stages.pictures import squash
from stages.pretrain.config import AugmentConfig
from stages.pretrain.images import augment, normalised

PLAIN = AugmentConfig(hflip=False, crop_scale_min=1)
NOISE = np.random.default_rng(0).integers(0, 256, (60, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 3), (300, 3, 3), (5, 400, 3), (64, 32, 3)])
def test_any_crop_fits(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 128, np.uint8)
    part = augment(image, AugmentConfig(crop_scale_min=0.2, colour_jitter=0.5), random.Random(1))
    assert squash(part, 32, 16).shape == (32, 16, 3)


def test_pixels_are_normalised() -> None:
    images = [np.full((32, 16, 3), 255, np.uint8), np.zeros((32, 16, 3), np.uint8)]
    images[1][3, 5] = (51, 102, 153)
    pixels = normalised(images, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert pixels.shape == (2, 3, 32, 16)
    assert pixels[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5]
    assert torch.allclose(pixels[1, :, 3, 5], torch.tensor([-1.2, -0.2, 0.1]))


def test_no_change_is_no_change() -> None:
    assert np.array_equal(augment(NOISE, PLAIN, random.Random(0)), NOISE)


def test_half_of_the_crops_are_mirrored_left_to_right() -> None:
    config = PLAIN.model_copy(update={"hflip": True})
    made = [augment(NOISE, config, random.Random(seed)) for seed in range(400)]
    mirrored = sum(np.array_equal(image, NOISE[:, ::-1]) for image in made)
    assert mirrored + sum(np.array_equal(image, NOISE) for image in made) == 400
    assert 160 < mirrored < 240


@pytest.mark.parametrize("least", [0.3, 0.8])
def test_parts_keep_the_configured_share_of_the_area(least: float) -> None:
    # Every pixel holds its own place, so a part says where it was cut.
    rows, columns = np.mgrid[0:200, 0:100].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=2)
    config = AugmentConfig(hflip=False, crop_scale_min=least)
    parts = [augment(image, config, random.Random(seed)) for seed in range(300)]
    shares = [part.shape[0] * part.shape[1] / 20000 for part in parts]
    assert least - 0.02 < min(shares) < least + 0.1
    assert max(shares) > 0.9
    tops, lefts = ({int(part[0, 0, channel]) for part in parts} for channel in (0, 1))
    assert len(tops) > 10
    assert len(lefts) > 10
    assert max(int(part[-1, -1, 0]) for part in parts) == 199


def test_jitter_changes_brightness_contrast_and_saturation() -> None:
    config = PLAIN.model_copy(update={"colour_jitter": 0.4})
    made = [augment(NOISE, config, random.Random(seed)).astype(float) for seed in range(60)]
    means = [image.mean() / NOISE.mean() for image in made]
    spreads = [image.mean(axis=2).std() / NOISE.mean(axis=2).std() for image in made]
    colours = [(image - image.mean(axis=2, keepdims=True)).std() for image in made]
    assert 0.5 < min(means) < 0.8
    assert 1.1 < max(means) < 1.5
    assert min(spreads) < 0.7 < 1.2 < max(spreads)
    assert min(colours) < 0.7 * max(colours)
    assert min(image.min() for image in made) >= 0
