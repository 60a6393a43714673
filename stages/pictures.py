"""Decoding and resizing of images, the same in every stage."""

import numpy as np
import numpy.typing as npt


def decode(jpeg: bytes) -> npt.NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3] of an encoded image; None if it cannot be decoded."""
    import cv2

    if not jpeg:
        return None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return None if image is None else np.asarray(image, np.uint8)


def squash(
    image: npt.NDArray[np.uint8], height: int, width: int, *, out: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Resize an image to a model's input without keeping its aspect ratio: a centre crop would cut off head and feet.

    Args:
        image: uint8 [H, W, C].
        height: Rows of the result.
        width: Columns of the result.
        out: uint8 [height, width, C], contiguous, to write the result to; a new array without it.
    """
    import cv2

    # Area averages when shrinking. Bicubic does not: it turned stripes into noise.
    interpolation = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), dst=out, interpolation=interpolation), dtype=np.uint8)
