"""Images of crops on their way into a model: random changes, and pixels as normalised tensors."""

import math
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from stages.pretrain.config import AugmentConfig

Image = npt.NDArray[np.uint8]


def normalised(images: Sequence[Image], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Stack images of one size into a normalised tensor.

    Args:
        images: uint8 [H, W, 3] each.
        mean: Mean of each channel, for pixels from 0 to 1.
        std: Standard deviation of each channel.

    Returns:
        float32 [N, 3, H, W].
    """
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
    shift, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return stacked.sub_(shift).div_(scale)


def augment(image: Image, config: AugmentConfig, rng: random.Random) -> Image:
    """Cut a random part out of a crop, mirror it or not, and change its colours as configured."""
    area, stretch = rng.uniform(config.crop_scale_min, 1.0), rng.uniform(-1.0, 1.0)
    shape = math.exp(stretch * (1.0 - config.crop_scale_min) / 2)
    shares = (min(1.0, math.sqrt(area) * shape), min(1.0, math.sqrt(area) / shape))
    spans = [max(1, round(side * share)) for side, share in zip(image.shape[:2], shares, strict=True)]
    top, left = (rng.randint(0, side - span) for side, span in zip(image.shape[:2], spans, strict=True))
    part = image[top : top + spans[0], left : left + spans[1]]
    # Drawn in any case: switching the mirror off must not move the random numbers that follow.
    if rng.random() < 0.5 and config.hflip:
        part = part[:, ::-1]
    return _jitter(part, config.colour_jitter, rng) if config.colour_jitter else np.ascontiguousarray(part)


def _jitter(image: Image, strength: float, rng: random.Random) -> Image:
    brightness, contrast, saturation = (1 + rng.uniform(-strength, strength) for _ in range(3))
    pixels = image.astype(np.float32) * brightness
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    changed: Image = np.clip((pixels - grey) * saturation + grey, 0, 255).astype(np.uint8)
    return changed
